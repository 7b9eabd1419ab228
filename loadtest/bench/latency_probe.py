"""One connection that sends requests without a pause, and the latency of each, while something else goes on.

    python -m loadtest.bench.latency_probe PORT SECONDS < paths

A process of its own, so that nothing in the one that measures delays it. wrk counts a long wait once for each request that it
could have sent meanwhile; here, a request is a request, and the longest wait is reported beside.
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


class ProbeLatency(msgspec.Struct):
    """p99 and the longest latency, in milliseconds."""

    p99: float
    longest: float


def probe(port: int, paths: Sequence[str], seconds: float) -> ProbeLatency:
    """Request *paths* in turn from a server on this machine, for so long. Raises CalledProcessError when it fails."""
    command = pinned(CLIENT_CORE, [sys.executable, "-m", __name__, str(port), str(seconds)])
    done = subprocess.run(command, input="\n".join(paths), check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=ProbeLatency)


def _latencies_ms(port: int, paths: Sequence[str], seconds: float) -> Iterator[float]:
    clock = time.perf_counter
    until, connection = clock() + seconds, connected(port)
    for path in cycle(paths):
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        sent = clock()
        connection.sendall(request)
        head = head_of(connection)
        now = clock()
        yield (now - sent) * 1000
        if now > until:
            return
        if b"connection: close" in head:
            connection = connected(port)


def connected(port: int) -> socket.socket:
    """A connection to a server on this machine."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head_of(connection: socket.socket) -> bytes:
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


def _main() -> None:
    port, seconds = sys.argv[1:]
    gc.disable()
    latencies = list(_latencies_ms(int(port), sys.stdin.read().split(), float(seconds)))
    print(msgspec.json.encode(ProbeLatency(quantiles(latencies, n=100)[-1], max(latencies))).decode())


if __name__ == "__main__":
    _main()
