"""Two runs side by side: what was broken, what it cost, and which checks no longer hold."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadtest.analysis import QUANTILES, slowest_recovery
from loadtest.bench.table import table
from loadtest.checks import CheckResult
from loadtest.system import UnsupportedError
from loadtest.verdict import VERDICT_VERSION, Verdict

_Row = tuple[str, str, str, str]
_FAILS = "FAILS"


def compared(first: Path, second: Path) -> str:
    """The verdicts in two folders as a table: figure, first, second, difference. Raises UnsupportedError."""
    one, other = _read(first), _read(second)
    return table(("", str(first), str(second), "difference"), [*_facts(one, other), *_checks(one, other)])


def _read(folder: Path) -> Verdict:
    try:
        return msgspec.json.decode((folder / "verdict.json").read_bytes(), type=Verdict)
    except OSError as error:
        raise UnsupportedError(f"{folder} holds no verdict: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise UnsupportedError(
            f"{folder / 'verdict.json'} is not a verdict of version {VERDICT_VERSION} ({error}); "
            f"'python -m loadtest report {folder}' writes it again"
        ) from None


def _facts(one: Verdict, other: Verdict) -> Iterator[_Row]:
    yield "scenario", _scenario(one), _scenario(other), ""
    yield "began", one.facts.began, other.facts.began, ""
    yield "commit", one.facts.commit, other.facts.commit, ""
    yield "outcome", _outcome(one), _outcome(other), ""
    yield _numbers("requests", one.requests, other.requests)
    yield _numbers("requests a second", one.requests / one.facts.seconds, other.requests / other.facts.seconds)
    yield _numbers("failed requests", one.failed, other.failed)
    for failure in dict.fromkeys((*one.failures, *other.failures)):
        yield _numbers(f"  {failure}", one.failures.get(failure, 0), other.failures.get(failure, 0))
    yield _numbers("faults", len(one.faults), len(other.faults))
    yield _numbers("s until all replicas answered again, worst", _slowest(one), _slowest(other))
    yield _numbers(
        "p99 in a fault, ms, worst",
        *(max((each.p99_in or 0 for each in run.faults), default=0.0) for run in (one, other)),
    )
    for name in QUANTILES:
        yield _numbers(f"{name}, ms", one.latency_ms.get(name, 0.0), other.latency_ms.get(name, 0.0))


def _scenario(run: Verdict) -> str:
    return f"{run.facts.scenario} on {run.facts.target}"


def _outcome(run: Verdict) -> str:
    return "void" if run.void else "passed" if run.passed else "failed"


def _slowest(run: Verdict) -> float:
    """Infinite if a replica was missing until the next fault."""
    slowest = slowest_recovery(run.faults)
    return float("inf") if slowest is None else slowest


def _numbers(name: str, first: float, second: float) -> _Row:
    difference = second - first if first != second else 0.0
    part = f" ({difference / first:+.0%})" if first and abs(difference) < float("inf") else ""
    return name, _shown(first), _shown(second), f"{_shown(difference, sign='+')}{part}" if difference else ""


def _shown(number: float, sign: str = "") -> str:
    return f"{number:{sign}d}" if isinstance(number, int) else f"{number:{sign}.1f}"


def _checks(one: Verdict, other: Verdict) -> Iterator[_Row]:
    """Every check, with its figure in both runs, and whether it passed."""
    first, second = ({check.name: check for check in run.checks} for run in (one, other))
    for name in dict.fromkeys((*first, *second)):
        shown = [_check(checks.get(name)) for checks in (first, second)]
        differs = shown[0].endswith(_FAILS) != shown[1].endswith(_FAILS)
        yield name, shown[0], shown[1], "differs" if differs else ""


def _check(check: CheckResult | None) -> str:
    return f"{check.figure} {'holds' if check.passed else _FAILS}" if check else "not checked"
