"""Scenarios in which replicas are replaced, or end."""

from loadtest.checks.failures import none_failed_but_in_flight
from loadtest.faults.replicas import DeletePod, Kill, Pause, Rollout, Scale
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario, repeatedly


def _scale(run: ScenarioRun) -> None:
    before = run.replicas
    run.wait(run.recovery)
    try:
        while run.continues():
            for replicas in (before // 2, before * 3 // 2, before):
                run.inject(Scale(replicas))
                run.wait(run.recovery)
    finally:
        run.target.scale(before)


ROLLOUT = Scenario(
    "rollout", "New replicas for old ones, again and again.", repeatedly(lambda _: Rollout()), faults=(Rollout,)
)
SCALE = Scenario(
    "scale", "To half of the replicas, to half more than at first, and back, again and again.", _scale, faults=(Scale,)
)
DELETE_POD = Scenario(
    "delete-pod",
    "A replica is deleted every ten seconds or so.",
    repeatedly(lambda run: DeletePod(run.victim())),
    faults=(DeletePod,),
)
CRASH = Scenario(
    "crash",
    "kill -9 of a replica every ten seconds.",
    repeatedly(lambda run: Kill(run.victim()), pause=10),
    faults=(Kill,),
    failures=none_failed_but_in_flight,
)
PAUSE = Scenario(
    "pause",
    "A replica is paused for five seconds, and keeps its connections.",
    repeatedly(lambda run: Pause(run.victim()), seconds=5),
    faults=(Pause,),
    failures=none_failed_but_in_flight,
)
