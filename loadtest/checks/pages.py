"""Whether the pages of one version fit together, while the catalogue changes."""

from collections.abc import Iterator

from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult

_GONE = 410


def pages_were_complete(run: Analysis) -> Iterator[CheckResult]:
    """Where no replica ends and Redis is there, each version can be read to its last page. A wrong page fails its request."""
    gone = sum(request.status == _GONE for request in run.requests)
    pages = sum(request.kind == "a page" for request in run.requests) - gone
    sentence = f"{pages} pages were compared with their version; {gone} times it was gone before its last page."
    yield CheckResult("versions that were gone before their last page", gone == 0, gone, "0", sentence)
