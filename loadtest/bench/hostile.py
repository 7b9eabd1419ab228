"""A thousand hostile clients of each kind beside sixteen honest ones: what the honest ones notice, and what the server holds.

The clients use one core, the server the other. After the attack the hostile clients are stopped, with all their connections
open: what the server gives back then, it gives back by its own timers.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtest import nginx
from loadtest.bench import honest_clients
from loadtest.bench.process import (
    CLIENT_CORE,
    ServerProcess,
    cpu_seconds,
    descriptors,
    get,
    peak_of,
    pinned,
    resident_mb,
    running,
    serving,
    wait_for,
)
from loadtest.bench.table import Cell, formatted
from loadtest.hostile_clients import KINDS, SMALL, WIDE, attacking
from loadtest.system import free_port

SEARCH = "/v1/search?q=weather"

_COLUMNS = {
    "hostile clients": "",
    "server": "",
    "honest, failed": ",.0f",
    "p99 quiet, ms": ".2f",
    "p99, ms": ".2f",
    "times quiet": ".1f",
    "longest, ms": ".0f",
    "CPU quiet": ".0%",
    "CPU": ".0%",
    "memory more, MB": ".0f",
    "descriptors, most": ",.0f",
    "closed again after, s": ".0f",
}


def measure(upstream: Path, *, short: bool) -> str:
    """The table: every kind against every server. Raises UnsupportedError."""
    kinds, seconds, patience = (["empty lines after an answer"], 2.0, 6.0) if short else (list(KINDS), 60.0, 30.0)
    return formatted(_COLUMNS, [row for kind in kinds for row in _rows(upstream, kind, seconds, patience)])


def _rows(upstream: Path, kind: str, seconds: float, patience: float) -> Iterator[tuple[Cell, ...]]:
    """A row for each server under clients of one kind. The replica has *patience* seconds to close all descriptors."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with serving(APIDEX_UPSTREAM=upstream.as_uri()) as server:
            wait_for(server.port, "/-/readyz")
            _write_files(folder / "files", server.port)
            yield kind, "Apidex", *_figures(server, kind, seconds, patience, SMALL, SEARCH)
        with _nginx(folder, free_port()) as server:
            yield kind, "nginx, files", *_figures(server, kind, seconds, 0.0, SMALL)


def _write_files(folder: Path, port: int) -> None:
    """Keep the replica's answers for nginx."""
    folder.parent.chmod(0o755)  # nginx gives up root
    for path in (SMALL, WIDE):
        file = folder / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(get(port, path).body)


@contextmanager
def _nginx(folder: Path, port: int) -> Iterator[ServerProcess]:
    main = "worker_processes 1; worker_rlimit_nofile 16384;"
    with running(nginx.command(folder, port, f"root {folder}/files;", main=main)) as master:
        wait_for(port, SMALL)
        worker = int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])
        yield ServerProcess(worker, port)


def _figures(server: ServerProcess, kind: str, seconds: float, patience: float, *paths: str) -> tuple[Cell, ...]:
    """The figures of one server under clients of one kind."""
    get(server.port, WIDE)
    quiet, quiet_cpu = _honest(server, max(1.0, seconds / 4), *paths)
    time.sleep(0.2)  # until the honest clients' connections are closed
    memory, count = resident_mb(server.pid), descriptors(server.pid)
    with attacking(kind, "127.0.0.1", server.port, pinned(CLIENT_CORE, ["nice", "-n", "19"])) as attackers:
        time.sleep(1)
        with (
            peak_of(lambda: resident_mb(server.pid), 0.25) as peak,
            peak_of(lambda: descriptors(server.pid), 0.25) as most,
        ):
            busy, busy_cpu = _honest(server, seconds, *paths)
        os.kill(attackers, signal.SIGSTOP)
        closed_after = _seconds_until_closed(server, count, patience)
    failed: Cell = ", ".join(f"{count} {reason}" for reason, count in busy.failed.items()) or 0
    latencies = (quiet.p99, busy.p99, busy.p99 / quiet.p99, busy.longest)
    return failed, *latencies, quiet_cpu, busy_cpu, peak() - memory, most(), closed_after


def _honest(server: ServerProcess, seconds: float, *paths: str) -> tuple[honest_clients.Honest, float]:
    """The results of the honest clients, and the share of its core that the server uses meanwhile."""
    before = cpu_seconds(server.pid)
    honest = honest_clients.ask(server.port, seconds, [paths] * honest_clients.CLIENTS)
    return honest, (cpu_seconds(server.pid) - before) / seconds


def _seconds_until_closed(server: ServerProcess, count: int, patience: float) -> Cell:
    """Seconds until the server has no more descriptors than *count*."""
    began = time.monotonic()
    while (took := time.monotonic() - began) < patience:
        if descriptors(server.pid) <= count:
            return took
        time.sleep(0.2)
    return f"{descriptors(server.pid) - count:,} left" if patience else "not waited for"
