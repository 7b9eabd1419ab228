"""A run without a fault."""

from loadtest.checks.bodies import pages_were_complete
from loadtest.checks.monotonic import reads_are_monotonic
from loadtest.checks.spread import fair_spread
from loadtest.scenarios.scenario import Scenario

SCENARIOS = (
    Scenario(
        "steady",
        "Nothing is broken.",
        lambda run: run.wait(run.seconds),
        checks=(fair_spread, reads_are_monotonic, pages_were_complete),
    ),
)
