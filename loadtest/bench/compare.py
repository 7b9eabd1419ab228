"""Apidex beside others that answer the same requests: server CPU for each request, requests a second, p99.

Every contender is one process on one core, driven by wrk from the other. They take turns within each round, so that what else
the machine does falls on all alike, and the median of the rounds is shown.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from loadtest.bench.contenders import APIDEX, FLOODED, LEAN, REPLAY, Bench, contenders, headers_of
from loadtest.bench.process import wait_until_idle
from loadtest.bench.table import table
from loadtest.bench.workload import Kind
from loadtest.bench.wrk import CONNECTIONS, Measured, drive

Figures = dict[tuple[str, str], list[Measured]]
"""By the title of a kind and the name of a contender, one for each round."""

AIMS = {
    "12 hits, never seen": 1.6,
    "12 hits, seen": 1.2,
    "12 hits, 304": 1.1,
    "Zipf mix of all names": 1.25,
}
"""How many times the CPU of a bare uvicorn that says the same bytes a kind may cost."""


_SLOW = {"naive server: upstream": 4}
"""Seconds of a turn, where one second is not enough for a single answer on a busy machine."""


def compare(upstream: Path, *, short: bool) -> str:
    """The tables, in Markdown. *upstream* is a catalogue's file. Raises MissingToolError, or RequestsFailedError.

    *short* is one round of what there are aims for.
    """
    rounds = 1 if short else 3
    figures: Figures = defaultdict(list)
    with contenders(upstream) as (every, bench), TemporaryDirectory() as folder:
        kinds = [kind for kind in every if kind.title in AIMS or not short]
        for _ in range(rounds):
            for kind in kinds:
                _turn(kind, bench, Path(folder), figures)
        names = [name for name in bench if name != FLOODED]
    return _tables(kinds, names, figures)


def _turn(kind: Kind, bench: Bench, folder: Path, figures: Figures) -> None:
    for name, contender in bench.items():
        if name in _left_out(kind):
            continue
        headers = headers_of(kind, contender.port)
        measured = drive(contender, kind.paths, headers, _SLOW.get(name, 1), folder)
        wait_until_idle(contender.pid)  # whose last requests are not the next one's concern
        figures[kind.title, APIDEX if name == FLOODED else name].append(measured)


def _left_out(kind: Kind) -> tuple[str, ...]:
    """A name that may not be known is asked of an Apidex that can keep few; all else of one as it ships."""
    return (APIDEX,) if kind.new else (FLOODED,)


def _tables(kinds: list[Kind], names: list[str], figures: Figures) -> str:
    def middle(kind: Kind, name: str, figure: Callable[[Measured], float]) -> float:
        return median(map(figure, figures[kind.title, name]))

    def cpu(kind: Kind, name: str) -> float:
        return middle(kind, name, lambda measured: measured.cpu)

    def shown(title: str, cell: Callable[[Kind, str], str]) -> str:
        return table([title, *names], [[kind.title, *(cell(kind, name) for name in names)] for kind in kinds])

    parts = [
        shown("server CPU, µs a request", lambda kind, name: f"{cpu(kind, name):,.1f}"),
        shown(f"times {REPLAY}", lambda kind, name: f"{cpu(kind, name) / cpu(kind, REPLAY):,.2f}"),
        shown("requests a second", lambda kind, name: f"{middle(kind, name, lambda measured: measured.rate):,.0f}"),
        shown(
            f"p99, ms, {CONNECTIONS} connections", lambda kind, name: f"{middle(kind, name, lambda it: it.p99):,.2f}"
        ),
        _aims([kind for kind in kinds if kind.title in AIMS], cpu),
    ]
    return "\n".join(parts)


def _aims(kinds: list[Kind], cpu: Callable[[Kind, str], float]) -> str:
    head = ["aim", "at most", f"times {REPLAY}", "", f"times {LEAN}"]
    rows = []
    for kind in kinds:
        ratio, lean = cpu(kind, APIDEX) / cpu(kind, REPLAY), cpu(kind, APIDEX) / cpu(kind, LEAN)
        met = "met" if ratio <= AIMS[kind.title] else "not met"
        rows.append([kind.title, f"{AIMS[kind.title]:g}", f"{ratio:.2f}", met, f"{lean:.2f}"])
    return table(head, rows)
