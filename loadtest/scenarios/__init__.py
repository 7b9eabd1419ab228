"""What is broken, when, and what must hold: a scenario is one module, or a part of one, and one line of `SCENARIOS`."""

from loadtest.scenarios import clients, demo, everything, redis, replicas, steady, upstream
from loadtest.scenarios.pairs import PAIRS, pair
from loadtest.scenarios.scenario import Scenario

_MODULES = (steady, replicas, redis, upstream, clients, everything, demo)
SUITE = "pairs"
"""What is run by this name is every pair of faults that the target can do, each a scenario of its own."""

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for module in _MODULES for scenario in module.SCENARIOS}


def scenario_of(name: str) -> Scenario:
    """The scenario called *name*, that of a pair of faults among them. Raises KeyError."""
    return pair(name) if name in PAIRS else SCENARIOS[name]
