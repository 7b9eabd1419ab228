"""One connection that sends requests until its input ends: when each was sent, and how long its response took.

    python -m loadtest.bench.latency_probe PORT INTERVAL PATH…

It is a separate process, so that the measuring process does not delay it. Moments are those of CLOCK_MONOTONIC, which all
processes share. wrk counts a long wait once for each request that it could have sent meanwhile; here, a request is a request.
"""

import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from math import inf
from select import select
from statistics import quantiles

import msgspec

from loadtest.bench.process import CLIENT_CORE, pinned

_CONTENT_LENGTH = b"content-length: "


class Latencies(list[tuple[float, float]]):
    """Moment and latency of each request, in seconds."""

    def longest(self, began: float = -inf, ended: float = inf) -> float:
        """The longest latency of the requests that were in flight between two moments."""
        return max((took for sent, took in self if sent < ended and sent + took > began), default=0.0)

    def p99(self) -> float:
        """p99 of the latencies."""
        return quantiles([took for _, took in self], n=100)[-1]


@contextmanager
def probed(port: int, paths: Sequence[str] = ("/-/livez",), interval: float = 0.003) -> Iterator[Latencies]:
    """Request *paths* in turn from a server on this machine during the block, with a pause; the result is there after it."""
    command = pinned(CLIENT_CORE, [sys.executable, "-m", __name__, str(port), str(interval), *paths])
    latencies = Latencies()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        yield latencies
        printed, _ = process.communicate()
    latencies += msgspec.json.decode(printed, type=list[tuple[float, float]])


def probe(port: int, paths: Sequence[str], seconds: float) -> Latencies:
    """Request *paths* in turn without a pause, for so long."""
    with probed(port, paths, interval=0) as latencies:
        time.sleep(seconds)
    return latencies


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _head_of(connection: socket.socket) -> bytes:
    """The head of a response with a Content-Length, once all of its body has been read. Raises ValueError for any other."""
    data = connection.recv(2**16)
    head, end, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(_CONTENT_LENGTH)[2].partition(b"\r\n")[0]
    if not (end and length and head.startswith(b"HTTP/1.1 200 ")):
        raise ValueError(data[:500])
    missing = int(length) - len(body)
    while missing:
        missing -= len(connection.recv(missing))
    return head


def _main(port: int, interval: float, paths: Sequence[str]) -> None:
    gc.disable()
    connection, latencies = _connected(port), Latencies()
    if interval and os.geteuid() == 0:  # it waits for its core while it pauses
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    for path in cycle(paths):
        if select([sys.stdin], [], [], interval)[0]:
            break
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        sent = time.monotonic()
        connection.sendall(request)
        head = _head_of(connection)
        latencies.append((sent, time.monotonic() - sent))
        if b"connection: close" in head:
            connection = _connected(port)
    print(msgspec.json.encode(latencies).decode())


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
