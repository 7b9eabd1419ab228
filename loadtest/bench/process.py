"""What a process has used, from /proc: CPU time, and memory."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from shutil import which
from threading import Event, Thread

PATIENCE = 60.0
"""Seconds that a process has until it answers."""

SERVER_CORE, CLIENT_CORE = 0, 1

_IDLE, _LITTLE = 0.1, 0.1
"""A process is idle when it takes less than this share of its core for so many seconds."""


class MissingToolError(Exception):
    """A program that a benchmark needs is not installed; says what to install."""


def tool(name: str, package: str) -> str:
    """The path of a program. Raises MissingToolError, which names the Debian package that has it."""
    path = which(name) or which(name, path="/usr/sbin")
    if path is None:
        raise MissingToolError(f"There is no {name} on this machine: apt-get install {package}")
    return path


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """*command*, to be run on one core only. On a machine with one core that is the only one there is."""
    return [tool("taskset", "util-linux"), "--cpu-list", str(min(core, (os.cpu_count() or 1) - 1)), *command]


@contextmanager
def on_the_clients_core() -> Iterator[None]:
    """Keep this process off the server's core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(CLIENT_CORE, (os.cpu_count() or 1) - 1)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def give_way() -> None:
    """Let this thread wait for its core while anything else wants it, such as what makes the requests."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)


@contextmanager
def running(command: Sequence[str], /, core: int = SERVER_CORE, **environ: str) -> Iterator[int]:
    """A process on one core, with these variables added to a clean environment; its number."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("APIDEX_")}
    with subprocess.Popen(  # noqa: S603 - commands of ours
        pinned(core, command), env=clean | environ, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)  # after SIGTERM, a replica drains


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, all threads that live, to the microsecond."""
    spent = sum(int(words[0]) for process in _family(pid) for words in _lines(process, "schedstat"))
    return spent / 1e9


def wait_until_idle(pid: int) -> None:
    """Wait until a process has done what was still asked of it. Raises TimeoutError if it goes on for too long."""
    until, before = time.monotonic() + PATIENCE, float("-inf")
    while (spent := cpu_seconds(pid)) - before > _IDLE * _LITTLE:
        if time.monotonic() > until:
            raise TimeoutError(f"process {pid} is not idle after {PATIENCE:g} s")
        before = spent
        time.sleep(_IDLE)


def megabytes(pid: int, line: str = "VmRSS") -> float:
    """Resident memory of a process: now, or with `VmHWM` the most that it ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith(f"{line}:")).split()[1]) * 1024 / 1e6


def megabytes_held(pid: int) -> float:
    """Memory of a process and its children: what each has for itself, and once what they share under no file's name."""
    own, shared = 0.0, {}
    for process in _family(pid):
        try:
            own += megabytes(process, "RssAnon") + megabytes(process, "RssFile")
            shared.update(_shared(process))
        except (FileNotFoundError, ProcessLookupError, StopIteration):  # it has just ended
            continue
    return own + sum(shared.values()) / 1e6


def _shared(pid: int) -> Iterator[tuple[int, int]]:
    """Number and bytes of each memfd that a process has open or mapped."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/memfd:" in line:
            places, *_, inode, _, _ = line.split()
            start, end = (int(place, 16) for place in places.split("-"))
            yield int(inode), end - start
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if "/memfd:" in str(link.readlink()):
            state = link.stat()
            yield state.st_ino, state.st_blocks * 512


@contextmanager
def peak_of(pid: int) -> Iterator[Callable[[], float]]:
    """Watches a process and its children; the function given tells the most megabytes that they have held together."""
    most, ended = [0.0], Event()

    def watch() -> None:
        give_way()
        while not ended.wait(0.03):
            most[0] = max(most[0], megabytes_held(pid))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        watcher.join()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. The names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def answer(port: int, path: str, headers: dict[str, str] | None = None) -> Answer:
    """Make one GET on a connection of its own. Raises OSError when nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def discard(port: int, path: str) -> int:
    """Read the answer to one GET and keep none of it; its bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return sum(len(piece) for piece in iter(lambda: response.read(2**18), b""))
    finally:
        connection.close()


def wait_for(port: int, path: str, within: float = PATIENCE) -> float:
    """Ask until there is an answer; the seconds that it took. Raises OSError after *within*."""
    began = time.perf_counter()
    while True:
        try:
            answer(port, path)
        except OSError:
            if time.perf_counter() > began + within:
                raise
            time.sleep(0.002)
        else:
            return time.perf_counter() - began


def _family(pid: int) -> Iterator[int]:
    yield pid
    for (child,) in ([word] for words in _lines(pid, "children") for word in words):
        yield from _family(int(child))


def _lines(pid: int, name: str) -> Iterator[list[str]]:
    """The words of a file of each thread of a process."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            yield (thread / name).read_text().split()
        except FileNotFoundError:  # it has just ended
            continue
