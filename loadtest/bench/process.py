"""Processes that a benchmark starts, each pinned to a core: requests to them, and what they use, from /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from loadtest.system import free_port, tool

PATIENCE = 60.0
"""Seconds that a process has until it answers."""

SERVER_CORE, CLIENT_CORE = 0, 1

_IDLE_SHARE, _IDLE_SECONDS = 0.1, 0.1
"""A process is idle when it uses less than this share of its core for so many seconds."""


class ServerProcess(NamedTuple):
    """A server that runs: the number of its process, its port, and its port inside of its own network if it has one."""

    pid: int
    port: int
    inside: int | None = None


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """*command*, to be run on one core only. On a machine with one core that is the only one there is."""
    return [tool("taskset", "util-linux"), "--cpu-list", str(min(core, (os.cpu_count() or 1) - 1)), *command]


@contextmanager
def on_the_client_core() -> Iterator[None]:
    """Keep this process off the server's core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(CLIENT_CORE, (os.cpu_count() or 1) - 1)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def on_all_cores(pid: int) -> Iterator[None]:
    """Let the threads of a process, which was pinned to a core, run on any."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    cores = os.sched_getaffinity(pid)
    for thread in threads:
        os.sched_setaffinity(thread, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, cores)


@contextmanager
def in_background(act: Callable[[], object]) -> Iterator[Thread]:
    """Run *act* in a thread that waits for its core while anything else wants it; joined when the block ends."""

    def run() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        act()

    thread = Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


@contextmanager
def running(command: Sequence[str], environ: dict[str, str] | None = None, core: int = SERVER_CORE) -> Iterator[int]:
    """A process on one core, with *environ* added to a clean environment; its number."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("APIDEX_")}
    clean["APIDEX_STATE_DIR"] = "none"  # each start is the first one
    with subprocess.Popen(  # noqa: S603 - commands of ours
        pinned(core, command), env=clean | (environ or {}), stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)  # after SIGTERM, a replica drains
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


@contextmanager
def serving(**environ: str) -> Iterator[ServerProcess]:
    """A replica on a free port, with *environ*, that has just been started."""
    port = free_port()
    settings = {"APIDEX_PORT": str(port), "APIDEX_LOG_LEVEL": "error"}
    with running([sys.executable, "-m", "apidex", "serve"], settings | environ) as pid:
        yield ServerProcess(pid, port)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, all threads that live, to the microsecond."""
    return sum(int(words[0]) for process in _family(pid) for words in _per_thread(process, "schedstat")) / 1e9


def wait_until_idle(pid: int) -> None:
    """Wait until a process has finished its pending requests. Raises TimeoutError if that takes too long."""
    until, before = time.monotonic() + PATIENCE, float("-inf")
    while (spent := cpu_seconds(pid)) - before > _IDLE_SHARE * _IDLE_SECONDS:
        if time.monotonic() > until:
            raise TimeoutError(f"process {pid} is not idle after {PATIENCE:g} s")
        before = spent
        time.sleep(_IDLE_SECONDS)


def resident_mb(pid: int, line: str = "VmRSS") -> float:
    """Resident memory of a process, by a line of /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith(f"{line}:")).split()[1]) * 1024 / 1e6


def descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_mb(pid: int) -> float:
    """Memory of a process and its children: the private part of each, and once each memfd that they share."""
    own, shared = 0.0, dict[int, int]()
    for process in _family(pid):
        with suppress(FileNotFoundError, ProcessLookupError, StopIteration):  # it has just ended
            own += resident_mb(process, "RssAnon") + resident_mb(process, "RssFile")
            shared.update(_shared(process))
    return own + sum(shared.values()) / 1e6


def _shared(pid: int) -> Iterator[tuple[int, int]]:
    """Inode and bytes of each memfd that a process has open or mapped."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/memfd:" in line:
            addresses, *_, inode, _, _ = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            yield int(inode), end - start
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if "/memfd:" in str(link.readlink()):
            state = link.stat()
            yield state.st_ino, state.st_blocks * 512


@contextmanager
def peak_of(measure: Callable[[], float], pause: float = 0.03) -> Iterator[Callable[[], float]]:
    """Measure again and again during the block; the function returns the most so far."""
    most, ended = [measure()], Event()

    def watch() -> None:
        while not ended.wait(pause):
            most[0] = max(most[0], measure())

    with in_background(watch):
        try:
            yield lambda: most[0]
        finally:
            ended.set()


def peak_memory_mb(pid: int) -> AbstractContextManager[Callable[[], float]]:
    """`peak_of` the memory of a process and its children."""
    return peak_of(lambda: memory_mb(pid))


class Response(NamedTuple):
    """Status, headers by name in lower case, and body."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def _requested(port: int, path: str, headers: dict[str, str] | None) -> Iterator[HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        yield connection.getresponse()
    finally:
        connection.close()


def get(port: int, path: str, headers: dict[str, str] | None = None) -> Response:
    """Make one GET on a new connection. Raises OSError when nothing listens."""
    with _requested(port, path, headers) as response:
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, fields, response.read())


def discard(port: int, path: str, headers: dict[str, str] | None = None) -> int:
    """Read the response to one GET without keeping it; its length in bytes. Raises ValueError unless it is a 200 or 404."""
    with _requested(port, path, headers) as response:
        if response.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise ValueError(f"{path}: status {response.status}")
        return sum(len(piece) for piece in iter(lambda: response.read(2**18), b""))


def wait_for(port: int, path: str) -> None:
    """Ask until there is a response. Raises OSError after PATIENCE."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            get(port, path)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.002)
        else:
            return


def _family(pid: int) -> Iterator[int]:
    yield pid
    for words in _per_thread(pid, "children"):
        for child in words:
            yield from _family(int(child))


def _per_thread(pid: int, name: str) -> Iterator[list[str]]:
    """The words of a file of each thread of a process."""
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has just ended
        for thread in list(Path(f"/proc/{pid}/task").iterdir()):
            with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
                yield (thread / name).read_text().split()
