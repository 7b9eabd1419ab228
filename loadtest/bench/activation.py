"""Four replicas on one Redis, whose catalogue changes repeatedly under load: how far apart the replicas change."""

import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from loadtest.analysis import quantiles
from loadtest.bench import replica
from loadtest.bench.process import CLIENT_CORE, SERVER_CORE, get, running, wait_for
from loadtest.bench.table import formatted
from loadtest.checks.monotonic import SKEW
from loadtest.ordering import VersionOrder
from loadtest.record import RequestRecord
from loadtest.system import free_port
from loadtest.targets.processes import SERVE

REPLICAS = 4
_UPSTREAM = Path(__file__).parents[1] / "testbed/upstream.py"
_POLL, _EVERY = 0.5, 0.4
"""Seconds between two polls of a replica, and between two changes of the upstream: every fetch finds another catalogue."""

_PAUSE = 0.002
"""Seconds between two requests to a replica: the resolution of the measurement."""

_COLUMNS = {"changes": "d", "requests": "d", "p50, ms": ".2f", "p99, ms": ".2f", "most, ms": ".2f"}
_LATE = f"older than one given {SKEW * 1000:.0f} ms before"


def measure(changes: int) -> str:
    """The table. Raises UnsupportedError."""
    rows = record(changes)
    order = VersionOrder.of(rows)
    skews = [1000 * skew for skew in order.skews(rows)]
    figures = quantiles(skews)
    late = sum(order.is_behind(row, SKEW) for row in rows)
    cells = [len(skews), len(rows), figures["p50"], figures["p99"], max(skews), late]
    about = (
        "For each change, the time from the first answer of the new catalogue, by any of four replicas, to the last request that "
        "was answered from an older one."
    )
    return f"{about}\n\n" + formatted({**_COLUMNS, _LATE: "d"}, [cells])


def record(changes: int) -> list[RequestRecord]:
    """Send requests to all replicas until the catalogue has changed *changes* times."""
    with ExitStack() as stack:
        redis, upstream = stack.enter_context(replica.redis_server()), free_port()
        serve = [sys.executable, str(_UPSTREAM), "serve", "--port", str(upstream), "--host", "127.0.0.1"]
        stack.enter_context(running([*serve, "--every", str(_EVERY)], core=CLIENT_CORE))
        wait_for(upstream, "/log")
        environ = {
            "APIDEX_REDIS_URL": redis,
            "APIDEX_UPSTREAM": f"http://127.0.0.1:{upstream}/entries",
            "APIDEX_POLL_SECONDS": str(_POLL),
            "APIDEX_REFRESH_SECONDS": "1",
            "APIDEX_MAX_CONNECTION_AGE_SECONDS": "0",
            "APIDEX_LOG_LEVEL": "error",
        }
        ports = [free_port() for _ in range(REPLICAS)]
        for number, port in enumerate(ports):
            core = (SERVER_CORE, CLIENT_CORE)[number % 2]
            stack.enter_context(running([*SERVE, "--port", str(port)], environ, core))
        for port in ports:
            wait_for(port, "/-/readyz")
            while b'"bundled"' in get(port, "/v1/catalogue").body:
                time.sleep(0.02)
        return asyncio.run(_requests(ports, changes))


async def _requests(ports: list[int], changes: int) -> list[RequestRecord]:
    rows: list[RequestRecord] = []
    versions: set[str] = set()
    async with asyncio.TaskGroup() as group:
        for port in ports:
            group.create_task(_ask(port, rows, versions, changes))
    return sorted(rows, key=lambda row: row.done)


async def _ask(port: int, rows: list[RequestRecord], versions: set[str], changes: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while len(versions) <= changes:
        sent = time.monotonic()
        writer.write(b"GET /Cat HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields["content-length"]))
        done, version = time.monotonic(), fields["catalogue-version"]
        status = int(head.split()[1])
        rows.append(RequestRecord("search", True, sent, sent, done, 0.0, status, str(port), version))
        versions.add(version)
        await asyncio.sleep(_PAUSE)
    writer.close()
