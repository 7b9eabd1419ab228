"""Scenarios of two faults that overlap: one for each pair, which `pair` makes by its name, such as "kill+rollout"."""

from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import combinations_with_replacement, cycle
from typing import NamedTuple

from loadtest.checks.failures import none_failed_but_lost
from loadtest.checks.monotonic import reads_are_monotonic
from loadtest.checks.run import faults_overlapped
from loadtest.faults import AnyFault
from loadtest.faults.fault import Fault
from loadtest.faults.redis import (
    RedisDown,
    RedisFlush,
    RedisFull,
    RedisHang,
    RedisMisnamed,
    RedisPartitionFromOne,
    RedisReadOnly,
)
from loadtest.faults.replicas import (
    DiskFull,
    Kill,
    KillEdge,
    LoseNode,
    OutOfMemory,
    Pause,
    Rollout,
    ScaleAndBack,
    Starve,
)
from loadtest.faults.upstream import BadUpstream
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario, Script

_PARTS = 9
"""A run has so many parts of equal length: one before each round and one at the end, and three for each round."""

_SOON = 1.0
"""Seconds from a fault that is over by itself to the one that meets it."""

_PAUSE = 5.0
"""The longest pause of a replica, in seconds: Kubernetes restarts one that does not answer for 15."""


class _Member(NamedTuple):
    """A fault that is one of a pair: its type, and how it is made for a run."""

    fault: type[Fault]
    make: Callable[[ScenarioRun], AnyFault]
    longest: float = float("inf")


MEMBERS: dict[str, _Member] = {
    "upstream-down": _Member(BadUpstream, lambda _: BadUpstream("disconnect")),
    "upstream-slow": _Member(BadUpstream, lambda _: BadUpstream("slow")),
    "upstream-invalid": _Member(BadUpstream, lambda _: BadUpstream("invalid")),
    "upstream-shrinking": _Member(BadUpstream, lambda _: BadUpstream("shrinking")),
    "upstream-flapping": _Member(BadUpstream, lambda _: BadUpstream("flapping")),
    "redis-down": _Member(RedisDown, lambda _: RedisDown()),
    "redis-hang": _Member(RedisHang, lambda _: RedisHang()),
    "redis-empty": _Member(RedisFlush, lambda _: RedisFlush()),
    "redis-read-only": _Member(RedisReadOnly, lambda _: RedisReadOnly()),
    "redis-full": _Member(RedisFull, lambda _: RedisFull()),
    "redis-cut-from-one": _Member(RedisPartitionFromOne, lambda run: RedisPartitionFromOne(run.victim())),
    "redis-misnamed": _Member(RedisMisnamed, lambda _: RedisMisnamed()),
    "kill": _Member(Kill, lambda run: Kill(run.victim())),
    "pause": _Member(Pause, lambda run: Pause(run.victim()), _PAUSE),
    "starve": _Member(Starve, lambda run: Starve(run.victim())),
    "out-of-memory": _Member(OutOfMemory, lambda run: OutOfMemory(run.victim())),
    "disk-full": _Member(DiskFull, lambda run: DiskFull(run.victim())),
    "kill-edge": _Member(KillEdge, lambda _: KillEdge()),
    "lose-node": _Member(LoseNode, lambda _: LoseNode()),
    "rollout": _Member(Rollout, lambda _: Rollout()),
    "scale": _Member(ScaleAndBack, lambda run: ScaleAndBack(max(1, run.replicas // 2), run.replicas)),
}

PAIRS: tuple[str, ...] = tuple(f"{one}+{other}" for one, other in combinations_with_replacement(MEMBERS, 2))
"""All of them. A fault and itself is the fault alone."""

REQUESTS = 13_000
"""So many at least in the run of each, if not told otherwise; the usual 270 a second make about 15,000."""


def pair(name: str) -> Scenario:
    """The scenario of the pair *name*. Raises KeyError for a name that is not in `PAIRS`, in either order."""
    one, other = (MEMBERS[each] for each in name.split("+"))
    alone = one is other
    about = f"{name.partition('+')[0]} alone." if alone else f"{name.replace('+', ' and ')} overlap, in both orders."
    checks = (reads_are_monotonic,) if alone else (reads_are_monotonic, faults_overlapped)
    faults = (one.fault, other.fault)
    return Scenario(name, about, _script(one, other), faults, none_failed_but_lost, checks, seconds=56.0)


def named(text: str) -> str:
    """The name in `PAIRS` of the pair *text*, in either order. Raises ValueError."""
    for name in (text, "+".join(reversed(text.split("+")))):
        if name in PAIRS:
            return name
    raise ValueError(text)


def chosen(commit: str, names: Iterable[str]) -> list[str]:
    """Six of *names*, by the hash of a *commit*: another commit gets others, the same one always the same."""
    return sorted(names, key=lambda name: sha256(f"{commit} {name}".encode()).digest())[:6]


def _script(one: _Member, other: _Member) -> Script:
    orders = ((one,), (one,)) if one is other else ((one, other), (other, one))

    def script(run: ScenarioRun) -> None:
        part = run.seconds / _PARTS
        run.wait(part)
        for played, order in enumerate(cycle(orders)):
            if played >= len(orders) and not run.continues():
                return
            run.overlap(*(_plan(run, each, place, order, part) for place, each in enumerate(order)))
            run.target.settle(run.replicas)
            run.wait(part)

    return script


def _plan(run: ScenarioRun, member: _Member, place: int, order: tuple[_Member, ...], part: float) -> Callable[[], None]:
    """Inject *member* for two parts; the second of an *order* begins in the middle of the first."""

    def plan() -> None:
        if place:
            run.wait(min(_SOON, part) if order[0].fault.at_once else part)
        fault = member.make(run)
        run.inject(fault, 0.0 if fault.at_once else min(2 * part, member.longest))

    return plan
