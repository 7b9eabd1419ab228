"""What is broken, when, and what must hold: a scenario is one module, or a part of one, and one line of `SCENARIOS`."""

from loadtest.scenarios import clients, demo, everything, nodes, redis, replicas, steady, upstream
from loadtest.scenarios.scenario import Scenario

_MODULES = (steady, replicas, nodes, redis, upstream, clients, everything, demo)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for module in _MODULES for scenario in module.SCENARIOS}
