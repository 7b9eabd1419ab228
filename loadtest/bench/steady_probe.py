"""One connection that sends a probe every 3 ms, until its input ends: when each was sent, and how long its response took.

    python -m loadtest.bench.steady_probe PORT

It is a separate process, so that the measuring process does not delay it. Moments are those of CLOCK_MONOTONIC, which all
processes share.
"""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from select import select

import msgspec

from apidex.http.probes import LIVEZ
from loadtest.bench.latency_probe import connected, head_of
from loadtest.bench.process import CLIENT_CORE, pinned

_INTERVAL = 0.003

_REQUEST = f"GET {LIVEZ} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Waits(list[tuple[float, float]]):
    """Moment and latency of each probe, in seconds."""

    def longest(self, began: float, ended: float) -> float:
        """The longest latency of the probes that were in flight between two moments."""
        return max((took for sent, took in self if sent < ended and sent + took > began), default=0.0)


@contextmanager
def probed(port: int) -> Iterator[Waits]:
    """Probe a server on this machine during the block; the result is available after it."""
    command = pinned(CLIENT_CORE, [sys.executable, "-m", __name__, str(port)])
    waits = Waits()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        yield waits
        printed, _ = process.communicate()
    waits += msgspec.json.decode(printed, type=list[tuple[float, float]])


def _main() -> None:
    gc.disable()
    connection, waits = connected(int(sys.argv[1])), Waits()
    os.setpriority(os.PRIO_PROCESS, 0, -5) if os.geteuid() == 0 else None
    while not select([sys.stdin], [], [], _INTERVAL)[0]:
        sent = time.monotonic()
        connection.sendall(_REQUEST)
        head = head_of(connection)
        waits.append((sent, time.monotonic() - sent))
        if b"connection: close" in head:
            connection = connected(int(sys.argv[1]))
    print(msgspec.json.encode(waits).decode())


if __name__ == "__main__":
    _main()
