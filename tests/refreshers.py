"""A Refresher, and a fleet of them, on fakes."""

from datetime import timedelta
from random import Random

from apidex.app import starter_snapshot
from apidex.indexing.builder import from_upstream
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.guard import Guard
from apidex.replication.refresher import Refresher
from fakes import FakeClock, FakeRedis, FakeStore, FakeUpstream

HOUR = 3600


def refresher_of(
    upstream, clock, redis, build=from_upstream, seed=3, store=None, poll=5.0, min_entries_ratio=0.5, **more
) -> Refresher:
    policy = FreshnessPolicy(timedelta(seconds=HOUR), timedelta(seconds=poll), timedelta(0), timedelta(0))
    options = {
        "build": build,
        "policy": policy,
        "guard": Guard(min_entries_ratio),
        "max_bytes": 10**6,
        "clock": clock,
        "random": Random(seed),
    }
    return Refresher(store or FakeStore(redis), upstream, starter_snapshot(clock), **(options | more))


class Fleet:
    """Replicas on one Redis and one upstream, whose turns a test takes. All have one steady time."""

    def __init__(self, size: int) -> None:
        self.clock, self.upstream = FakeClock(), FakeUpstream()
        self.redis = FakeRedis(self.clock)
        self.replicas = [self.replica(seed) for seed in range(size)]

    def replica(self, seed: int = 9, **options) -> Refresher:
        """A replica that does not belong to the fleet yet."""
        return refresher_of(self.upstream, self.clock, self.redis, seed=seed, **options)

    async def turns(self) -> None:
        for replica in self.replicas:
            await replica.turn()

    async def lives(self, seconds: float, step: float = 60) -> None:
        for _ in range(round(seconds / step)):
            self.clock.passes(step)
            await self.turns()

    @property
    def names(self) -> set[str]:
        """The first names that the replicas answer with."""
        return {replica.current.catalogue.names()[0] for replica in self.replicas}
