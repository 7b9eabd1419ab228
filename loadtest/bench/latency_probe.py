"""One connection that asks without a pause, and how long each answer takes, while something else goes on.

    python -m loadtest.bench.latency_probe PORT SECONDS < paths

A process of its own, so that nothing in the one that measures makes it wait. wrk counts a long wait once for each request that it
could have sent meanwhile; here, a request is a request, and the longest wait is told beside.
"""

import gc
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import quantiles

import msgspec

from loadtest.bench.process import CLIENT_CORE, pinned

_CONTENT_LENGTH = b"content-length: "


class Waits(msgspec.Struct):
    """How long answers took, in milliseconds."""

    requests: int
    p99: float
    longest: float


def ask(port: int, paths: Sequence[str], seconds: float) -> Waits:
    """Ask a server on this machine for *paths* in turn, for so long. Raises CalledProcessError when it fails."""
    command = pinned(CLIENT_CORE, [sys.executable, "-m", __name__, str(port), str(seconds)])
    done = subprocess.run(command, input="\n".join(paths), check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=Waits)


def _waits(port: int, paths: Sequence[str], seconds: float) -> Iterator[float]:
    clock = time.perf_counter
    until, connection = clock() + seconds, _connection(port)
    for path in cycle(paths):
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        sent = clock()
        connection.sendall(request)
        head = _answer(connection)
        now = clock()
        yield (now - sent) * 1000
        if now > until:
            return
        if b"connection: close" in head:
            connection = _connection(port)


def _connection(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _answer(connection: socket.socket) -> bytes:
    """The head of an answer whose length it says, once all of it is there. Raises ValueError for another."""
    data = connection.recv(2**16)
    head, end, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(_CONTENT_LENGTH)[2].partition(b"\r\n")[0]
    if not (end and length and head.startswith(b"HTTP/1.1 200 ")):
        raise ValueError(data[:500])
    left = int(length) - len(body)
    while left:
        left -= len(connection.recv(left))
    return head


def _main() -> None:
    port, seconds = sys.argv[1:]
    gc.disable()
    waits = list(_waits(int(port), sys.stdin.read().split(), float(seconds)))
    print(msgspec.json.encode(Waits(len(waits), quantiles(waits, n=100)[-1], max(waits))).decode())


if __name__ == "__main__":
    _main()
