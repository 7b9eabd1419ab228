"""What a catalogue costs by its size, from a thousand entries to a million: CPU for each search, memory, Redis, time to adopt.

The catalogues are those of `synthetic_catalogue`. They are put into Redis as a replica would, and read by replicas on one core.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from apidex.indexing import builder
from loadtest.bench import replica
from loadtest.bench.latency_probe import Latencies, probe
from loadtest.bench.plot import draw
from loadtest.bench.process import ServerProcess, discard, in_background, memory_mb, peak_memory_mb
from loadtest.bench.table import formatted
from loadtest.bench.wrk import drive

SIZES = (1000, 10_000, 100_000, 1_000_000)

_SECONDS = 3
"""How long requests are sent while something else goes on."""

_COLUMNS = {
    "entries": ",",
    "JSON, MB": ".1f",
    "in Redis, MB": ".2f",
    "built in, s": ".2f",
    "search, µs CPU": ",.0f",
    "command to answer, s": ".2f",
    "adopted after, s": ".2f",
    "under requests, s": ".2f",
    "memory, MB": ".0f",
    "memory × JSON": ".2f",
    "peak while adopting, MB": ".0f",
    "peak × JSON": ".2f",
    "p99, ms": ".2f",
    "while adopting, ms": ".2f",
    "longest, ms": ".1f",
    "widest answer, s": ".2f",
    "others beside it, p99 ms": ".2f",
    "memory more, MB": ".0f",
}
"""The figures of a size, and how the table formats each."""

_CURVES = ("search, µs CPU", "built in, s", "command to answer, s", "adopted after, s", "memory, MB", "in Redis, MB")
"""The figures in the plot."""

Figures = tuple[float, ...]
"""A value for each of _COLUMNS."""


def measure(sizes: Sequence[int], plot: Path | None) -> str:
    """The table of all sizes, the smallest first; the curves are drawn into *plot*. Raises UnsupportedError."""
    figures = [_measured(count) for count in sizes]
    if plot:
        columns = dict(zip(_COLUMNS, zip(*figures, strict=True), strict=True))
        draw(plot, columns["entries"], _CURVES, {"Apidex": [columns[title] for title in _CURVES]})
    return formatted(_COLUMNS, figures)


def _measured(count: int) -> Figures:
    with ExitStack() as stack:
        url = stack.enter_context(replica.redis_server())
        first, second = replica.prepared(count), replica.prepared(count, changed=True)
        json, paths, build = first.size / 1e6, replica.rare_paths(count), _build_seconds(first)
        replica.publish(url, first)
        began = time.perf_counter()
        server = stack.enter_context(replica.replica(url))
        start = replica.seconds_until_adopted(server.port, first.digest, began)
        search = drive(server, paths, {}, 2)
        memory = memory_mb(server.pid)
        before = probe(server.port, paths[:20], _SECONDS)
        busy, meanwhile, peak = _adopt_under_requests(server, paths[:20], url, second)
        replica.publish(url, first)
        adopted = replica.seconds_until_adopted(server.port, first.digest, time.perf_counter())
        return (
            *(count, json, len(first.payload) / 1e6, build, search.cpu, start, adopted, busy),
            *(memory, memory / json, peak, peak / json),
            *(1000 * before.p99(), 1000 * meanwhile.p99(), 1000 * meanwhile.longest()),
            *_widest_answer(server, paths[:20]),
        )


def _build_seconds(catalogue: replica.Prepared) -> float:
    """Seconds from the payload to what a replica answers from."""
    began = time.perf_counter()
    builder.from_payload(catalogue.payload, replica.LIMIT_BYTES)
    return time.perf_counter() - began


def _adopt_under_requests(
    server: ServerProcess, paths: list[str], url: str, catalogue: replica.Prepared
) -> tuple[float, Latencies, float]:
    """Seconds until a catalogue published now is adopted, the latency of the first requests meanwhile, and peak memory."""
    took: list[float] = []
    replica.publish(url, catalogue)
    published = time.perf_counter()

    def wait() -> None:
        took.append(replica.seconds_until_adopted(server.port, catalogue.digest, published))

    with peak_memory_mb(server.pid) as peak, in_background(wait) as waiting:
        latency = probe(server.port, paths, _SECONDS)
        while waiting.is_alive():
            probe(server.port, paths, 1)
    return took[0], latency, peak()


def _widest_answer(server: ServerProcess, paths: list[str]) -> tuple[float, float, float]:
    """Search for the letter that most names have: seconds that it takes, p99 of other requests meanwhile, memory more."""
    took, before = list[float](), memory_mb(server.pid)

    def read() -> None:
        began = time.perf_counter()
        discard(server.port, "/a")
        took.append(time.perf_counter() - began)

    with peak_memory_mb(server.pid) as peak:
        with in_background(read):
            latency = probe(server.port, paths, _SECONDS)
        return took[0], 1000 * latency.p99(), max(0.0, peak() - before)
