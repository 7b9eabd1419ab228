"""How long it takes from the command to the first answer, and what memory the process then holds."""

import statistics
import subprocess
import sys
import time
from collections import Counter
from http.client import OK

from loadtest.bench.process import answer, cpu_seconds, megabytes, running, wait_for
from loadtest.bench.table import table
from loadtest.targets import free_port

_SERVED = """
from apidex.cli.lazy_imports import without_terminals
with without_terminals():
    import apidex.cli.serve
from apidex.http.routes import litestar_app
"""
"""What a replica imports."""

_LEAST = 2.0
"""Milliseconds: what takes less is shown together."""

_HEAD = ["run", "first answer, ms", "CPU, ms", "memory, MB", "after 1,000 searches, MB"]


def starts(upstream: str, runs: int) -> str:
    """A line for each run, and the median. *upstream* is a URL."""
    figures = [_run(upstream) for _ in range(runs)]
    middle = [statistics.median(column) for column in zip(*figures, strict=True)]
    rows = [*((str(number), figure) for number, figure in enumerate(figures, start=1)), ("median", middle)]
    shown = table(_HEAD, [[label, *(f"{value:.1f}" for value in figure)] for label, figure in rows])
    return f"{shown}\n{_imports()}"


def _imports() -> str:
    """What a replica's imports cost, by package, each without what it imports in turn."""
    command = [sys.executable, "-X", "importtime", "-c", _SERVED]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr  # noqa: S603 - this interpreter
    costs = Counter[str]()
    for line in said.splitlines()[1:]:
        own, _, name = line.removeprefix("import time:").split("|")
        package = name.strip().partition(".")[0]
        costs["the standard library" if package in sys.stdlib_module_names else package] += int(own)
    rows = [[package, f"{cost / 1000:.1f}"] for package, cost in costs.most_common() if cost >= _LEAST * 1000]
    less = sum(cost for cost in costs.values() if cost < _LEAST * 1000)
    return table(
        ["imports of", "ms"], [*rows, ["others", f"{less / 1000:.1f}"], ["all", f"{costs.total() / 1000:.1f}"]]
    )


def _run(upstream: str) -> tuple[float, float, float, float]:
    port = free_port()
    began = time.perf_counter()
    with running([sys.executable, "-m", "apidex", "serve"], APIDEX_PORT=str(port), APIDEX_UPSTREAM=upstream) as pid:
        wait_for(port, "/a")
        seconds = time.perf_counter() - began
        cpu, memory = cpu_seconds(pid), megabytes(pid)
        _search(port, 1000)
        return seconds * 1000, cpu * 1000, memory, megabytes(pid)


def _search(port: int, times: int) -> None:
    for number in range(times):
        status = answer(port, f"/{'aeiou'[number % 5]}{number or ''}").status
        if status != OK:
            raise RuntimeError(f"a search was answered {status}")
