"""Scenarios in which clients are hostile."""

from loadtest.checks.run import no_restarts
from loadtest.faults.clients import HostileClients
from loadtest.hostile_clients import KINDS
from loadtest.nemesis import ScenarioRun
from loadtest.scenarios.scenario import Scenario


def _hostile(run: ScenarioRun) -> None:
    for behaviour in KINDS:
        run.inject(HostileClients(behaviour), run.seconds / len(KINDS))


SCENARIOS = (
    Scenario(
        "hostile",
        "A thousand hostile clients of each kind, one kind after the other: no request fails, no replica ends.",
        _hostile,
        faults=(HostileClients,),
        checks=(no_restarts,),
        seconds=220.0,
    ),
)
