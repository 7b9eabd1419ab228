"""Three times more requests than a replica can answer: how many are still answered, what the others hear, and how soon.

Requests come at their time, whether others were answered or not, as they do from many clients. Each asks for a name never seen
among a hundred thousand entries, which costs enough that a client on one core can ask for three times too much.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import uvloop

from loadtest.bench.contenders import Contender, redis_server
from loadtest.bench.process import megabytes_held, peak_of
from loadtest.bench.scaling import own_words, publish_many, replica_at
from loadtest.bench.table import table
from loadtest.bench.wrk import drive
from loadtest.targets import free_port

_CLIENTS = 1500
"""Connections that requests are spread over.

More than the 1,024 that libuv takes from the kernel at once: while it gets as many as that, it asks for more before it lets
tasks run, forty-eight times over, and what ASGI answers waits for seconds. Searches and probes do not go by ASGI.
"""

_LATE = 1.0
"""Seconds after which an answer is of no use any more."""


@dataclass(slots=True)
class _Heard:
    """What came back. Times in seconds from the moment at which a request was due."""

    statuses: Counter[int] = field(default_factory=Counter)
    times: dict[int, list[float]] = field(default_factory=lambda: {200: [], 503: []})
    unsent: int = 0

    def answer(self, status: int, took: float) -> None:
        self.statuses[status] += 1
        self.times.setdefault(status, []).append(took)

    def p99(self, status: int) -> float:
        """Milliseconds."""
        times = sorted(self.times[status])
        return times[len(times) * 99 // 100] * 1000 if times else 0.0

    def useful(self, seconds: float) -> float:
        """Answers a second that came while they were still of use."""
        return sum(took <= _LATE for took in self.times[200]) / seconds


class _Client(asyncio.Protocol):
    """A connection that asks for one thing at a time, and opens anew when it is closed."""

    def __init__(self, heard: _Heard, free: list["_Client"], reopen: Callable[[], object]) -> None:
        self._heard, self._free, self._reopen = heard, free, reopen
        self._due, self._answer = 0.0, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It may be asked with."""
        self._transport = cast(asyncio.Transport, transport)
        self._free.append(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """The replica has retired it, or it was silent for too long: another takes its place."""
        if self in self._free:
            self._free.remove(self)
        self._reopen()

    def ask(self, path: str, due: float) -> None:
        """Send a request that was due at that moment."""
        self._due, self._answer = due, b""
        if self._transport is not None:
            self._transport.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._heard.answer(int(head[9:12]), time.perf_counter() - self._due)
            if b"connection: close" not in head:
                self._free.append(self)


async def _offer(port: int, paths: Sequence[str], rate: float, seconds: float) -> tuple[_Heard, _Heard]:
    """Ask *rate* times a second, and a probe ten times a second besides; what was heard of both."""
    loop, heard, probed = asyncio.get_running_loop(), _Heard(), _Heard()
    free: list[_Client] = []
    probes: list[_Client] = []
    opening: set[asyncio.Task[None]] = set()

    async def connect(heard: _Heard, pool: list[_Client]) -> None:
        def reopen() -> None:
            opening.add(loop.create_task(connect(heard, pool)))

        await loop.create_connection(lambda: _Client(heard, pool, reopen), "127.0.0.1", port)

    for _ in range(_CLIENTS):
        await connect(heard, free)
    await connect(probed, probes)
    names, began, sent, sent_probes = cycle(paths), time.perf_counter(), 0, 0
    while (now := time.perf_counter() - began) < seconds:
        for number in range(sent, int(now * rate)):
            if free:
                free.pop().ask(next(names), began + number / rate)
            else:
                heard.unsent += 1
        sent = int(now * rate)
        if probes and now * 10 > sent_probes:
            probes.pop().ask("/-/readyz", time.perf_counter())
            sent_probes = int(now * 10) + 1
        await asyncio.sleep(0.002)
    await asyncio.sleep(_LATE)
    return heard, probed


def overload(*, short: bool) -> str:
    """The table. Raises MissingToolError."""
    count, seconds = (1000, 1) if short else (100_000, 8)
    with TemporaryDirectory() as name, ExitStack() as stack:
        url, port = stack.enter_context(redis_server()), free_port()
        digest = publish_many(url, count)
        replica = Contender(stack.enter_context(replica_at(url, port, digest)), port)
        paths = own_words(count)
        peak = drive(replica, paths, {}, max(2, seconds // 2), Path(name), may_fail=True)
        memory = megabytes_held(replica.pid)
        rows = []
        for times in (0.5, 1, 2, 3):
            with peak_of(replica.pid) as most:
                heard, probed = uvloop.run(_offer(port, paths, peak.rate * times, seconds))
            rows.append(_row(times, peak.rate, heard, probed, seconds, most() - memory))
    head = ["offered, × capacity", "useful, a second", "of capacity", "p99 of those, ms", "shed, a second"]
    head += ["p99 of those, ms", "not sent, a second", "slowest probe, ms", "memory more, MB"]
    return f"Capacity: {peak.rate:,.0f} requests a second, {peak.cpu:,.0f} µs CPU each.\n\n" + table(head, rows)


def _row(times: float, capacity: float, heard: _Heard, probed: _Heard, seconds: float, memory: float) -> list[str]:
    useful = heard.useful(seconds)
    return [
        *(f"{times:g}", f"{useful:,.0f}", f"{useful / capacity:.0%}", f"{heard.p99(200):.0f}"),
        *(f"{heard.statuses[503] / seconds:,.0f}", f"{heard.p99(503):.0f}", f"{heard.unsent / seconds:,.0f}"),
        *(f"{max(probed.times[200], default=0) * 1000:.0f}", f"{max(0.0, memory):.0f}"),
    ]
