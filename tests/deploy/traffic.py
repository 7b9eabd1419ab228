"""Steady load on this machine, by clients that count whatever goes wrong and try nothing twice.

A kept-alive client asks again on the connection that it has, as long as neither side has said that it closes it; one that was
closed while nothing was asked is replaced, which any client does. Everything else is a failure: refused, reset, cut short,
late, another status than 200, another body than the one expected.

Every connection comes from an address of its own, as if from many machines. One machine soon uses a port again, and a balancer
that tracks connections would send the new one after the old: to a node that is lost, for as long as it remembers the unanswered
SYN (two minutes in Linux).
"""

import asyncio
import errno
import ipaddress
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, pairwise

PATHS = ("/Cat", "/a", "/API", "/nothing%20has%20this%20name", "/Weather")
PATIENCE = 10.0


@dataclass(frozen=True)
class Answer:
    """One request that was answered as it should be."""

    at: float
    seconds: float
    served_by: str
    kept_alive: bool


@dataclass(frozen=True)
class Failure:
    """One request that was not."""

    at: float
    why: str
    kept_alive: bool


@dataclass
class Traffic:
    """What came of the requests so far. Times are `time.monotonic()`."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def shares(self, *, since: float = 0.0, kept_alive: bool | None = None) -> dict[str, float]:
        """The part of the answers that each replica gave."""
        counts = Counter(
            answer.served_by
            for answer in self.answers
            if answer.at >= since and kept_alive in (None, answer.kept_alive)
        )
        return {name: count / counts.total() for name, count in counts.most_common()}

    def pause_of(self, replica: str) -> float:
        """The longest time between two answers of *replica*."""
        times = sorted(answer.at for answer in self.answers if answer.served_by == replica)
        return max((later - sooner for sooner, later in pairwise(times)), default=float("inf"))

    def figures(self) -> str:
        seconds = sorted(answer.seconds for answer in self.answers) or [0.0]
        cuts = statistics.quantiles(seconds, n=1000) if len(seconds) > 1 else seconds * 999
        why = ", ".join(f"{count} {why}" for why, count in Counter(failure.why for failure in self.failures).items())
        return (
            f"{len(self.answers) + len(self.failures)} requests in {time.monotonic() - self.began:.0f} s, "
            f"{len(self.failures)} failed{f' ({why})' if why else ''}; "
            f"{cuts[499] * 1e3:.1f} ms median, {cuts[989] * 1e3:.0f} ms for 99 %, {seconds[-1] * 1e3:.0f} ms at most; "
            f"{len(self.shares())} replicas answered"
        )


@contextmanager
def load(
    address: tuple[str, int],
    *,
    kept_alive: int = 8,
    new: int = 4,
    interval: float = 0.1,
    host: str = "apidex",
    expected: Mapping[str, bytes] | None = None,
) -> Iterator[Traffic]:
    """Have clients ask *address* while the block runs, each every *interval* seconds; *expected* holds bodies by path."""
    check_that_it_is_this_machine(address[0])
    traffic, ended = Traffic(), threading.Event()
    clients = [
        _Client(address, host, dict(expected or {}), traffic, keep) for keep in [True] * kept_alive + [False] * new
    ]

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.run(ended, interval, interval * number / len(clients)))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield traffic
    finally:
        ended.set()
        thread.join()


def check_that_it_is_this_machine(host: str) -> None:
    """Load is for one's own machine. Raises ValueError for any other."""
    if not ipaddress.ip_address(socket.gethostbyname(host)).is_loopback:
        raise ValueError(f"{host} is not this machine")


_NUMBERS = count()


def fresh_address() -> str:
    """An address of this machine that no connection came from, in some millions."""
    number = next(_NUMBERS)
    return f"127.{number // 62_500 % 100 + 100}.{number // 250 % 250}.{number % 250 + 1}"


class _Client:
    def __init__(self, address, host, expected, traffic, keep) -> None:
        self._address, self._expected, self._traffic, self._keep = address, expected, traffic, keep
        more = "" if keep else "connection: close\r\n"
        self._head = f"GET %s HTTP/1.1\r\nhost: {host}\r\n{more}\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, ended: threading.Event, interval: float, first: float) -> None:
        """Ask until *ended*. Who was kept waiting skips what he missed: these are clients, not a queue."""
        await asyncio.sleep(first)
        for number in range(10**9):
            if ended.is_set():
                break
            began = time.monotonic()
            await self._ask(PATHS[number % len(PATHS)])
            await asyncio.sleep(max(0.0, began + interval - time.monotonic()))
        self._close()

    async def _ask(self, path: str) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                status, served_by, body = await self._exchange(path)
        except TimeoutError:
            why = "late"
        except asyncio.IncompleteReadError as error:
            why = "cut short" if error.partial else "closed unanswered"
        except OSError as error:
            why = errno.errorcode.get(error.errno, type(error).__name__)
        else:
            if status == 200 and body == self._expected.get(path, body):
                self._traffic.answers.append(Answer(began, time.monotonic() - began, served_by, self._keep))
                return
            why = "wrong body" if status == 200 else f"status {status}"
        self._close()
        self._traffic.failures.append(Failure(began, why, self._keep))

    async def _exchange(self, path: str) -> tuple[int, str, bytes]:
        if self._reader is None or self._reader.at_eof() or self._writer.is_closing():
            self._close()
            self._reader, self._writer = await asyncio.open_connection(*self._address, local_addr=(fresh_address(), 0))
        self._writer.write((self._head % path).encode())
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close" or not self._keep:
            self._close()
        return int(first.split()[1]), headers.get("x-served-by", ""), body

    def _close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None
