"""A Refresher on fakes."""

from datetime import timedelta
from random import Random

from apidex.app import starter_snapshot
from apidex.indexing.builder import from_upstream
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.guard import Guard
from apidex.replication.refresher import Refresher
from fakes import FakeStore

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
    return Refresher(store or FakeStore(redis), upstream, starter_snapshot(clock), **options, **more)
