"""How slow requests may be during a fault."""

from collections.abc import Iterator, Sequence

from loadtest.analysis import Analysis
from loadtest.checks.check import Check, CheckResult
from loadtest.record import RequestRecord

_WARM = 2.0
"""Seconds after which a run is past its start."""


def p99_at_most(times: float) -> Check:
    """A check that p99 during the faults is at most *times* that before, as surely as the number of requests can tell."""

    def check(run: Analysis) -> Iterator[CheckResult]:
        first = min((fault.began for fault in run.history.faults), default=run.facts.seconds)
        last = max((fault.ended for fault in run.history.faults), default=run.facts.seconds)
        before = _p99([request for request in run.requests if request.due > _WARM and request.done < first])
        during = _p99([request for request in run.requests if request.done >= first and request.due <= last])
        yield CheckResult(
            "p99 during the fault, as a multiple of that before",
            bool(before[1]) and during[0] <= times * before[2],
            round(during[1] / before[1], 2) if before[1] else "no requests before",
            f"at most {times:g}, as surely as so few can tell",
            f"p99 was {before[1]:.1f} ms before the fault (95 % confident of {before[0]:.1f} to {before[2]:.1f}), "
            f"{during[1]:.1f} ms during it ({during[0]:.1f} to {during[2]:.1f}).",
        )

    return check


def _p99(requests: Sequence[RequestRecord]) -> tuple[float, float, float]:
    """p99 of the latency in milliseconds, in the middle of its 95 % confidence interval (by order statistics)."""
    from scipy import stats  # takes a second: only where a verdict is reached

    if not requests:
        return 0.0, 0.0, 0.0
    ordered, count = sorted(request.latency * 1000 for request in requests), len(requests)
    low, high = (int(rank) for rank in stats.binom.ppf((0.025, 0.975), count, 0.99))
    return ordered[max(0, low - 1)], ordered[int(0.99 * (count - 1))], ordered[min(count - 1, high)]
