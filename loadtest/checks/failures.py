"""Which requests may fail."""

from collections.abc import Iterator
from typing import NamedTuple

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult
from loadtest.faults import FaultRecord
from loadtest.record import TRANSPORT_FAILURES, RequestRecord

_IN_FLIGHT = 2.0
"""Seconds for which requests may still be sent to a replica that has died, where no balancer retries."""

_LEFT = 15.0
"""Seconds for which requests may still be sent to a node that is lost."""

_EDGE_LEFT = 5.0
"""Seconds for which requests may still be sent to an edge that was killed, until it runs again or is left."""

_NO_EDGE = {"edge", "node"}
"""Where both are lost at the same time, no edge lives."""


def none_failed(run: Analysis) -> Iterator[CheckResult]:
    """No request failed."""
    yield CheckResult("failed requests", not run.failed, len(run.failed), "0", f"{_failed(run)}.")


def none_failed_but_lost(run: Analysis) -> Iterator[CheckResult]:
    """No request failed, but those on the way to what a fault took with it: soon after the fault, and no more than reached it."""
    losses = [_Loss.of(run, record) for record in run.history.faults if record.fault.loses]
    losses = [loss for loss in losses if loss.seconds]
    if not losses:
        yield from none_failed(run)
        return
    lost = [sum(map(loss.takes, run.failed)) for loss in losses]
    other = sum(not any(loss.takes(request) for loss in losses) for request in run.failed)
    yield CheckResult(
        "requests that failed, and were not lost with what broke", not other, other, "0", f"{_failed(run)}."
    )
    over = [
        f"{count} with {loss.what}, allowed {loss.most}"
        for count, loss in zip(lost, losses, strict=True)
        if count > loss.most
    ]
    yield CheckResult(
        "requests lost with what broke",
        not over,
        max(lost),
        f"at most {max(loss.most for loss in losses)}: what reaches it in {max(loss.seconds for loss in losses):g} s",
        f"{', '.join(over) or f'Lost with one fault: {max(lost)} at most'}.",
    )


class _Loss(NamedTuple):
    """What a fault may take with it: requests sent from *began* to *until*, *most* of them, as many as reach it in *seconds*.

    While an edge restarts and the node of the other one is lost, no edge lives.
    """

    what: str
    began: float
    until: float
    seconds: float
    most: int

    @classmethod
    def of(cls, run: Analysis, record: FaultRecord) -> "_Loss":
        part, lasts = record.fault.loses, record.ended - record.began
        seconds, share, since = {
            "replica": (0.0 if run.facts.by_request else _IN_FLIGHT, 1 / max(1, run.facts.replicas), lasts),
            "edge": (_EDGE_LEFT, 1.0, lasts),
            "node": (_LEFT, 0.5, 0.0),  # there are two nodes at least, and clients are spread over them
        }[part]
        without = sum(_overlap(record, other) for other in run.history.faults if {part, other.fault.loses} == _NO_EDGE)
        until, reached = record.began + since + seconds + without, seconds * share + without
        return cls(str(record.fault), record.began, until, seconds, int(reached * run.per_second) + 1)

    def takes(self, request: RequestRecord) -> bool:
        """Whether *request* may have been lost with it."""
        return request.failure in TRANSPORT_FAILURES and request.done >= self.began and request.sent <= self.until


def _overlap(one: FaultRecord, other: FaultRecord) -> float:
    """Seconds for which both faults last."""
    return max(0.0, min(one.ended, other.ended) - max(one.began, other.began))


def none_failed_after_node_was_left(run: Analysis) -> Iterator[CheckResult]:
    """A lost node takes what is sent to it until the cluster knows. Every request that reaches another node is answered.

    That holds with an edge too: half of it was on that node.
    """
    cut = run.history.faults[0].began if run.history.faults else 0.0
    other = [request for request in run.failed if request.done < cut or request.failure not in TRANSPORT_FAILURES]
    yield CheckResult(
        "requests that failed otherwise", not other, len(other), "0", f"{len(other)} failed before, or not on the way."
    )
    lost = len(run.failed) - len(other)
    most = sum(_Loss.of(run, record).most for record in run.history.faults)
    yield CheckResult(
        "requests lost with the node",
        lost <= most,
        lost,
        f"at most {most}: what reaches it in {_LEFT:g} s",
        f"{_failed(run)}.",
    )
    last = max((request.sent - cut for request in run.failed), default=0.0)
    yield CheckResult(
        "seconds until the lost node is left",
        last <= _LEFT,
        round(last, 1),
        f"at most {_LEFT:g}",
        f"The last request that was lost there was sent {last:.1f} s after the node was lost; {_failed(run)}.",
    )


def _failed(run: Analysis) -> str:
    kinds = ", ".join(f"{count} {failure}" for failure, count in run.failures.most_common())
    return f"{len(run.failed)} of {counted(len(run.requests), 'request')} failed{f' ({kinds})' if kinds else ''}"
