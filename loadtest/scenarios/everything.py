"""Faults by chance."""

from collections.abc import Callable

from loadtest.faults import AnyFault
from loadtest.faults.redis import RedisDown, RedisFlush, RedisHang
from loadtest.faults.replicas import Kill, Rollout
from loadtest.faults.upstream import BadUpstream
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario

_Choice = Callable[[ScenarioRun], AnyFault]
_FAULTS: tuple[_Choice, ...] = (
    lambda _: RedisDown(),
    lambda _: RedisFlush(),
    lambda _: RedisHang(),
    lambda run: BadUpstream(run.random.choice(("disconnect", "invalid", "slow"))),
    lambda _: Rollout(),
)
_FAULTS_BEHIND_AN_EDGE: tuple[_Choice, ...] = (*_FAULTS, lambda run: Kill(run.victim()))
"""A replica is killed only where a balancer retries, since no request may fail."""


def _everything(run: ScenarioRun) -> None:
    faults = _FAULTS_BEHIND_AN_EDGE if run.target.by_request else _FAULTS
    run.wait(run.recovery)
    while run.continues():
        fault = run.random.choice(faults)(run)
        run.inject(fault, 0.0 if fault.at_once else run.random.uniform(2, 10))
        run.wait(run.random.uniform(1, run.recovery))
    run.target.settle(run.replicas)


SCENARIOS = (
    Scenario(
        "everything",
        "Faults by chance, from a seed. A replica is killed only where a balancer retries, since none may fail.",
        _everything,
        faults=(RedisDown, RedisFlush, RedisHang, BadUpstream, Rollout, Kill),
        seconds=300.0,
    ),
)
