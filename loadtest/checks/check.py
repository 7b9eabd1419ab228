"""What every check is: a function from the analysis of a run to results."""

from collections.abc import Callable, Iterable

import msgspec

from loadtest.analysis import Analysis


class CheckResult(msgspec.Struct, frozen=True):
    """One thing that had to hold. *figure* is what was measured, *bound* what was allowed."""

    name: str
    passed: bool
    figure: float | int | str
    bound: str
    sentence: str


Check = Callable[[Analysis], Iterable[CheckResult]]
