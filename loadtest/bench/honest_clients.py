"""Clients that send requests at a fixed rate on kept-alive connections: how many requests fail, and how long the others take.

    python -m loadtest.bench.honest_clients PORT SECONDS INTERVAL HEADERS KIND < the paths of each client on a line

A client sends a request when it is due, or after the response before it; its latency counts from when it was due. A typist
does as the page: of the requests that became due meanwhile, it sends the newest one.
"""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Sequence
from itertools import cycle
from statistics import quantiles
from typing import Literal

import msgspec
import uvloop

from loadtest.bench.process import CLIENT_CORE, pinned

CLIENTS = 16

_INTERVAL = 0.1
"""Seconds between two requests of a client."""

_PATIENCE = 5.0
"""Seconds after which a request has failed."""


PAGE_PATIENCE = 2.0
"""Seconds from a newer key until the page aborts the request under way (PATIENCE in page.js)."""


class Honest(msgspec.Struct):
    """How many requests were sent, those that *failed* by reason, and the p99 and the longest latency in milliseconds."""

    sent: int
    failed: dict[str, int]
    p99: float
    longest: float


def ask(
    port: int,
    seconds: float,
    paths: Sequence[Sequence[str]],
    *,
    interval: float = _INTERVAL,
    headers: str = "",
    kind: Literal["client", "typist"] = "client",
) -> Honest:
    """Run a client for each of *paths*, which requests them in turn, one in each *interval*, in a separate process."""
    arguments = [str(port), str(seconds), str(interval), headers, kind]
    command = pinned(CLIENT_CORE, [sys.executable, "-m", __name__, *arguments])
    text = "\n".join(map(" ".join, paths))
    done = subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=Honest)


class _Client:
    """One client, with its latencies in seconds, and the reasons of what failed."""

    def __init__(self, port: int, interval: float, headers: str) -> None:
        self._port, self._interval, self._headers = port, interval, headers
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.sent = 0
        self.latencies: list[float] = []
        self.failed: list[str] = []

    async def run(self, first: float, until: float, paths: Sequence[str]) -> None:
        """Send a request every interval."""
        loop, due = asyncio.get_running_loop(), first
        for path in cycle(paths):
            if due > until:
                break
            await asyncio.sleep(max(0, due - loop.time()))
            if await self._succeeds(path, loop.time() + _PATIENCE):
                self.latencies.append(loop.time() - due)
            due += self._interval
        self._close()

    async def _succeeds(self, path: str, deadline: float) -> bool:
        """Send a request, and note whether it fails. Returns whether it succeeded."""
        self.sent += 1
        try:
            async with asyncio.timeout_at(deadline):
                status = await self._request(path)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failed.append(type(error).__name__)
            self._close()
            return False
        if status != b"200":
            self.failed.append(status.decode())
        return status == b"200"

    async def _request(self, path: str) -> bytes:
        """The status of the response, once all of it was read."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self._close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n{self._headers}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        if b"connection: close" in head:
            self._close()
        return head[9:12]

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class _Typist(_Client):
    """Somebody at the page, who types a key every interval. The latency of a key ends with a response to it or to a later one.

    That of a key without such a response is as long as was waited for one.
    """

    async def run(self, first: float, until: float, paths: Sequence[str]) -> None:
        """Send the newest request when the one before it is answered, or aborted because a key was typed meanwhile."""
        loop, answered, newest = asyncio.get_running_loop(), 0, 0
        last = int((until - first) / self._interval)

        def due(key: int) -> float:
            return first + key * self._interval

        while newest <= last:
            await asyncio.sleep(max(0, due(newest) - loop.time()))
            newest = min(last, max(newest, int((loop.time() - first) / self._interval)))
            deadline = loop.time() + _PATIENCE if newest == last else due(newest + 1) + PAGE_PATIENCE
            if await self._succeeds(paths[newest % len(paths)], deadline):
                self.latencies += [loop.time() - due(key) for key in range(answered, newest + 1)]
                answered = newest + 1
            newest += 1
        self.latencies += [loop.time() - due(key) for key in range(answered, newest)]
        self._close()


_KINDS = {"client": _Client, "typist": _Typist}


async def _ask(port: int, seconds: float, interval: float, headers: str, kind: str, paths: list[list[str]]) -> Honest:
    clients, now = [_KINDS[kind](port, interval, headers) for _ in paths], asyncio.get_running_loop().time()
    firsts = (now + number * interval / len(paths) for number in range(len(paths)))
    await asyncio.gather(
        *(client.run(first, now + seconds, each) for client, first, each in zip(clients, firsts, paths, strict=True))
    )
    latencies = [took * 1000 for client in clients for took in client.latencies] or [0.0, 0.0]
    failed = [reason for client in clients for reason in client.failed]
    reasons = {reason: failed.count(reason) for reason in set(failed)}
    sent = sum(client.sent for client in clients)
    return Honest(sent, reasons, quantiles(latencies, n=100)[-1], max(latencies))


def main() -> None:
    """Print the figures as JSON."""
    port, seconds, interval, headers, kind = sys.argv[1:]
    paths = [line.split() for line in sys.stdin]
    gc.disable()
    found = uvloop.run(_ask(int(port), float(seconds), float(interval), headers, kind, paths))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
