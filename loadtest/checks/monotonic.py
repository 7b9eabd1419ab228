"""Checks that the catalogue never goes back for a client whose requests are answered by different replicas."""

from collections.abc import Iterator

from apidex.terminal import counted
from loadtest.analysis import Analysis, is_within, quantiles
from loadtest.checks.check import CheckResult
from loadtest.ordering import VersionOrder

SKEW = 0.05
"""Seconds within which replicas change to another catalogue."""


def reads_are_monotonic(run: Analysis) -> Iterator[CheckResult]:
    """While all replicas can poll Redis, no version is older than one that any replica gave before, apart from the skew."""
    order = VersionOrder.of(run.requests)
    late = [request for request in run.requests if order.is_behind(request, SKEW)]
    count = sum(not is_within(request.sent, run.without_polls) for request in late)
    longest = max(map(order.behind, late), default=0.0)
    skews = quantiles([1000 * skew for skew in order.skews(run.requests)] or [0.0])
    sentence = (
        f"From an older catalogue than one that was given {SKEW * 1000:.0f} ms before: {counted(count, 'answer')}; "
        f"{len(late) - count} more while a replica could not poll Redis; at most {longest:.2f} s. "
        f"The last old answer was asked for {skews['p50']:.0f} ms (p50), {skews['p99']:.0f} ms (p99) after the first new one."
    )
    yield CheckResult("monotonic reads", count == 0, count, "0", sentence)
