"""Scenarios in which replicas are replaced, or end, and in which their nodes do."""

from loadtest.checks.failures import none_failed_after_node_was_left, none_failed_but_lost
from loadtest.checks.monotonic import reads_are_monotonic
from loadtest.checks.recovery import killed_replicas_answer_again
from loadtest.checks.spread import added_replica_has_its_share
from loadtest.faults.replicas import DeletePod, DrainNode, Kill, KillAll, LoseNode, Pause, Rollout, Scale
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario, repeatedly
from loadtest.system import uninterrupted


def _scale(run: ScenarioRun) -> None:
    before = run.replicas
    run.wait(run.recovery)
    try:
        while run.continues():
            for replicas in (before // 2, before * 3 // 2, before):
                run.inject(Scale(replicas))
                run.wait(run.recovery)
    finally:
        with uninterrupted():
            run.target.scale(before)


def _add_replica(run: ScenarioRun) -> None:
    before = run.replicas
    run.wait(run.recovery)
    try:
        run.inject(Scale(before + 1))
        run.wait(max(30.0, run.seconds / 2))
    finally:
        with uninterrupted():
            run.inject(Scale(before))


def _crash_all(run: ScenarioRun) -> None:
    run.wait(run.recovery)
    run.inject(KillAll())
    run.wait(run.recovery)
    run.target.settle(run.replicas)


def _drain_node(run: ScenarioRun) -> None:
    run.wait(run.recovery)
    while run.continues():
        with run.injected(DrainNode()):
            run.target.settle(run.replicas)
            run.wait(run.recovery)
        run.inject(Rollout())  # what had to move does not come back by itself
        run.wait(run.recovery)


def _lose_node(run: ScenarioRun) -> None:
    run.wait(run.recovery)
    run.inject(LoseNode(), max(35.0, run.seconds / 2))
    run.target.settle(run.replicas)
    run.wait(run.recovery)


SCENARIOS = (
    Scenario(
        "rollout",
        "New replicas for old ones, again and again.",
        repeatedly(lambda _: Rollout()),
        faults=(Rollout,),
        checks=(reads_are_monotonic,),
    ),
    Scenario(
        "scale",
        "To half of the replicas, to half more than at first, and back, again and again.",
        _scale,
        faults=(Scale,),
    ),
    Scenario(
        "add-replica",
        "One more replica, which gets its share of the kept-alive connections.",
        _add_replica,
        faults=(Scale,),
        checks=(added_replica_has_its_share,),
    ),
    Scenario(
        "delete-pod",
        "A replica is deleted every ten seconds or so.",
        repeatedly(lambda run: DeletePod(run.victim())),
        faults=(DeletePod,),
    ),
    Scenario(
        "crash",
        "kill -9 of a replica every ten seconds.",
        repeatedly(lambda run: Kill(run.victim()), pause=10),
        faults=(Kill,),
        failures=none_failed_but_lost,
        checks=(killed_replicas_answer_again,),
    ),
    Scenario(
        "crash-all",
        "kill -9 of all replicas at once: requests are held until one answers again.",
        _crash_all,
        faults=(KillAll,),
        checks=(killed_replicas_answer_again,),
    ),
    Scenario(
        "pause",
        "A replica is paused for five seconds, and keeps its connections.",
        repeatedly(lambda run: Pause(run.victim()), seconds=5),
        faults=(Pause,),
        failures=none_failed_but_lost,
    ),
    Scenario(
        "drain-node", "A node is drained, and the replicas are spread again.", _drain_node, faults=(DrainNode, Rollout)
    ),
    Scenario(
        "lose-node",
        "A node has no network for half a minute.",
        _lose_node,
        faults=(LoseNode,),
        failures=none_failed_after_node_was_left,
    ),
)
