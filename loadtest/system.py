"""Commands, ports and waiting on this machine, and the two ways in which a run cannot go on."""

import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import SystemRandom
from typing import TypeVar

import httpx

T = TypeVar("T")

_random = SystemRandom()

_BEGINS = 60.0
"""Seconds in which a program begins."""


class UnsupportedError(Exception):
    """The request cannot be carried out here; the text is one sentence for a person."""


class WaitTimeoutError(UnsupportedError):
    """A condition did not come true in time: the scenario stops, and its verdict says so."""


def wait_for(seconds: float, what: str, holds: Callable[[], bool], pause: float = 0.25) -> None:
    """Wait until *holds()*. Raises WaitTimeoutError after *seconds*."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise WaitTimeoutError(f"timed out after {seconds:g} s waiting for {what}")
        time.sleep(pause)


@contextmanager
def between(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """Call *begin*, and *end* after the block in any case, to its own end: an interrupt waits for it."""
    try:
        begin()
        yield
    finally:
        with uninterrupted():
            end()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """An interrupt waits until the block has ended, so that what it undoes in several steps is undone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts only the main thread
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    deferred = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in deferred:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in deferred.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def tool(name: str, package: str = "") -> str:
    """The path of a program. Raises UnsupportedError, which names the Debian *package* that has it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        raise UnsupportedError(f"{name} is not installed (Debian: apt-get install {package or name})")
    return path


def persist(act: Callable[[], T], seconds: float = 60.0) -> T:
    """Call *act* until it does not raise UnsupportedError, for *seconds*: what it acts on may be away, by another fault."""
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except UnsupportedError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


@contextmanager
def running_until_end_of_input(*command: str) -> Iterator[None]:
    """Run *command*, a program that writes a line once it has begun and ends with its standard input, while the block runs.

    Raises UnsupportedError where it does not begin; its complaint is on the terminal.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:  # noqa: S603
        try:
            said = process.stdout
            if not (said and select.select([said], [], [], _BEGINS)[0] and said.readline()):
                raise UnsupportedError(f"{' '.join(command[:6])} … did not begin")
            yield
        finally:
            with uninterrupted():
                process.communicate(timeout=60)


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Call *act* again and again, in a thread, while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with uninterrupted():
            over.set()
            thread.join()


def free_port() -> int:
    """A port that is free now.

    It is not one that the system gives to clients (from 32,768 on), one of which could have it before the server that it is for.
    """
    while True:
        port = _random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def listens(port: int) -> bool:
    """Whether something accepts connections on *port* of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def get(url: str) -> httpx.Response:
    """The answer to a GET on a new connection, after at most three attempts to connect. Raises httpx.HTTPError.

    For two minutes after a node was lost, iptables may send a new connection there again: conntrack keeps the entry of an earlier
    one from the same source port, which was never answered.
    """
    transport, timeout = httpx.HTTPTransport(retries=2), httpx.Timeout(5, connect=2)
    with httpx.Client(transport=transport, headers={"connection": "close"}, timeout=timeout) as client:
        return client.get(url)


def is_ready(host: str, path: str = "/v1/catalogue") -> bool:
    """Whether *path* is found at *host*. A probe may have a port that is not published, and is not asked for that reason."""
    try:
        return httpx.get(f"{host}{path}", timeout=2).is_success
    except httpx.HTTPError:
        return False


def is_this_machine(host: str) -> bool:
    """Whether *host* has an address of this machine's own: one that can be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.bind(address)
    except (OSError, UnicodeError):
        return False
    return True


def output_of(*command: str, stdin: str = "", timeout: float = 180.0) -> str:
    """Run *command*; its output. Raises UnsupportedError with the last line of its complaint.

    It runs in a session of its own, and an interrupt waits until it has ended, so that undoing a fault is not interrupted.
    """
    if not shutil.which(command[0]):
        raise UnsupportedError(f"{command[0]} is not installed")
    pipe, interrupted = subprocess.PIPE, False
    with subprocess.Popen(  # noqa: S603 - commands of ours
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            output, complaint = process.communicate(stdin, timeout)
        except KeyboardInterrupt:
            interrupted = True
            output, complaint = process.communicate(None, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise UnsupportedError(f"{' '.join(command[:4])} … timed out after {timeout:g} s") from None
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode:
        lines = (complaint or output).strip().splitlines() or ["no reason given"]
        raise UnsupportedError(f"{' '.join(command[:6])} … failed: {lines[-1]}")
    return output
