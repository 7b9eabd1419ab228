"""Scenarios in which a node is drained or lost."""

from loadtest.checks.failures import none_failed_after_node_was_left
from loadtest.faults.replicas import DrainNode, LoseNode, Rollout
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario


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
