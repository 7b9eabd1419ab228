"""Which requests may fail."""

from collections.abc import Iterator

from loadtest.analysis import Analysis, counted
from loadtest.checks.check import CheckResult
from loadtest.faults import FaultRecord
from loadtest.record import RequestFailure, RequestRecord

_IN_FLIGHT = 2.0
"""Seconds for which requests may still be sent to a replica that has died, where no balancer retries."""

_LEFT = 15.0
"""Seconds for which requests may still be sent to a node that is lost."""

_TRANSPORT = {
    RequestFailure.REFUSED,
    RequestFailure.RESET,
    RequestFailure.CLOSED,
    RequestFailure.TORN,
    RequestFailure.LATE,
    RequestFailure.UNREACHABLE,
    RequestFailure.TRANSPORT,
}
"""How a request fails that no replica has answered, or not to the end."""


def none_failed(run: Analysis) -> Iterator[CheckResult]:
    """No request failed."""
    yield CheckResult("failed requests", not run.failed, len(run.failed), "0", f"{_failed(run)}.")


def none_failed_but_in_flight(run: Analysis) -> Iterator[CheckResult]:
    """No request failed, but those in flight to a replica that died, where no balancer retries."""
    if run.facts.by_request:
        yield from none_failed(run)
        return
    faults = run.history.faults
    lost = [[request.sent for request in run.failed if _was_lost_to(request, fault)] for fault in faults]
    other = [request for request in run.failed if not any(_was_lost_to(request, fault) for fault in faults)]
    yield CheckResult(
        "failed requests that were not in flight to a dying replica",
        not other,
        len(other),
        "0",
        f"{_failed(run)}; {len(other)} of these not on the way to a replica that had died at most {_IN_FLIGHT:g} s before.",
    )
    most = max(map(len, lost), default=0)
    allowed = int(_IN_FLIGHT * run.per_second / max(1, run.facts.replicas)) + 1
    longest = max((max(sent) - min(sent) for sent in lost if sent), default=0.0)
    yield CheckResult(
        "requests lost with one replica",
        most <= allowed,
        most,
        f"at most {allowed}: what is sent to one in {_IN_FLIGHT:g} s",
        f"{len(run.failed) - len(other)} were lost in {counted(len(faults), 'fault')}, at most {most} in one, "
        f"over at most {longest:.2f} s.",
    )


def none_failed_after_node_was_left(run: Analysis) -> Iterator[CheckResult]:
    """A lost node takes what is sent to it until the cluster knows. Every request that reaches another node is answered.

    That holds with an edge too: half of it was on that node.
    """
    cut = run.history.faults[0].began if run.history.faults else 0.0
    other = [request for request in run.failed if request.done < cut or request.failure not in _TRANSPORT]
    yield CheckResult(
        "requests that failed otherwise", not other, len(other), "0", f"{len(other)} failed before, or not on the way."
    )
    last = max((request.sent - cut for request in run.failed), default=0.0)
    yield CheckResult(
        "seconds until the lost node is left",
        last <= _LEFT,
        round(last, 1),
        f"at most {_LEFT:g}",
        f"The last request that was lost there was sent {last:.1f} s after the node was lost; {_failed(run)}.",
    )


def _was_lost_to(request: RequestRecord, record: FaultRecord) -> bool:
    """Whether *request* failed on the way while the fault was injected, or soon after."""
    return request.failure in _TRANSPORT and request.done >= record.began and request.sent <= record.ended + _IN_FLIGHT


def _failed(run: Analysis) -> str:
    kinds = ", ".join(f"{count} {failure}" for failure, count in run.failures.most_common())
    return f"{len(run.failed)} of {counted(len(run.requests), 'request')} failed{f' ({kinds})' if kinds else ''}"
