"""Scenarios in which the upstream is away, or gives what no replica may accept."""

from functools import partial

from loadtest.checks.catalogue import upstream_failure_was_reported
from loadtest.checks.run import no_restarts
from loadtest.faults.upstream import BadUpstream, UpstreamPartition
from loadtest.scenarios.scenario import middle_third

_away = partial(middle_third, checks=(no_restarts, upstream_failure_was_reported))
_TIMEOUT = 40.0
"""Seconds: longer than a replica waits for the upstream."""

SCENARIOS = (
    _away("upstream-down", "The upstream closes every connection unanswered.", BadUpstream("disconnect"), at_least=20),
    _away(
        "upstream-invalid",
        "The upstream gives what no replica may accept, a different kind each time.",
        BadUpstream("invalid"),
        at_least=20,
    ),
    _away(
        "upstream-slow",
        "The upstream sends a byte a second, for longer than a replica waits for it.",
        BadUpstream("slow"),
        at_least=_TIMEOUT,
    ),
    _away(
        "upstream-cut",
        "Every packet that the upstream sends is dropped, for longer than a replica waits for it.",
        UpstreamPartition(),
        at_least=_TIMEOUT,
    ),
)
