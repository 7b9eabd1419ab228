"""How long it takes from the command to the first answer, and what memory the process then holds."""

import statistics
import sys
import time
from http.client import OK

from loadtest.bench.process import answer, cpu_seconds, free_port, megabytes, running, wait_for
from loadtest.bench.table import table

_HEAD = ["run", "first answer, ms", "CPU, ms", "memory, MB", "after 1,000 searches, MB"]


def starts(upstream: str, runs: int) -> str:
    """A line for each run, and the median. *upstream* is a URL."""
    figures = [_run(upstream) for _ in range(runs)]
    middle = [statistics.median(column) for column in zip(*figures, strict=True)]
    rows = [*((str(number), figure) for number, figure in enumerate(figures, start=1)), ("median", middle)]
    return table(_HEAD, [[label, *(f"{value:.1f}" for value in figure)] for label, figure in rows])


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
