"""Scenarios in which the upstream is away, or gives what no replica may accept."""

from functools import partial

from loadtest.checks.catalogue import upstream_failure_was_reported
from loadtest.checks.run import no_restarts
from loadtest.faults.upstream import BadUpstream, UpstreamPartition
from loadtest.scenarios.scenario import Scenario, middle_third

_scenario = partial(Scenario, faults=(BadUpstream,), checks=(no_restarts, upstream_failure_was_reported))
_TIMEOUT = 40.0
"""Seconds: longer than a replica waits for the upstream."""

SCENARIOS = (
    _scenario(
        "upstream-down",
        "The upstream closes every connection unanswered.",
        middle_third(BadUpstream("disconnect"), at_least=20),
    ),
    _scenario(
        "upstream-invalid",
        "The upstream gives what no replica may accept, a different kind each time.",
        middle_third(BadUpstream("invalid"), at_least=20),
    ),
    _scenario(
        "upstream-slow",
        "The upstream sends a byte a second, for longer than a replica waits for it.",
        middle_third(BadUpstream("slow"), at_least=_TIMEOUT),
    ),
    _scenario(
        "upstream-cut",
        "Every packet that the upstream sends is dropped, for longer than a replica waits for it.",
        middle_third(UpstreamPartition(), at_least=_TIMEOUT),
        faults=(UpstreamPartition,),
    ),
)
