"""Whether the load generator kept up. A run in which it was the bottleneck is void: it says nothing of the service."""

from collections.abc import Iterator, Sequence
from math import ceil

import msgspec

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult
from loadtest.record import TRANSPORT_FAILURES, RequestRecord

_LAG = 0.1
"""Seconds by which the load generator may delay a request."""
_LAG_SHARE = 0.1
_BLAMELESS_SHARE = 0.5
"""Where it delayed a larger part of the failed requests, the failures are its own."""
_BUSY = 0.9
_LARGE = 100_000
"""Requests a second: a report says how many workers can send them."""
_BY_IT = "The load generator (Locust, its balancer, or their machine)"
_REMEDY = "Give it more CPU, or use fewer --users or a lower --rate."
_SKEW = 0.02
"""Seconds by which the clocks of its machines may differ: less than the skew that monotonic reads allow."""


class GeneratorLoad(msgspec.Struct, frozen=True):
    """What the load generator did, and what it could do: *limit_per_second* requests take all of its own CPU."""

    cpu_ms_per_request: float
    limit_per_second: int
    busy: float
    delayed_share: float

    @classmethod
    def of(cls, run: Analysis) -> "GeneratorLoad":
        """That of *run*."""
        usage, count = run.history.generator, len(run.requests)
        delayed = _delayed(run.requests)
        per_request = usage.cpu / count if count else 0.0
        return cls(
            round(per_request * 1000, 3),
            round(1 / per_request) * usage.processes if per_request else 0,
            round((usage.cpu + usage.waited) / usage.seconds, 3) if usage.seconds else 0.0,
            round(delayed / count, 4) if count else 0.0,
        )


def bottleneck(run: Analysis) -> str:
    """Why nothing can be said of the service, if so."""
    load = GeneratorLoad.of(run)
    if load.busy > _BUSY * max(1, run.history.generator.processes):
        return f"Locust ran or waited to run {load.busy:.0%} of the time: it was the bottleneck. {_REMEDY}"
    if (skew := run.history.generator.skew) > _SKEW:
        return f"Workers' clocks may differ by {skew * 1000:.1f} ms: more than {_SKEW * 1000:.0f}, so that order is not known."
    if load.delayed_share > _LAG_SHARE:
        return f"{_BY_IT} delayed {load.delayed_share:.1%} of the requests by more than {_LAG * 1000:.0f} ms. {_REMEDY}"
    return ""


def cause_of_failures(run: Analysis) -> str:
    """Why requests that failed say nothing of the service, if so: the load generator delayed most of them, and all were lost."""
    delayed = _delayed(run.failed)
    if delayed <= _BLAMELESS_SHARE * len(run.failed) or run.failures.keys() - TRANSPORT_FAILURES:
        return ""
    count = counted(len(run.failed), "failed request")
    return f"{_BY_IT} delayed {delayed} of {count} by more than {_LAG * 1000:.0f} ms. {_REMEDY}"


def _delayed(requests: Sequence[RequestRecord]) -> int:
    return sum(request.lag > _LAG for request in requests)


def was_not_the_bottleneck(run: Analysis) -> Iterator[CheckResult]:
    """The load generator kept up."""
    if reason := bottleneck(run):
        yield CheckResult("the load generator", False, "the bottleneck", "not the bottleneck", reason)


def clocks_agree(run: Analysis) -> Iterator[CheckResult]:
    """The rows of workers on several machines are on one clock, nearly; says too how many workers a larger load would take."""
    usage, load = run.history.generator, GeneratorLoad.of(run)
    if not usage.skew:
        return
    needed = ceil(_LARGE * load.cpu_ms_per_request / 1000)
    yield CheckResult(
        "clocks of the workers",
        usage.skew <= _SKEW,
        f"{usage.skew * 1000:.1f} ms",
        f"at most {_SKEW * 1000:.0f} ms",
        f"The clocks of {counted(usage.processes, 'worker')} differed by {usage.skew * 1000:.1f} ms at most. They can send about "
        f"{load.limit_per_second:,} requests a second; {_LARGE:,} would take {counted(needed, 'worker')} with a core each.",
    )
