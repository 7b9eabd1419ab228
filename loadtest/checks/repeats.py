"""Whether requests were sent more than once, and by whom."""

from collections.abc import Iterator

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult

_BUDGET = 0.2
"""Retries for each request, at most, while something is broken: more would be a load of their own (Envoy's retry budget)."""


def client_sent_each_request_once(run: Analysis) -> Iterator[CheckResult]:
    """No request arrived a second time, where the balancer counts: a client that retries would hide what is lost."""
    if (repeated := run.history.repeated) is not None:
        sentence = f"{counted(repeated, 'request')} came a second time, by their X-Request-Id."
        yield CheckResult("requests that were sent twice", repeated == 0, repeated, "0", sentence)


def edge_retried_little(run: Analysis) -> Iterator[CheckResult]:
    """The retries of an edge are counted: none where nothing is broken, and otherwise a fraction of the requests."""
    if (retries := run.history.retries) is not None:
        most = int(_BUDGET * len(run.requests)) if run.history.faults else 0
        bound = f"at most {most}" + (f": {_BUDGET:.0%} of the requests" if most else " where nothing is broken")
        sentence = f"The edge sent requests again {counted(retries, 'time')}, by its log."
        yield CheckResult("retries of the edge", retries <= most, retries, bound, sentence)
