"""Locust's users, in a process group of their own, and what they cost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


@dataclass(frozen=True)
class Load:
    """How many ask, and how often each of them: users, and requests a second of a user that searches.

    *shape* is one of `shapes.SHAPES`, drawn out over *seconds*.
    """

    users: int = 60
    rate: float = 5.0
    processes: int = 1
    shape: str = "steady"
    seconds: float = 60.0


class GeneratorUsage(msgspec.Struct, frozen=True):
    """What the load generator itself had to do: CPU seconds of its processes, over so many *seconds*.

    *waited* is for how long they were ready to run, and others did.
    """

    cpu: float
    seconds: float
    processes: int = 1
    waited: float = 0.0


class Locust:
    """Locust's users, in a process group of their own."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def complaint(self) -> str:
        """The last that it said."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def cpu(self) -> tuple[float, float]:
        """Seconds for which it and its workers ran, and for which they could have and did not."""
        figures = [_scheduled(pid) for pid in [self._process.pid, *_children(self._process.pid)]]
        return sum(ran for ran, _ in figures), sum(waited for _, waited in figures)


@contextmanager
def asking(host: str, folder: Path, epoch: float, load: Load) -> Iterator[Locust]:
    """Users that ask while the block runs."""
    log = folder / "locust.log"
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--host", host]
    command += ["--users", str(load.users), "--spawn-rate", str(load.users), "--rate", str(load.rate), "--only-summary"]
    command += ["--record", str(folder / "rows"), "--epoch", str(epoch), "--stop-timeout", "10"]
    command += ["--shape", load.shape, "--shape-time", str(load.seconds)]
    command += ["--processes", str(load.processes)] if load.processes > 1 else []
    environ = os.environ | {"PYTHONPATH": str(_LOCUSTFILE.parents[1])}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, start_new_session=True)  # noqa: S603
    try:
        yield Locust(process, log)
        process.terminate()
        _wait(process, 30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Until it and its workers have ended, which may outlive it while their last requests are answered."""
    until = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def _scheduled(pid: int) -> tuple[float, float]:
    """What the kernel keeps of a process's first thread, which is all of Locust (proc(5), schedstat)."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
