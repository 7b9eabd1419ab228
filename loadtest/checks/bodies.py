"""Whether bodies were compared with what their catalogue demands, and whether pages could be read to the last one."""

from collections.abc import Iterator

from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult

_UNCHECKED_SHARE = 0.0002
"""Those of a version that was gone before its catalogue could be fetched."""

_GONE = 410


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


def pages_were_complete(run: Analysis) -> Iterator[CheckResult]:
    """Where no replica ends and Redis is there, each version can be read to its last page. A wrong page fails its request."""
    gone = sum(request.status == _GONE for request in run.requests)
    pages = sum(request.kind == "a page" for request in run.requests) - gone
    sentence = f"{pages} pages were compared with their version; {gone} times it was gone before its last page."
    yield CheckResult("versions that were gone before their last page", gone == 0, gone, "0", sentence)
