"""One run: Locust's users in a process of their own, a scenario that breaks things, and an observer; what it saw is a `Seen`.

Nothing is left behind: Locust is ended and every fault undone, on an interrupt too.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import msgspec

from loadtest.nemesis import Fault, Play
from loadtest.record import Request, Tail
from loadtest.scenarios import Scenario
from loadtest.targets import CannotError, Ledger, Target, is_this_machine, within

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_OBSERVE_EVERY = 0.5
_TELL_EVERY = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Observation(msgspec.Struct, frozen=True):
    """What a replica said of its catalogue at /v1/catalogue, at a moment of the run."""

    at: float
    replica: str
    version: str
    state: str
    age: float
    max_age: float
    last_failure: str


class Generator(msgspec.Struct, frozen=True):
    """What the load generator itself had to do: CPU seconds of its processes, over so many seconds."""

    cpu: float
    seconds: float
    processes: int = 1


class Seen(msgspec.Struct, frozen=True):
    """All that a run saw. Moments are seconds since it began; *vouched* are those at which the upstream gave what, if known."""

    scenario: str
    target: str
    by_request: bool
    host: str
    began: str
    command: str
    seconds: float
    replicas: int
    poll: float
    requests: list[Request]
    faults: list[Fault]
    observations: list[Observation]
    vouched: list[tuple[float, str]] | None
    generator: Generator
    restarts: int
    versions_at_the_end: list[str]


@dataclass(frozen=True)
class Load:
    """How many ask, and how often each of them: users, and requests a second of a user that searches."""

    users: int = 60
    rate: float = 5.0
    processes: int = 1


def play(
    scenario: Scenario,
    target: Target,
    folder: Path,
    *,
    seconds: float,
    load: Load,
    seed: int = 0,
    requests: int = 0,
    anywhere: bool = False,
    tell: Callable[[str], None] = print,
) -> Seen:
    """Play *scenario* against *target* for *seconds* and for as many *requests* at least; rows go into *folder*.

    Raises CannotError when the target cannot be played against, or is not this machine and *anywhere* does not allow it.
    """
    _check(target, anywhere)
    target.prepare()
    within(30, "one version on all replicas", lambda: len(_versions(target.host, len(target.replicas()))) == 1)
    _clear(folder)
    began, epoch = datetime.now(UTC), time.monotonic()
    progress = Progress(folder, epoch, tell)
    with _locust(target.host, folder, epoch, load) as locust:
        within(30, "any requests", lambda: bool(progress.look()) or not locust.lives())
        performance = Play(
            target, seconds, epoch, Random(seed), enough=lambda: len(progress.requests) >= requests, tell=progress.event
        )
        restarts = target.restarts()
        observer = Observer(target.host, epoch)
        with observer.running(), progress.running(), _watched(locust, performance):
            _perform(scenario, performance)
            agreed = _agreement(target, performance)
            restarts = target.restarts() - restarts
        ledger = _ledger(target, epoch)
        cpu = locust.cpu()
    progress.look()
    _clear(folder)
    return Seen(
        scenario=scenario.name,
        target=target.name,
        by_request=target.by_request,
        host=target.host,
        began=began.isoformat(timespec="seconds"),
        command=" ".join(["python -m loadtest", *sys.argv[1:]]),
        seconds=round(performance.now(), 1),
        replicas=performance.replicas,
        poll=_poll(target.host),
        requests=sorted(progress.requests, key=lambda request: request.done),
        faults=performance.faults,
        observations=observer.observations,
        vouched=ledger,
        generator=Generator(round(cpu, 2), round(performance.now(), 1), load.processes),
        restarts=restarts,
        versions_at_the_end=sorted(agreed),
    )


def _clear(folder: Path) -> None:
    """Take away the rows that Locust wrote, or an earlier run's."""
    for rows in folder.glob("rows*.csv"):
        rows.unlink()


def _perform(scenario: Scenario, performance: Play) -> None:
    """The scenario. An interrupt unwinds it once; a second one must not stop what is being undone."""
    try:
        scenario.play(performance)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise


def _check(target: Target, anywhere: bool) -> None:
    host = httpx.URL(target.host).host
    if not anywhere and not is_this_machine(host):
        raise CannotError(
            f"{host} is not this machine; --i-mean-it sends load there and breaks things there all the same"
        )
    try:
        ready = httpx.get(f"{target.host}/-/readyz", timeout=5).status_code
    except httpx.TransportError as error:
        raise CannotError(f"{target.host} does not answer: {error}") from None
    if ready != httpx.codes.OK:
        raise CannotError(f"{target.host} is not ready: it answers {ready} to /-/readyz")


def _poll(host: str) -> float:
    """Seconds between the polls of a replica, as it says."""
    return float(httpx.get(f"{host}/v1/catalogue", timeout=5).raise_for_status().json()["poll"])


class _Locust:
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

    def cpu(self) -> float:
        """CPU seconds of it and of its workers."""
        return sum(_cpu(pid) for pid in [self._process.pid, *_children(self._process.pid)])


@contextmanager
def _locust(host: str, folder: Path, epoch: float, load: Load) -> Iterator[_Locust]:
    """Users that ask while the block runs."""
    log = folder / "locust.log"
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--host", host]
    command += ["--users", str(load.users), "--spawn-rate", str(load.users), "--rate", str(load.rate), "--only-summary"]
    command += ["--record", str(folder / "rows"), "--epoch", str(epoch), "--stop-timeout", "10"]
    command += ["--processes", str(load.processes)] if load.processes > 1 else []
    environ = os.environ | {"PYTHONPATH": str(_LOCUSTFILE.parents[1])}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, start_new_session=True)  # noqa: S603
    try:
        yield _Locust(process, log)
        process.terminate()
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def _watched(locust: _Locust, performance: Play) -> Iterator[None]:
    """Have the performance fail if Locust ends before it does."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if not locust.lives():
                performance.fail(CannotError(f"Locust ended before the run did: {locust.complaint()}"))
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _agreement(target: Target, performance: Play) -> set[str]:
    """The versions that the replicas answer with, once they are one, and at the latest two polls and a bit later."""
    poll = _poll(target.host)
    until = performance.now() + 2 * poll + 5
    while True:
        versions = _versions(target.host, performance.replicas)
        if len(versions) == 1 or performance.now() > until:
            return versions
        performance.waits(0.25)


def _versions(host: str, replicas: int) -> set[str]:
    found: dict[str, str] = {}
    for _ in range(40 * replicas):
        try:
            answer = httpx.get(f"{host}/Cat", headers={"connection": "close"}, timeout=5)
        except httpx.TransportError:
            continue
        found[answer.headers.get("x-served-by", "")] = answer.headers.get("catalogue-version", "")
        if len(found) >= replicas:
            break
    return set(found.values())


def _ledger(target: Target, epoch: float) -> list[tuple[float, str]] | None:
    try:
        now = time.monotonic() - epoch
        ledger: Ledger = target.ledger()
    except CannotError:
        return None
    return [(now - ago, digest) for ago, digest in ledger.given]


class Observer:
    """Asks the replicas, one after the other as they come, what they say of their catalogue."""

    def __init__(self, host: str, epoch: float) -> None:
        self._host, self._epoch = host, epoch
        self.observations: list[Observation] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Asks while the block runs."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(_OBSERVE_EVERY):
                self._ask()

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self) -> None:
        try:
            answer = httpx.get(f"{self._host}/v1/catalogue", headers={"connection": "close"}, timeout=5)
            said = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return  # the users count failures; here is only noted what was said
        failure = (said["upstream"]["last_failure"] or {}).get("reason", "")
        at = round(time.monotonic() - self._epoch, 3)
        self.observations.append(
            Observation(at, said["served_by"], said["version"], said["state"], said["age"], said["max_age"], failure)
        )


class Progress:
    """Reads the rows as they come, and tells how it goes."""

    def __init__(self, folder: Path, epoch: float, tell: Callable[[str], None]) -> None:
        self.requests: list[Request] = []
        self._folder, self._epoch, self._tell = folder, epoch, tell
        self._tails: dict[Path, Tail] = {}
        self._told = 0

    def look(self) -> int:
        """Read what is new; how many there are by now. Locust's workers write a file each."""
        for path in self._folder.glob("rows*.csv"):
            self.requests.extend(self._tails.setdefault(path, Tail(path)).rows())
        return len(self.requests)

    def event(self, what: str) -> None:
        """Tell that something was done."""
        self._tell(f"{time.monotonic() - self._epoch:6.1f} s  {what}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Tells while the block runs."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(_TELL_EVERY):
                self.look()
                self._line()

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _line(self) -> None:
        recent, self._told = self.requests[self._told :], len(self.requests)
        if not recent:
            return self.event("no answers")
        latencies = sorted(request.latency for request in recent)
        failed = sum(bool(request.fault) for request in self.requests)
        replicas = len(Counter(request.replica for request in recent if request.replica))
        p99 = latencies[int(len(latencies) * 0.99)] * 1000
        self.event(
            f"{len(self.requests):>7} requests, {len(recent) / _TELL_EVERY:.0f}/s, {failed} failed; "
            f"p99 {p99:.0f} ms; {replicas} replicas"
        )
        return None
