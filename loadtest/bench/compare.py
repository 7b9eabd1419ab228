"""Apidex beside others that answer the same requests: server CPU for each request, requests a second, p99.

Every contender is one process on one core, driven by wrk from the other. They take turns within each round, so that other load
on the machine affects all alike, and the median of the rounds is shown.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

from loadtest.bench.contenders import APIDEX, LEAN, NAIVE_UPSTREAM, REPLAY, SMALL_CACHE, contenders, headers_of
from loadtest.bench.process import wait_until_idle
from loadtest.bench.table import Cell, formatted
from loadtest.bench.workload import Workload
from loadtest.bench.wrk import CONNECTIONS, Measurement, drive

AIMS = {"12 hits, never seen": 1.6, "12 hits, seen": 1.2, "12 hits, 304": 1.1, "Zipf mix of all names": 1.25}
"""How many times the CPU of a bare uvicorn that sends the same bytes a workload may cost."""

_AIM_COLUMNS = {"aim": "", "at most": "g", f"times {REPLAY}": ".2f", "": "", f"times {LEAN}": ".2f"}

_SECONDS = {NAIVE_UPSTREAM: 4}
"""Seconds of a turn, where one second is not enough for a single response on a busy machine."""

_Median = Callable[[str, str, str], float]
"""The median of a figure of Measurement, by its name, a workload's title and a contender's name."""


def measure(upstream: Path, *, short: bool) -> str:
    """The tables, in Markdown. *upstream* is a catalogue's file. Raises UnsupportedError, or RequestsFailedError.

    *short* is one round of the workloads that have aims.
    """
    measured: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    with contenders(upstream) as (every, servers):
        titles = [workload.title for workload in every if workload.title in AIMS or not short]
        for _ in range(1 if short else 3):
            for workload in (each for each in every if each.title in titles):
                for name, server in servers.items():
                    if name == _left_out(workload):
                        continue
                    headers = headers_of(workload, server.port)
                    figures = drive(server, workload.paths, headers, _SECONDS.get(name, 1))
                    wait_until_idle(server.pid)  # whose last requests do not concern the next one
                    measured[workload.title, APIDEX if name == SMALL_CACHE else name].append(figures)

    def middle(figure: str, title: str, name: str) -> float:
        figures: list[float] = [getattr(each, figure) for each in measured[title, name]]
        return median(figures)

    return _tables(titles, [name for name in servers if name != SMALL_CACHE], middle)


def _left_out(workload: Workload) -> str:
    """An Apidex with a small cache takes the names that may not be known; the one as it ships takes the others."""
    return APIDEX if workload.new else SMALL_CACHE


def _tables(titles: list[str], names: list[str], middle: _Median) -> str:
    def shown(head: str, spec: str, cell: Callable[[str, str], float]) -> str:
        columns = {head: ""} | dict.fromkeys(names, spec)
        return formatted(columns, [[title, *(cell(title, name) for name in names)] for title in titles])

    def ratio(title: str, name: str, to: str = REPLAY) -> float:
        return middle("cpu", title, name) / middle("cpu", title, to)

    aims: list[list[Cell]] = []
    for title, most in ((title, AIMS[title]) for title in titles if title in AIMS):
        times = ratio(title, APIDEX)
        aims.append([title, most, times, "met" if times <= most else "not met", ratio(title, APIDEX, LEAN)])
    return "\n".join(
        [
            shown("server CPU, µs a request", ",.1f", lambda *of: middle("cpu", *of)),
            shown(f"times {REPLAY}", ",.2f", ratio),
            shown("requests a second", ",.0f", lambda *of: middle("rate", *of)),
            shown(f"p99, ms, {CONNECTIONS} connections", ",.2f", lambda *of: middle("p99", *of)),
            formatted(_AIM_COLUMNS, aims),
        ]
    )
