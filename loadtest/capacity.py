"""`python -m loadtest capacity`: how many replicas, of which size, a load and a catalogue need, fitted to measurements.

Each figure is a sum of terms that cannot be negative: a constant, and a part for each entry or replica. What is measured is CPU
time and memory of processes that are pinned to one core, so that a busy machine changes it little.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from math import ceil, inf
from operator import attrgetter
from pathlib import Path
from statistics import fmean, median
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from redis import Redis
from scipy.optimize import nnls

from apidex.terminal import counted
from loadtest.bench import fleet, pods, replica
from loadtest.bench.process import ServerProcess, memory_mb, on_the_client_core
from loadtest.bench.table import Cell, formatted
from loadtest.bench.wrk import drive
from loadtest.charts import Panel, panels
from loadtest.system import UnsupportedError, tool

_SIZES, _REPLICAS = (1_000, 3_000, 10_000, 30_000, 100_000), (2, 4)
"""Entries that one replica is measured with, and how many replicas are measured together, with the middle one of these sizes."""

_MIDDLE, _LARGEST = _SIZES[len(_SIZES) // 2], 1_000_000

_DRIVEN = 1
"""Seconds for which each replica gets as many requests as it answers."""

_ADOPTIONS = 3
"""How many catalogues are adopted, one after the other, for each measurement."""

PLANNED = 0.5
"""The part of the requests that a replica can answer which it is planned for: the rest is for bursts and for new catalogues."""

MEMORY_MARGIN, REDIS_COPIES = 1.25, 2
"""A limit of memory as a multiple of the highest use; and how often Redis holds a catalogue while another one is published."""


class CapacityPoint(msgspec.Struct, frozen=True):
    """What was measured with so many *entries* and *replicas*, all replicas together on so many *cores*.

    CPU of a request in microseconds. In MB, memory of each replica at rest and while it adopts a catalogue, and of Redis for one.
    Connections of Redis. Seconds from the publication of a catalogue until all replicas answer from it: the median.
    """

    entries: int
    replicas: int
    cpu: float
    memory: float
    peak: float
    redis: float
    connections: float
    activation: float
    cores: int = 1


class Model(NamedTuple):
    """A figure, which is a constant and a part that grows with *term*, the number of entries or replicas of a point.

    *over* says which of the two these are. Tables show how much the figure grows for *unit* of them.
    """

    title: str
    over: Literal["entries", "replicas"]
    term: Callable[[CapacityPoint], float]
    unit: int = 1000


def _entries_on_a_core(point: CapacityPoint) -> float:
    """Replicas that share a core prepare a catalogue one after the other."""
    return point.entries * max(1.0, point.replicas / point.cores)


MODELS = {
    "cpu": Model("CPU of a search, µs", "entries", attrgetter("entries")),
    "memory": Model("memory of a replica, MB", "entries", attrgetter("entries")),
    "peak": Model("at most while adopting, MB", "entries", attrgetter("entries")),
    "redis": Model("in Redis, MB", "entries", attrgetter("entries")),
    "connections": Model("connections of Redis", "replicas", attrgetter("replicas"), 1),
    "activation": Model("all replicas changed after, s", "entries", _entries_on_a_core),
}


class Fit(NamedTuple):
    """A model with numbers. *error* is that of the worst prediction of a point between others from them, relative to the point.

    It is infinite where no point is between others.
    """

    model: Model
    constant: float
    slope: float
    error: float

    def at(self, point: CapacityPoint) -> float:
        """The prediction for the entries, replicas and cores of *point*."""
        return self.constant + self.slope * self.model.term(point)


class Plan(NamedTuple):
    """What a load and a catalogue need, with a core for each replica."""

    replicas: int
    each: float
    memory_limit: int
    redis: float
    connections: float
    activation: float


def fit(name: str, points: Sequence[CapacityPoint]) -> Fit:
    """Fit a figure of `MODELS` to *points*, by the least squares of the relative differences."""
    terms = [MODELS[name].term(point) for point in points]
    inner = [place for place, term in enumerate(terms) if min(terms) < term < max(terms)]
    return _fitted(name, points)._replace(error=max((_error(name, points, place) for place in inner), default=inf))


def _error(name: str, points: Sequence[CapacityPoint], place: int) -> float:
    """The relative error of the prediction of one point from the others."""
    others = [*points[:place], *points[place + 1 :]]
    return _difference(_fitted(name, others).at(points[place]), getattr(points[place], name))


def _fitted(name: str, points: Sequence[CapacityPoint]) -> Fit:
    model, values = MODELS[name], np.array([getattr(point, name) for point in points])
    rows = np.array([(1.0, model.term(point)) for point in points]) / values[:, None]
    scale = rows.max(axis=0)  # entries and constants differ by a factor of a million
    constant, slope = nnls(rows / scale, np.ones(len(points)))[0] / scale
    return Fit(model, float(constant), float(slope), inf)


def _difference(predicted: float, measured: float) -> float:
    return abs(predicted - measured) / measured


def plan(fits: Mapping[str, Fit], rate: float, entries: int) -> Plan:
    """What *rate* requests a second and *entries* need. One replica is to spare, since one may be replaced or lost."""
    one = _wanted(entries, 1)
    each = PLANNED / (fits["cpu"].at(one) * 1e-6)
    replicas = ceil(rate / each) + 1
    all_of_them = _wanted(entries, replicas)
    return Plan(
        replicas,
        each,
        32 * ceil(fits["peak"].at(one) * MEMORY_MARGIN * 1e6 / 2**20 / 32),
        fits["redis"].at(one) * REDIS_COPIES,
        fits["connections"].at(all_of_them),
        fits["activation"].at(all_of_them),
    )


def _wanted(entries: int, replicas: int) -> CapacityPoint:
    """A point that is not measured, with a core for each replica."""
    return CapacityPoint(entries, replicas, 0, 0, 0, 0, 0, 0, cores=replicas)


Fleet = Callable[[int], AbstractContextManager[tuple[str, list[ServerProcess]]]]
"""Starts so many replicas, and returns the URL of their Redis with them."""


@contextmanager
def processes(number: int) -> Iterator[tuple[str, list[ServerProcess]]]:
    """So many replicas on one core."""
    with replica.redis_server() as url, ExitStack() as stack:
        yield url, [stack.enter_context(replica.replica(url)) for _ in range(number)]


def measured(entries: int, replicas: int, start: Fleet = processes, cores: int = 1) -> CapacityPoint:
    """Measure so many replicas, which share so many *cores*. Raises UnsupportedError without redis-server, taskset or wrk.

    To measure pods takes root and nsenter.
    """
    catalogues = replica.prepared(entries), replica.prepared(entries, changed=True)
    with start(replicas) as (url, servers), Redis.from_url(url) as redis:
        replica.publish(url, catalogues[0])
        for server in servers:
            replica.seconds_until_adopted(server.port, catalogues[0].digest, time.perf_counter())
        paths = replica.rare_paths(entries)
        # one replica after the other, as if each had a core of its own
        cpu = fmean(drive(server, paths, {}, _DRIVEN).cpu for server in servers)
        memory = max(memory_mb(server.pid) for server in servers)
        adoptions = [_adoption(url, redis, servers, catalogues[number % 2]) for number in range(1, _ADOPTIONS + 1)]
        return CapacityPoint(
            entries,
            replicas,
            cpu,
            memory,
            max(peak for _, peak in adoptions),
            sum(redis.memory_usage(key, samples=0) or 0 for key in redis.scan_iter()) / 1e6,
            redis.info("clients")["connected_clients"] - 1,  # this one
            median(seconds for seconds, _ in adoptions),
            cores,
        )


def _adoption(
    url: str, redis: "Redis", servers: list[ServerProcess], catalogue: replica.Prepared
) -> tuple[float, float]:
    """Seconds until all replicas have adopted *catalogue*, published now, and the highest memory of one meanwhile."""
    began = time.perf_counter()
    replica.publish(url, catalogue)
    seconds, _, peak, *_ = fleet.adoption(catalogue, servers, began, redis, 0)
    return seconds, peak


def sizes_for(entries: int) -> list[int]:
    """The sizes to measure, with *entries* among them where they are more than the others, and can be made in a minute."""
    return [*_SIZES, *[entries] * (_SIZES[-1] < entries <= _LARGEST)]


def measure(entries: int, tell: Callable[[str], None] = print) -> list[CapacityPoint]:
    """One replica with each size that *entries* need, and several with the middle one. Raises UnsupportedError."""
    tell(f"Measuring takes a minute or two, on one core. Load of the machine: {os.getloadavg()[0]:.1f}.")
    tool("wrk")  # used last
    wanted = [*((size, 1) for size in sizes_for(entries)), *((_MIDDLE, count) for count in _REPLICAS)]
    points = []
    with on_the_client_core():
        for size, replicas in wanted:
            tell(f"{size:,} entries, {counted(replicas, 'replica')}")
            points.append(measured(size, replicas))
    return points


def checked(replicas: int, *, in_pods: bool = False) -> CapacityPoint:
    """The middle size with so many replicas, measured to be compared with the prediction. Raises UnsupportedError."""
    if in_pods:
        return measured(_MIDDLE, replicas, pods.replicas, os.cpu_count() or 1)
    with on_the_client_core():
        return measured(_MIDDLE, replicas)


def encoded(points: Sequence[CapacityPoint]) -> bytes:
    """*points* as `read` reads them."""
    return msgspec.json.format(msgspec.json.encode(points), indent=1)


def read(file: Path) -> list[CapacityPoint]:
    """The points of an earlier measurement. Raises UnsupportedError."""
    try:
        points = msgspec.json.decode(file.read_bytes(), type=list[CapacityPoint])
    except (OSError, msgspec.MsgspecError) as error:
        raise UnsupportedError(f"{file} holds no measurement: {error}") from None
    figures = [getattr(point, name) for point in points for name in CapacityPoint.__struct_fields__]
    if len(points) < 2 or min(figures) <= 0:
        raise UnsupportedError(f"{file} holds no measurement: two points at least, with figures above 0, are needed")
    return points


def measured_table(points: Sequence[CapacityPoint]) -> str:
    """What was measured, a row for each point."""
    columns = {"entries": ",", "replicas": "d"} | {model.title: ",.2f" for model in MODELS.values()}
    return formatted(columns, [(p.entries, p.replicas, *(getattr(p, name) for name in MODELS)) for p in points])


def model_table(fits: Mapping[str, Fit], check: CapacityPoint | None) -> str:
    """The fitted models, and beside them what *check* measured."""
    columns = {"figure": "", "constant": ",.3g", "and for each": "", "more": ",.3g", "error": ".0%"}
    units = {"entries": "1,000 entries", "replicas": "replica"}
    rows: list[list[Cell]] = [
        [fit.model.title, fit.constant, units[fit.model.over], fit.slope * fit.model.unit, fit.error]
        for fit in fits.values()
    ]
    if check:
        columns |= {
            f"predicted for {counted(check.replicas, 'replica')}": ",.4g",
            "measured": ",.4g",
            "difference": ".0%",
        }
        for row, (name, fit) in zip(rows, fits.items(), strict=True):
            predicted, value = fit.at(check), getattr(check, name)
            row += [predicted, value, _difference(predicted, value)]
    return formatted(columns, rows)


def sentences(
    fits: Mapping[str, Fit], points: Sequence[CapacityPoint], rate: float, entries: int, check: CapacityPoint | None
) -> Iterator[str]:
    """What the load and the catalogue need, and what is known of the error."""
    found, sizes = plan(fits, rate, entries), [point.entries for point in points]
    yield (
        f"{rate:,.0f} requests a second among {entries:,} entries need {counted(found.replicas, 'replica')} with a core each, "
        f"one of them to spare: each is planned for {found.each:,.0f} a second, {PLANNED:.0%} of what it can answer. "
        f"Limit of memory: {found.memory_limit} Mi. Redis: {found.redis:,.1f} MB and {found.connections:.0f} connections. "
        f"All replicas answer from a new catalogue {found.activation:.1f} s after it was published."
    )
    yield (
        "The requests are searches on kept-alive connections, for words that one or two entries have and no cache holds. Wide "
        "answers, new connections and the balancer cost more."
    )
    if not min(sizes) <= entries <= max(sizes):
        yield f"{entries:,} entries are outside of what was measured: {min(sizes):,} to {max(sizes):,}."
    worst = max(fits.values(), key=lambda each: each.error)
    yield f"Error: at most {worst.error:.0%}, for {worst.model.title}, where a point between others is predicted from them."
    if check:
        differences = {name: _difference(fit.at(check), getattr(check, name)) for name, fit in fits.items()}
        name = max(differences, key=differences.__getitem__)
        where = f"{counted(check.replicas, 'replica')} has been checked, on {counted(check.cores, 'core')}"
        most = f"{differences[name]:.0%} at most, for {MODELS[name].title}"
        yield f"The prediction for {where}: it differs from what was measured by {most}."
    else:
        yield "The prediction for eight replicas has not been checked here: `--check 8` does it."


def drawing(fits: Mapping[str, Fit], points: Sequence[CapacityPoint], rate: float, entries: int) -> bytes:
    """An SVG: each figure as measured and predicted, and how many replicas a load needs."""
    rates = np.linspace(rate / 50, 2 * rate, 100).tolist()
    needed = [plan(fits, each, entries).replicas for each in rates]
    title = f"replicas for {entries:,} entries"
    answer = Panel(title, "requests a second", ([], []), (rates, needed), "linear")
    return panels([*(_panel(name, fit, points, entries) for name, fit in fits.items()), answer])


def _panel(name: str, fit: Fit, points: Sequence[CapacityPoint], entries: int) -> Panel:
    over = fit.model.over
    if over == "replicas":
        shown, line = points, [_wanted(entries, count) for count in range(1, 13)]
    else:
        shown = [point for point in points if point.replicas == 1]
        sizes = [entries, *(point.entries for point in points)]
        line = [_wanted(round(size), 1) for size in np.geomspace(min(sizes), max(sizes), 60)]
    return Panel(
        fit.model.title,
        over,
        ([getattr(point, over) for point in shown], [getattr(point, name) for point in shown]),
        ([getattr(point, over) for point in line], [fit.at(point) for point in line]),
        "linear" if over == "replicas" else "log",
    )
