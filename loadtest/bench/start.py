"""Time from the command to the first response, and the memory that the process then uses."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from http.client import OK
from statistics import median

from loadtest.bench.process import cpu_seconds, get, resident_mb, serving, wait_for
from loadtest.bench.table import Cell, formatted

_SERVE = """
from apidex.cli.lazy_imports import without_unused_imports
with without_unused_imports():
    import apidex.cli.serve
from apidex.http.routes import litestar_app
"""
"""What a replica imports."""

_LEAST_MS = 2.0
"""Packages that take less are one row."""

_COLUMNS = {
    "run": "",
    "first answer, ms": ".1f",
    "CPU, ms": ".1f",
    "memory, MB": ".1f",
    "after 1,000 searches, MB": ".1f",
}


def measure(upstream: str, runs: int) -> str:
    """The table of each run and their median, and that of the imports. *upstream* is a URL."""
    figures = [_run(upstream) for _ in range(runs)]
    middle = map(median, zip(*figures, strict=True))
    rows: list[Sequence[Cell]] = [[str(number), *figure] for number, figure in enumerate(figures, start=1)]
    return f"{formatted(_COLUMNS, [*rows, ['median', *middle]])}\n{_imports()}"


def _imports() -> str:
    """Milliseconds of a replica's imports by package, each without what it imports in turn."""
    command = [sys.executable, "-X", "importtime", "-c", _SERVE]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stderr  # noqa: S603 - this interpreter
    costs = Counter[str]()
    for line in output.splitlines()[1:]:
        own, _, name = line.removeprefix("import time:").split("|")
        package = name.strip().partition(".")[0]
        costs["the standard library" if package in sys.stdlib_module_names else package] += int(own)
    rows = [(package, cost / 1000) for package, cost in costs.most_common()]
    large = [row for row in rows if row[1] >= _LEAST_MS]
    others = sum(cost for _, cost in rows[len(large) :])
    return formatted({"imports of": "", "ms": ".1f"}, [*large, ("others", others), ("all", costs.total() / 1000)])


def _run(upstream: str) -> tuple[float, float, float, float]:
    began = time.perf_counter()
    with serving(APIDEX_UPSTREAM=upstream, APIDEX_LOG_LEVEL="info") as (pid, port, _):
        wait_for(port, "/a")
        seconds = time.perf_counter() - began
        cpu, memory = cpu_seconds(pid), resident_mb(pid)
        _search(port, 1000)
        return seconds * 1000, cpu * 1000, memory, resident_mb(pid)


def _search(port: int, times: int) -> None:
    for number in range(times):
        status = get(port, f"/{'aeiou'[number % 5]}{number or ''}").status
        if status != OK:
            raise RuntimeError(f"a search got status {status}")
