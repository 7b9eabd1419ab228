"""Whether requests were sent more than once, and by whom."""

from collections.abc import Iterator

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult
from loadtest.faults.replicas import KillAll

_BUDGET = 0.2
"""Retries for each request, at most, while something is broken: more would be a load of their own (Envoy's retry budget)."""

_HELD = 4
"""Retries a second of a request that the edge holds while no replica answers: they reach none (`listen unready`)."""


def client_sent_each_request_once(run: Analysis) -> Iterator[CheckResult]:
    """No request arrived a second time, where the balancer counts: a client that retries would hide what is lost."""
    if (repeated := run.history.repeated) is not None:
        sentence = f"{counted(repeated, 'request')} came a second time, by their X-Request-Id."
        yield CheckResult("requests that were sent twice", repeated == 0, repeated, "0", sentence)


def edge_retried_little(run: Analysis) -> Iterator[CheckResult]:
    """The retries of an edge are counted: none where nothing is broken, and otherwise a fraction of the requests.

    When all replicas are killed, requests are held in addition.
    """
    if (retries := run.history.retries) is not None:
        held = _HELD * _seconds_held(run)
        most = int(_BUDGET * len(run.requests) + held) if run.history.faults else 0
        kinds = f": {_BUDGET:.0%} of the requests" + f", and {_HELD} a second of each that was held" * bool(held)
        bound = f"at most {most}" + (kinds if most else " where nothing is broken")
        sentence = f"The edge sent requests again {counted(retries, 'time')}, by its log."
        yield CheckResult("retries of the edge", retries <= most, retries, bound, sentence)


def _seconds_held(run: Analysis) -> float:
    """How long requests waited, in all, from the moment at which all replicas were killed."""
    killed = min((record.began for record in run.history.faults if isinstance(record.fault, KillAll)), default=None)
    if killed is None:
        return 0.0
    return sum(request.done - max(request.sent, killed) for request in run.requests if request.done > killed)
