"""Real `apidex serve` processes, each on a port of its own, and how tests wait."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest
from loadtest.system import UnsupportedError, tool

HANG = 60
"""Seconds after which something hangs, however busy the machine is. No verdict rests on less."""

DEFAULTS = {"APIDEX_DRAIN_SECONDS": "0", "APIDEX_STARTUP_TIMEOUT_SECONDS": str(HANG), "APIDEX_STATE_DIR": "none"}

LOOK = 0.02
"""Seconds between two looks at something that is waited for."""


def wait_until(holds: Callable[[], bool], what: str, seconds: float = HANG) -> float:
    """Wait until *holds()*; return the seconds that it took. Raises AssertionError after as many looks as fit into *seconds*.

    Looks are counted instead of seconds because a machine that is so busy that processes are late makes each look longer too.
    """
    began = time.monotonic()
    for _ in range(round(seconds / LOOK)):
        if holds():
            return time.monotonic() - began
        time.sleep(LOOK)
    raise AssertionError(f"not within {seconds:g} s: {what}")


async def until(holds: Callable[[], object]) -> None:
    """Let the event loop run until *holds()*. Raises TimeoutError where something hangs."""
    async with asyncio.timeout(HANG):
        while not holds():
            await asyncio.sleep(0.005)


def need(*programs: str) -> str:
    """The path of the first of *programs*; a test is skipped without one of them. Debian's packages are called like them."""
    try:
        first, *_ = map(tool, programs)
    except UnsupportedError as error:
        pytest.skip(str(error))
    return first


def apidex(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a command to its end; its status, and what it printed."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": HANG} | options
    return subprocess.run([sys.executable, "-m", "apidex", *arguments], **options)


def left_running(folder: Path) -> list[str]:
    """Commands of the other processes that name *folder*, or that have files open there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            open_files = [str(each.readlink()) for each in (process / "fd").iterdir()]
            command = (process / "cmdline").read_text().replace("\0", " ")
            if int(process.name) != os.getpid() and any(str(folder) in text for text in (command, *open_files)):
                found.append(command)
    return found


class Process:
    """A replica that has logged where it listens. Its log is read as it comes."""

    reads_log = True
    """Whether its log is read after the start."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("APIDEX_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "apidex", "serve", "--port", "0", "--log-format", "json", *arguments],
            env=clean | DEFAULTS | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._started.wait(HANG) or '"serve.started"' not in "".join(self.lines):
            self.is_killed()
            raise AssertionError("the replica did not start:\n" + "".join(self.lines))
        started = self.events("serve.started")[0]
        self.url: str = started["address"]
        self.admin_url: str = started.get("admin", "")
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        for line in self.popen.stdout:
            self.lines.append(line)
            if '"serve.started"' in line:
                self._started.set()
                if not self.reads_log:
                    break
        self._started.set()

    def events(self, name: str) -> list[dict]:
        """What it has logged under *name* so far."""
        return [event for line in list(self.lines) if (event := msgspec.json.decode(line))["event"] == name]

    def catalogue(self) -> dict:
        """The answer of /v1/catalogue."""
        return httpx.get(f"{self.url}/v1/catalogue", timeout=HANG).json()

    def until(self, holds: Callable[[dict], bool]) -> None:
        """Wait until the answer of /v1/catalogue *holds*."""
        wait_until(lambda: holds(self.catalogue()), f"still {self.catalogue()}")

    def has_another_catalogue_after(self, change: Callable[[], None]) -> None:
        """Make a *change* upstream, and wait until the replica has it."""
        before = self.catalogue()["digest"]
        change()
        self.until(lambda catalogue: catalogue["digest"] != before)

    def is_killed(self) -> None:
        """As `kill -9`."""
        self.popen.kill()
        self._has_ended()
        self.popen.stdout.close()

    def ends(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal that ends it, and return its exit status."""
        self.popen.send_signal(number)
        return self._has_ended()

    def _has_ended(self) -> int:
        status = self.popen.wait(HANG)
        self._reader.join(HANG)
        return status


@contextmanager
def replica(*arguments: str, **environ: str) -> Iterator[Process]:
    """A Process that is ended at the end, and killed where it does not end."""
    process = Process(*arguments, **environ)
    try:
        yield process
        process.ends()
    finally:
        process.is_killed()
