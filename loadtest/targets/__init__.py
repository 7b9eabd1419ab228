"""What a run is played against: the same verbs for compose, a cluster and plain processes. Each module knows one of them.

A verb that a target does not have raises `UnsupportedError`, before anything is broken.
"""

import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

import httpx
import msgspec


class UnsupportedError(Exception):
    """What was asked for cannot be done here; the text is one sentence for a person."""


class WaitTimeoutError(UnsupportedError):
    """What had to come about did not, in its time: the run goes no further, and its verdict says so."""


class Replica(msgspec.Struct, frozen=True):
    """A replica by the name that it answers with, and how often its process was started anew."""

    name: str
    restarts: int
    node: str = ""


class UpstreamLog(msgspec.Struct, frozen=True):
    """What the testbed's upstream gave: seconds ago, and the digest of the catalogue."""

    mode: str
    given: list[tuple[float, str]]


class Target(ABC):
    """Apidex as it runs somewhere, and what can be done to it.

    *by_request* says that what stands in front balances by request and asks again what a dying replica did not answer.
    Context managers break something while their block runs, and mend it at the end, whatever happens in between.
    """

    name: str
    host: str
    by_request: bool

    @classmethod
    def where(cls) -> str:
        """The host from which such targets are ruled."""
        return "localhost"

    @abstractmethod
    def replicas(self) -> list[Replica]:
        """Those that are there and ready."""

    @abstractmethod
    def kill(self, replica: str) -> None:
        """SIGKILL to its process."""

    @abstractmethod
    def roll_out(self) -> None:
        """Replace every replica by a new one, and wait until that is done."""

    @abstractmethod
    def scale(self, replicas: int) -> None:
        """Have so many, and wait until they are ready."""

    @abstractmethod
    def paused(self, replica: str) -> AbstractContextManager[None]:
        """Its process does nothing, and keeps its connections."""

    @abstractmethod
    def without_redis(self) -> AbstractContextManager[None]:
        """Redis has ended, and comes back with nothing."""

    @abstractmethod
    def hanging_redis(self) -> AbstractContextManager[None]:
        """Redis takes connections, and answers nothing."""

    @abstractmethod
    def empty_redis(self) -> None:
        """Redis forgets all."""

    @abstractmethod
    def ask_upstream(self, *words: str) -> str:
        """Run `upstream.py` beside the testbed's upstream; its output. Raises UnsupportedError where there is no testbed."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Lay out what the verbs need, so that they act at once."""

    def delete(self, replica: str) -> None:
        """End it for good, and have another in its place."""
        self._cannot("delete a pod of", replica)

    def drained(self) -> AbstractContextManager[None]:
        """A node is emptied, and takes nothing."""
        self._cannot("drain a node of")

    def cut_off(self) -> AbstractContextManager[None]:
        """The network of a node is gone."""
        self._cannot("cut off a node of")

    def unreachable_redis(self) -> AbstractContextManager[None]:
        """What Redis says is lost on the way."""
        self._cannot("cut off Redis from")

    def unreachable_upstream(self) -> AbstractContextManager[None]:
        """The same of the upstream."""
        self._cannot("cut off the upstream from")

    def _cannot(self, what: str, *_: object) -> NoReturn:
        raise UnsupportedError(f"one cannot {what} the target {self.name!r}: it has none")

    # what follows from the verbs above

    def restarts(self) -> dict[str, int]:
        """Of each replica that is ready."""
        return {replica.name: replica.restarts for replica in self.replicas()}

    def settle(self, replicas: int, seconds: float = 120.0) -> None:
        """Wait until so many are ready, for so long at most."""
        wait_for(seconds, f"{replicas} replicas that are ready", lambda: len(self.replicas()) == replicas)

    @contextmanager
    def upstream(self, mode: str) -> Iterator[None]:
        """The testbed's upstream behaves as told while the block runs."""
        try:
            self.ask_upstream("tell", mode)
            yield
        finally:
            self.ask_upstream("tell", "good")

    def log(self) -> UpstreamLog:
        """What the testbed's upstream has given."""
        return msgspec.json.decode(self.ask_upstream("log"), type=UpstreamLog)


def wait_for(seconds: float, what: str, holds: Callable[[], bool], pause: float = 0.25) -> None:
    """Wait until *holds()*. Raises WaitTimeoutError when it does not, for so long."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise WaitTimeoutError(f"waited in vain for {what}: {seconds:g} s")
        time.sleep(pause)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(host: str) -> bool:
    """Whether somebody answers at *host*, and is ready."""
    try:
        return httpx.get(f"{host}/-/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def output_of(*command: str, stdin: str = "", timeout: float = 180.0) -> str:
    """What *command* prints. Raises UnsupportedError with what it complained of.

    It runs apart from the terminal, and an interrupt waits until it has ended: half of an undoing undoes nothing.
    """
    if not shutil.which(command[0]):
        raise UnsupportedError(f"{command[0]} is not installed")
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - commands of ours
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        interrupted = False
        try:
            said, complaint = process.communicate(stdin, timeout)
        except KeyboardInterrupt:
            interrupted = True
            said, complaint = process.communicate(None, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise UnsupportedError(f"{' '.join(command[:4])} … did not end within {timeout:g} s") from None
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode:
        lines = (complaint or said).strip().splitlines() or ["no reason given"]
        raise UnsupportedError(f"{' '.join(command[:6])} … failed: {lines[-1]}")
    return said


def is_this_machine(host: str) -> bool:
    """Whether *host* has an address of this machine's own: one that can be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.bind(address)
    except (OSError, UnicodeError):
        return False
    return True
