"""Thousands of fleets live through seeded faults, in virtual time, and keep their promises.

A failing seed is printed; `pytest tests/replication/test_simulation.py --seed N` plays that one again, with its story.
"""

import asyncio
import selectors
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import NoReturn

import pytest
import structlog

from apidex.app import starter_snapshot
from apidex.catalogue import codec
from apidex.errors import CodecError, StateError, StoreError, UpstreamError
from apidex.indexing.builder import from_payload, from_upstream
from apidex.replication.activation import Activation
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.guard import Guard
from apidex.replication.refresher import Refresher
from apidex.replication.upstream import Fetched, NotModified
from apidex.replication.validators import Validators
from fakes import FakeClock, FakeRedis, FakeStore, publicapis

SEEDS = 2_000
REPLICAS = 3
POLL, REFRESH = 5.0, 20.0
CHAOS, CALM = 70.0, 70.0
SLACK = 1.0
"""Seconds that the steps of one turn take together when nothing is wrong."""
LEAD = POLL + 1
SKEW = 0.1
"""Seconds within which all replicas answer from another catalogue when nothing is wrong."""

AGREEMENT = 2 * POLL + LEAD + SLACK
"""Seconds after which replicas that parted answer from the same catalogue."""

POLICY = FreshnessPolicy(timedelta(seconds=REFRESH), timedelta(seconds=POLL), timedelta(0), timedelta(0))
STARTER = starter_snapshot(FakeClock())


class _Jump(selectors.SelectSelector):
    """Does not wait for time to pass, but moves it."""

    def select(self, timeout=None):
        assert timeout is not None, "every task waits for nothing"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose hours take milliseconds."""

    def __init__(self) -> None:
        self.selector = _Jump()
        self.selector.now = 1_000.0
        super().__init__(self.selector)
        self.set_exception_handler(self._survives)

    def time(self) -> float:
        return self.selector.now

    def _survives(self, _loop: asyncio.AbstractEventLoop, context: dict) -> None:
        """A timer that cannot log fails, as in a replica; whatever else fails is reported."""
        if "No space left" not in str(context.get("exception")):
            self.default_exception_handler(context)


class SimulatedClock(FakeClock):
    """Steady time is the loop's; the calendar is off by *skew*."""

    def __init__(self, loop: VirtualLoop, skew: float = 0.0) -> None:
        super().__init__()
        self.loop, self.skew = loop, skew

    def steady(self) -> float:
        return self.loop.time()

    def wall(self) -> float:
        return self._wall + self.loop.time() + self.skew

    def is_off_by(self, skew: float) -> None:
        self.skew = skew


class WatchedRedis(FakeRedis):
    """Fails the moment that it holds an older catalogue than before: the fence must not let one pass."""

    def __init__(self, world: "World") -> None:
        self.world = world
        super().__init__(SimulatedClock(world.loop))

    @property
    def stored(self):
        return self._watched

    @stored.setter
    def stored(self, stored) -> None:
        before = self.__dict__.get("_watched")
        if stored and before and (stored.stamp < before.stamp or stored.validated_at < before.validated_at):
            self.world.broken.append(f"Redis: {before} became {stored}")
        self._watched = stored

    def loses_bytes(self) -> None:
        self.payload = self.payload and self.payload[:-3]

    def comes_back(self) -> None:
        super().comes_back()
        if not self.world.lossy and self.payload:
            with suppress(CodecError):
                from_payload(self.payload, 10**6)
                return
            self.flush()


class World:
    """Everything that a fleet depends on, and what befalls it."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.story: list[str] = []
        self.broken: list[str] = []
        self.random = Random(seed)
        self.loop = loop
        self.redis = WatchedRedis(self)
        self.upstream_version = 1
        self.upstream_is = "well"
        self.fetches: list[float] = []
        self.replicas = [Replica(self, number) for number in range(REPLICAS)]
        self.lossy = True
        self.log_fails_until = 0.0
        self.stays_readonly = self.random.random() < 0.2
        self.first_shown: dict[int, float] = {}
        """When each stamp was first answered from, by any replica."""
        self.agreed_from = float("inf")
        self.everyday_fault_at, self.everyday_faults = 0.0, 0

    @property
    def lives(self) -> int:
        return sum(replica.lives for replica in self.replicas)

    def tells(self, text: str) -> None:
        self.story.append(f"{self.loop.time() - 1_000:7.2f} {text}")

    async def befalls(self) -> None:
        """Faults, one after the other and over each other, until it is calm."""
        end = self.loop.time() + CHAOS
        while self.loop.time() < end:
            await asyncio.sleep(self.random.expovariate(1 / 4))
            self.strike()
        self.recovers()

    def strike(self) -> None:
        random, replica = self.random, self.random.choice(self.replicas)
        spell = random.uniform(0.5, 20)
        faults = {
            "upstream changes": self.changes,
            "upstream fails": lambda: self.becomes(
                random.choice(["well", "well", "down", "hanging", "garbage", "half"])
            ),
            "redis goes": lambda: self.redis.goes_down(random.choice(["connect", "timeout", "auth"])),
            "redis cannot be written to": lambda: self.redis.goes_down(random.choice(["oom", "readonly"])),
            f"the log fails for {spell:.1f}": lambda: self.cannot_log(spell),
            "redis is back": self.redis.comes_back,
            "redis is back, empty": lambda: (self.redis.flush(), self.redis.comes_back()),
            "payload is damaged": self.redis.loses_bytes,
            f"{replica} is paused for {spell:.1f}": lambda: replica.pauses(spell),
            f"{replica} dies": replica.dies,
            f"{replica}'s disk": lambda: replica.disk.becomes(random.choice(["well", "failing", "wiped"])),
            f"{replica} has another calendar": lambda: replica.clock.is_off_by(random.choice([0.0, 3_600.0, -3_600.0])),
        }
        what = random.choice(list(faults))
        self.tells(what)
        faults[what]()

    def changes(self) -> None:
        self.upstream_version += 1

    def becomes(self, mood: str) -> None:
        self.upstream_is = mood

    def cannot_log(self, seconds: float) -> None:
        self.log_fails_until = self.loop.time() + seconds

    def log(self, _logger, _method, event) -> NoReturn:
        fault = sys.exc_info()[1]
        if event["event"] == "refresh.broken" and "No space left" not in str(fault):
            self.broken.append(f"a fault: {fault!r}")
        if self.loop.time() < self.log_fails_until:
            raise OSError(28, "No space left on device")
        raise structlog.DropEvent

    async def lives_on(self) -> None:
        """The upstream changes, and now and then a replica is restarted, gets no answer of Redis, or Redis restarts empty."""
        while True:
            await asyncio.sleep(self.random.uniform(2, 20))
            replica = self.random.choice(self.replicas)
            events = {"upstream changes": self.changes}
            if self.loop.time() > self.everyday_fault_at + 2 * POLL:  # one at a time
                events |= {
                    f"{replica} dies": replica.dies,
                    f"{replica} gets no answer": replica.gets_no_answer,
                    "Redis restarts empty": self.redis.flush,
                }
            what = self.random.choice(list(events))
            if what != "upstream changes":
                self.everyday_fault_at = self.loop.time()
                self.everyday_faults += 1
            self.tells(what)
            events[what]()

    def recovers(self) -> None:
        self.tells("all is well, but Redis is read-only" if self.stays_readonly else "all is well")
        self.lossy, self.log_fails_until = False, 0.0
        if self.stays_readonly:
            self.redis.goes_down("readonly")
            self.upstream_is = "slow"
        else:
            self.redis.comes_back()
            self.upstream_is = "well"
        for replica in self.replicas:
            replica.paused_until = 0.0


class SimulatedDisk:
    """Where a replica keeps its last good copy, from one life to the next."""

    def __init__(self) -> None:
        self.fails, self.held = False, None

    def becomes(self, mood: str) -> None:
        self.fails = mood == "failing"
        if mood == "wiped":
            self.held = None

    def content(self):
        self._try("read")
        return self.held

    def opened(self, content):
        return content

    def write(self, parsed, labels) -> None:
        self._try("write")
        self.held = labels, from_payload(codec.to_bytes(parsed), 10**6)

    def _try(self, what: str) -> None:
        if self.fails:
            raise StateError(what, "the disk fails")


class Replica:
    """One process: it can be paused and killed, and restarted."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.clock = SimulatedClock(world.loop)
        self.disk = SimulatedDisk()
        self.paused_until = 0.0
        self.lives = 0
        self.loses = ""

    def __str__(self) -> str:
        return f"replica {self.number}"

    def starts(self) -> None:
        self.lives += 1
        self.refresher = WatchedRefresher(self)
        self.task = self.world.loop.create_task(self.refresher.run())

    def expect(self, holds: bool, otherwise: str) -> None:
        """A turn survives its own faults, so what must not be is kept for the end."""
        if not holds:
            self.world.tells(f"{self}: {otherwise}")
            self.world.broken.append(f"{self}: {otherwise}")

    def ends(self) -> None:
        self.expect(not self.task.done(), "the task has ended")
        self.task.cancel()
        self.refresher.activation.waiting = None

    def dies(self) -> None:
        self.ends()
        self.starts()

    def gets_no_answer(self) -> None:
        """The next request to Redis is lost on the way there, or its answer on the way back."""
        self.loses = self.world.random.choice(["there", "back"])

    def loses_now(self, way: str) -> bool:
        is_lost, self.loses = self.loses == way, "" if self.loses == way else self.loses
        return is_lost

    def pauses(self, seconds: float) -> None:
        self.paused_until = self.world.loop.time() + seconds

    async def breath(self, lossy_at: float) -> bool:
        """Some milliseconds, seldom many, or a pause; whether it was so long that an answer came too late."""
        began = self.world.loop.time()
        await asyncio.sleep(self.world.random.uniform(0, 0.005) * self.world.random.choice([1, 1, 1, 1, 25]))
        while self.paused_until > self.world.loop.time():
            await asyncio.sleep(0.25)
        lost = self.world.lossy and self.world.random.random() < lossy_at
        return lost or self.world.loop.time() - began > 0.5


class SimulatedStore(FakeStore):
    """Answers late, or not at all, before or after the deed."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica.world.redis)
        self.replica = replica

    async def reach(self, verb: str) -> None:
        lost, error = await self.replica.breath(0.01), self.redis.error
        if not (error and error.reason == "oom" and verb in ("renew", "release", "drop")):
            await super().reach(verb)
        if lost or self.replica.loses_now("there"):
            raise StoreError("timeout", "lost on the way there")

    async def come_back(self, verb: str) -> None:
        if await self.replica.breath(0.02) or self.replica.loses_now("back"):
            raise StoreError("timeout", "lost on the way back")


class SimulatedUpstream:
    source = "https://upstream.example/"

    def __init__(self, replica: Replica) -> None:
        self.replica = replica

    async def fetch(self, validators: Validators):
        world = self.replica.world
        world.fetches.append(world.loop.time())
        version, mood = world.upstream_version, world.upstream_is
        if mood == "hanging":
            await asyncio.sleep(7)
            raise UpstreamError("timeout", "it hangs")
        await asyncio.sleep(POLL + 2 if mood == "slow" else world.random.choice([0.05, 0.3, 3.0]))
        await self.replica.breath(0)
        if mood == "down":
            raise UpstreamError("status", "503", world.random.choice([None, 4.0]))
        tag = f'"{version}"'
        is_well = mood in ("well", "slow")
        if is_well and validators.etag == tag:
            return NotModified(validators)
        names = [f"version {version}", *"abcdef"] if is_well else ["a"]
        body = publicapis(*names) if is_well or mood == "half" else b"<html>"
        return Fetched(body, Validators(etag=tag if is_well else ""))


async def at_once(function, /, *arguments):
    return function(*arguments)


def version_of(snapshot) -> int:
    first = snapshot.catalogue[0].name
    return int(first.split()[1]) if first.startswith("version ") else 0


class WatchedActivation(Activation):
    """Fails the moment that it takes something back, or answers from what another replica has replaced."""

    replica: Replica

    def _activate(self, snapshot) -> None:
        world, replica, before = self.replica.world, self.replica, self.current
        world.tells(f"{replica}: {version_of(before)} -> {version_of(snapshot)} ({snapshot.version})")
        replica.expect(snapshot.stamp > before.stamp, "a stamp fell, or stands for two catalogues")
        went_back = version_of(snapshot) < version_of(before) and not before.is_provisional
        replica.expect(not went_back, "the catalogue went back")
        replica.expect(bool(snapshot.index.find("a")), "a search would find nothing")
        now = world.loop.time()
        world.first_shown.setdefault(snapshot.stamp, now)
        shown = snapshot.stamp if before.is_provisional else before.stamp
        newer = [at for stamp, at in world.first_shown.items() if stamp > shown and at >= world.agreed_from]
        behind = now - min(newer, default=now)
        replica.expect(
            behind <= SKEW or snapshot.is_provisional, f"another replica had a newer one {behind:.2f} s before"
        )
        super()._activate(snapshot)


class WatchedRefresher(Refresher):
    """Lives on simulated parts."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(
            SimulatedStore(replica),
            SimulatedUpstream(replica),
            replace(STARTER, validated_at=replica.clock.steady() - 10_000),
            build=from_upstream,
            policy=POLICY,
            guard=Guard(0.5),
            max_bytes=10**6,
            clock=replica.clock,
            random=replica.world.random,
            offload=at_once,
            last_good=replica.disk,
            redis_wait=timedelta(seconds=replica.world.random.choice([0, POLL / 2])),
        )
        self.activation.__class__ = WatchedActivation
        self.activation.replica = replica


async def live(world: World) -> None:
    """No life asks more often than it would alone; in the calm all together no more than one, and once for each fault."""
    for replica in world.replicas:
        replica.starts()
    await world.befalls()
    calm = world.loop.time()
    await (work_alone if world.stays_readonly else work_together)(world)
    for replica in world.replicas:
        replica.ends()
    assert not world.broken
    assert len(world.fetches) <= world.lives * ((CHAOS + CALM) / REFRESH + 5), "the upstream was asked too often"
    later = [moment for moment in world.fetches if moment > calm + AGREEMENT + 10]
    assert world.stays_readonly or len(later) <= (CALM - AGREEMENT - 10) / REFRESH + 1 + world.everyday_faults, (
        f"the upstream was asked {len(later)} times in the calm"
    )


async def work_alone(world: World) -> None:
    """A Redis that can only be read keeps no replica from what the upstream has, however slow that is."""
    await asyncio.sleep(2 * POLL + SLACK)
    for replica in world.replicas:
        is_usable = replica.refresher.current.shared or replica.refresher.stats.redis_reachable
        replica.expect(not is_usable, "calls Redis usable")
    await asyncio.sleep(REFRESH + 3 * (POLL + 2))  # a back-off, a fetch that hangs, and one that does not
    for _ in range(int(REFRESH / POLL)):
        await asyncio.sleep(POLL)
        for replica in world.replicas:
            current, age = replica.refresher.current, replica.refresher.age()
            replica.expect(version_of(current) == world.upstream_version, f"answers from {current.version}")
            replica.expect(age < REFRESH * 1.1 + 2 * POLL + 2 + SLACK, f"its catalogue is {age:.1f} s old")


async def work_together(world: World) -> None:
    calm = world.loop.time()
    await asyncio.sleep(AGREEMENT)  # not longer where the upstream hangs: the polls go on meanwhile
    world.agreed_from = world.loop.time()
    everyday = asyncio.create_task(world.lives_on())
    for _ in range(int((CALM - AGREEMENT) / POLL)):
        await asyncio.sleep(POLL)
        is_backing_off = not world.first_shown and world.loop.time() < calm + REFRESH + AGREEMENT
        if not is_backing_off:
            agree(world)
    everyday.cancel()


def agree(world: World) -> None:
    just_now = max(world.first_shown.values()) + SKEW > world.loop.time()
    shown = {str(replica): replica.refresher.current for replica in world.replicas}
    versions = {replica: current.version for replica, current in shown.items() if not current.is_provisional}
    assert len(set(versions.values())) == 1 or just_now, f"no agreement: {versions}"


def simulate(seed: int) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        world = World(seed, runner.get_loop())
        structlog.configure(processors=[world.log])
        try:
            runner.run(live(world))
        except BaseException as error:
            error.add_note(f"--seed {seed}\n" + "\n".join(world.story))
            raise


@pytest.mark.parametrize("part", range(10))
def test_fleets_keep_their_promises_through_seeded_faults(part, request):
    seed = request.config.getoption("--seed")
    for number in range(part, SEEDS, 10) if seed is None else [seed] if part == 0 else []:
        simulate(number)
