"""Whether bodies were compared with what their catalogue demands."""

from collections.abc import Iterator

from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult

_UNCHECKED_SHARE = 0.0002
"""Those of a version that was gone before its catalogue could be fetched."""


def bodies_were_compared(run: Analysis) -> Iterator[CheckResult]:
    """A wrong body fails its request; here it counts that bodies were compared at all."""
    unchecked = sum(not request.checked for request in run.requests)
    compared = sum(request.status in (200, 304) for request in run.requests) - unchecked
    yield CheckResult(
        "answers whose bytes were not compared",
        unchecked <= compared * _UNCHECKED_SHARE and compared > 0,
        unchecked,
        f"at most {_UNCHECKED_SHARE:.2%} of those that were",
        f"{compared} bodies, sent or held, were compared with what their catalogue demands.",
    )
