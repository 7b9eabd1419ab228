"""A story of a minute, which `python -m loadtest demo` shows as it happens."""

from collections.abc import Callable
from typing import NamedTuple

from loadtest.checks.failures import none_failed_but_lost
from loadtest.faults import AnyFault
from loadtest.faults.redis import RedisDown
from loadtest.faults.replicas import Kill, Rollout
from loadtest.faults.upstream import BadUpstream
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario

_PAUSE = 5.0
"""Parts of the run before the first fault, and after each one."""

_ROLLOUT_SECONDS = 20.0
"""What a rollout of four processes takes, whatever the length of the run: a run that is not twice as long goes without."""


class Step(NamedTuple):
    """A fault, for so many *parts* of the run, and what is to be seen in it."""

    fault: Callable[[ScenarioRun], AnyFault]
    parts: float
    expected: str


STORY = (
    Step(
        lambda run: Kill(run.victim()),
        0,
        "Only what was in flight to it may fail. It is restarted, and answers again within seconds.",
    ),
    Step(
        lambda _: RedisDown(),
        10,
        "No request fails: each replica answers from its own memory, and asks the upstream by itself.",
    ),
    Step(
        lambda _: BadUpstream("invalid"),
        10,
        "No replica accepts what the upstream sends now. All of them keep the last valid catalogue.",
    ),
    Step(lambda _: Rollout(), 0, "A new replica is ready before an old one drains. No request fails."),
)


def _story(run: ScenarioRun) -> None:
    steps = STORY if run.seconds >= 2 * _ROLLOUT_SECONDS else STORY[:-1]
    rollout = _ROLLOUT_SECONDS if steps is STORY else 0.0
    part = (run.seconds - rollout) / (_PAUSE * (len(steps) + 1) + sum(step.parts for step in steps))
    run.wait(_PAUSE * part)
    for step in steps:
        run.inject(step.fault(run), step.parts * part)
        run.wait(_PAUSE * part)
    run.target.settle(run.replicas)


SCENARIOS = (
    Scenario(
        "demo",
        "A replica is killed, Redis is stopped, the upstream gives invalid catalogues, all replicas are replaced.",
        _story,
        faults=(Kill, RedisDown, BadUpstream, Rollout),
        failures=none_failed_but_lost,
    ),
)
