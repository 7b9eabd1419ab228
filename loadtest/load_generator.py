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

from apidex.terminal import counted
from loadtest.distributed import WorkerReport, reports

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_LOG, _ROWS = "locust.log", "rows"

FIRST_WITHIN = 30.0
"""Seconds in which the workers come, and the first request is sent."""


@dataclass(frozen=True)
class Load:
    """How many users there are, and the requests a second of each that searches.

    A request that takes longer than *timeout* seconds has failed. *processes* are Locust's, *shape* is one of `shapes.SHAPES`.
    With *workers*, so many on other machines are waited for, and nothing is sent from here.
    """

    users: int = 60
    rate: float = 5.0
    processes: int = 1
    shape: str = "steady"
    timeout: float = 5.0
    workers: int = 0

    @property
    def first(self) -> str:
        """What a run waits for before all else."""
        workers = f", which waits for {counted(self.workers, 'worker')}" if self.workers else ""
        return f"the first request{workers}"


class GeneratorUsage(msgspec.Struct, frozen=True):
    """What the load generator used in so many *seconds*: CPU seconds, and seconds for which it waited for a CPU.

    *skew* is the most by which the clocks of its machines may differ, in seconds.
    """

    cpu: float
    waited: float
    seconds: float
    processes: int = 1
    skew: float = 0.0

    def since(self, before: "GeneratorUsage") -> "GeneratorUsage":
        """The difference to an earlier reading."""
        return GeneratorUsage(
            round(self.cpu - before.cpu, 2),
            round(self.waited - before.waited, 2),
            round(self.seconds - before.seconds, 2),
            self.processes,
            round(self.skew, 6),
        )


class Locust:
    """Locust's processes."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, load: Load) -> None:
        self._process, self._folder, self._load = process, folder, load

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def complaint(self) -> str:
        """The last line of its log."""
        return ((self._folder / _LOG).read_text(errors="replace").strip() or "no output").splitlines()[-1]

    def usage(self) -> GeneratorUsage:
        """Of it and its workers, since they began."""
        workers = self._workers()
        figures = [scheduled(pid) for pid in [self._process.pid, *_children(self._process.pid)]]
        figures += [(worker.cpu, worker.waited) for worker in workers]
        cpu, waited = (sum(column) for column in zip(*figures, strict=True))
        skew = max((worker.skew for worker in workers), default=0.0)
        return GeneratorUsage(cpu, waited, time.monotonic(), self._load.workers or self._load.processes, skew)

    def _workers(self) -> list[WorkerReport]:
        """What those on other machines told last."""
        try:
            return msgspec.json.decode(reports(self._folder / _ROWS).read_bytes(), type=list[WorkerReport])
        except FileNotFoundError:
            return []


@contextmanager
def running_locust(host: str, folder: Path, epoch: float, load: Load, seconds: float) -> Iterator[Locust]:
    """Users that send requests while the block runs; their shape takes *seconds*."""
    reports(folder / _ROWS).unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--host", host]
    command += ["--users", str(load.users), "--spawn-rate", str(load.users), "--rate", str(load.rate), "--only-summary"]
    command += ["--record", str(folder / _ROWS), "--epoch", str(epoch), "--stop-timeout", "10"]
    command += ["--shape", load.shape, "--shape-time", str(seconds), "--request-timeout", str(load.timeout)]
    command += ["--processes", str(load.processes)] if load.processes > 1 else []
    command += ["--master", "--expect-workers", str(load.workers), "--collect"] if load.workers else []
    environ = os.environ | {"PYTHONPATH": str(_LOCUSTFILE.parents[1])}
    with (folder / _LOG).open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, start_new_session=True)  # noqa: S603
    try:
        yield Locust(process, folder, load)
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


def scheduled(pid: int) -> tuple[float, float]:
    """CPU and waiting seconds of a process's first thread, which is all of Locust (proc(5), schedstat)."""
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
