"""Up to three times more requests than a replica can answer: how many are still answered, how the others are shed, and how soon.

Requests are sent when they are due, whether others were answered or not, as they are by many clients. Each searches for a name
never seen among a hundred thousand entries, which costs enough that a client on one core can send three times too many.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import uvloop

from loadtest.bench import replica
from loadtest.bench.process import memory_mb, peak_memory_mb
from loadtest.bench.table import formatted
from loadtest.bench.wrk import drive

_CONNECTIONS = 1500
"""Connections that requests are spread over.

More than the 1,024 that libuv takes from the kernel at once: while it gets as many as that, it asks for more before it lets
tasks run, forty-eight times over, and what ASGI answers waits for seconds. Searches and probes do not go by ASGI.
"""

_USEFUL_SECONDS = 1.0
"""A later response is of no use."""

_COLUMNS = {
    "offered, × capacity": "g",
    "useful, a second": ",.0f",
    "of capacity": ".0%",
    "useful p99, ms": ".0f",
    "shed, a second": ",.0f",
    "shed p99, ms": ".0f",
    "not sent, a second": ",.0f",
    "slowest probe, ms": ".0f",
    "memory more, MB": ".0f",
}


@dataclass(slots=True)
class Sent:
    """How many requests were *sent*, and seconds from the moment at which each was due to its response, by status."""

    by_status: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    sent: int = 0
    unsent: int = 0

    def p99_ms(self, status: int) -> float:
        """p99 of the latencies."""
        times = sorted(self.by_status[status])
        return times[len(times) * 99 // 100] * 1000 if times else 0.0

    def count(self, *statuses: int) -> int:
        """Responses with one of *statuses*."""
        return sum(len(self.by_status[status]) for status in statuses)

    def slowest_ms(self) -> float:
        """The longest latency of a 200."""
        return max(self.by_status[200], default=0.0) * 1000

    def useful(self) -> int:
        """Responses that came in time."""
        return sum(took <= _USEFUL_SECONDS for took in self.by_status[200])


class _Connection(asyncio.Protocol):
    """Sends one request at a time; reopened when it is closed."""

    def __init__(self, latencies: Sent, idle: list["_Connection"], reopen: Callable[[], object]) -> None:
        self._latencies, self._idle, self._reopen = latencies, idle, reopen
        self._due, self._response = 0.0, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Let another take its place: the replica has retired it, or it was idle for too long."""
        if self in self._idle:
            self._idle.remove(self)
        self._reopen()

    @property
    def is_closing(self) -> bool:
        """Whether no more requests can be sent."""
        return self._transport is None or self._transport.is_closing()

    def request(self, path: str, due: float) -> None:
        """Send a request that was due at that moment."""
        self._due, self._response = due, b""
        if self._transport is not None:
            self._transport.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Record the latency once the response is whole."""
        self._response += data
        head, end, body = self._response.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._latencies.by_status[int(head[9:12])].append(time.perf_counter() - self._due)
            if b"connection: close" not in head:
                self._idle.append(self)


def _open_one(idle: list[_Connection]) -> _Connection | None:
    """Take a connection that will not be closed soon."""
    while idle:
        if not (connection := idle.pop()).is_closing:
            return connection
    return None


async def send(port: int, paths: Sequence[str], rate: float, seconds: float) -> tuple[Sent, Sent]:
    """Send *rate* requests a second, and ten probes a second on a connection of their own; the latencies of both."""
    loop, requests, probes = asyncio.get_running_loop(), Sent(), Sent()
    idle: list[_Connection] = []
    idle_probe: list[_Connection] = []
    opening: set[asyncio.Task[None]] = set()

    async def connect(latencies: Sent, pool: list[_Connection]) -> None:
        def reopen() -> None:
            opening.add(loop.create_task(connect(latencies, pool)))

        await loop.create_connection(lambda: _Connection(latencies, pool, reopen), "127.0.0.1", port)

    for _ in range(_CONNECTIONS):
        await connect(requests, idle)
    await connect(probes, idle_probe)
    names, began, sent, sent_probes = cycle(paths), time.perf_counter(), 0, 0
    while (now := time.perf_counter() - began) < seconds:
        for number in range(sent, int(now * rate)):
            if connection := _open_one(idle):
                connection.request(next(names), began + number / rate)
                requests.sent += 1
            else:
                requests.unsent += 1
        sent = int(now * rate)
        if now * 10 > sent_probes and (connection := _open_one(idle_probe)):
            connection.request("/-/readyz", time.perf_counter())
            sent_probes = int(now * 10) + 1
        await asyncio.sleep(0.002)
    await asyncio.sleep(_USEFUL_SECONDS)
    return requests, probes


def measure(*, short: bool) -> str:
    """The table. Raises UnsupportedError."""
    count, seconds = (1000, 1) if short else (100_000, 8)
    with replica.replicas(replica.prepared(count)) as (server,):
        paths = replica.rare_paths(count)
        capacity = drive(server, paths, {}, max(2, seconds // 2), may_fail=True)
        memory = memory_mb(server.pid)
        rows = []
        for times in (0.5, 1, 2, 3):
            with peak_memory_mb(server.pid) as peak:
                requests, probes = uvloop.run(send(server.port, paths, capacity.rate * times, seconds))
            rows.append((times, *_figures(requests, probes, capacity.rate, seconds), max(0.0, peak() - memory)))
    return f"Capacity: {capacity.rate:,.0f} requests a second, {capacity.cpu:,.0f} µs CPU each.\n\n" + formatted(
        _COLUMNS, rows
    )


def _figures(requests: Sent, probes: Sent, capacity: float, seconds: float) -> tuple[float, ...]:
    useful = requests.useful() / seconds
    return (
        *(useful, useful / capacity, requests.p99_ms(200), requests.count(503) / seconds, requests.p99_ms(503)),
        *(requests.unsent / seconds, probes.slowest_ms()),
    )
