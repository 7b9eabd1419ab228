"""Up to three times more requests than two replicas can answer, through HAProxy: how many are answered in time, and how
many reach the replicas for each request of a client.

A balancer that repeats shed requests cancels the effect of load shedding. The requests are those of `overload`, and searches by
ASGI. The catalogue is so large that a client on one core with HAProxy can send three times too many.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import uvloop

from loadtest import haproxy
from loadtest.bench import replica
from loadtest.bench.overload import send
from loadtest.bench.process import CLIENT_CORE, ServerProcess, get
from loadtest.bench.table import Cell, formatted
from loadtest.bench.wrk import drive

REPLICAS = 2

_COLUMNS = {
    "requests": "",
    "offered, × capacity": "g",
    "useful, a second": ",.0f",
    "of capacity": ".0%",
    "useful p99, ms": ".0f",
    "shed, a second": ",.0f",
    "502, 504, a second": ",.0f",
    "not sent, a second": ",.0f",
    "at replicas, × requests": ".3f",
    "slowest probe, ms": ".0f",
}

_COUNTS = re.compile(r'^apidex_requests_total\{route="(?!/-/)[^"]*",status="\d+"\} (\S+)$', re.MULTILINE)


class _Front(NamedTuple):
    """HAProxy's port, and the replicas behind it."""

    port: int
    replicas: Sequence[ServerProcess]

    def received(self) -> int:
        """The requests that the replicas have counted, without those for operations."""
        texts = [get(server.port, "/-/metrics").body.decode() for server in self.replicas]
        return sum(int(float(count)) for text in texts for count in _COUNTS.findall(text))


def measure(*, short: bool) -> str:
    """The table. Raises UnsupportedError."""
    count, seconds = (1000, 1) if short else (1_000_000, 8)
    names = replica.rare_paths(count)
    with (
        TemporaryDirectory() as name,
        replica.replicas(replica.prepared(count), REPLICAS) as replicas,
        haproxy.haproxy(Path(name), *(server.port for server in replicas), core=CLIENT_CORE) as port,
    ):
        front = _Front(port, replicas)
        rows: list[tuple[Cell, ...]] = []
        capacities = []
        for title, paths in (
            ("GET /{name}", names),
            ("/v1/search", [f"/v1/search?q={path[1:]}" for path in reversed(names)]),
        ):
            server = ServerProcess(replicas[0].pid, port)
            capacity = drive(server, paths, {}, max(2, seconds // 2), may_fail=True).rate
            capacities.append(f"{title}: {capacity:,.0f} requests a second.")
            rows += [(title, times, *_figures(front, paths, capacity, times, seconds)) for times in (0.5, 1, 2, 3)]
    text = f"{REPLICAS} replicas on one core, {count:,} entries, {haproxy.version()}. Capacity: {' '.join(capacities)}"
    return f"{text}\n\n{formatted(_COLUMNS, rows)}"


def _figures(front: _Front, paths: Sequence[str], capacity: float, times: float, seconds: float) -> tuple[float, ...]:
    before = front.received()
    requests, probes = uvloop.run(send(front.port, paths, capacity * times, seconds))
    received = front.received() - before
    useful = requests.useful() / seconds
    return (
        *(useful, useful / capacity, requests.p99_ms(200)),
        *(requests.count(503) / seconds, requests.count(502, 504) / seconds, requests.unsent / seconds),
        *(received / max(1, requests.sent), probes.slowest_ms()),
    )
