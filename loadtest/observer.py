"""What is observed during a run: what the replicas say of their catalogue, and the rows of the users as they come."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import httpx
import msgspec

from apidex.terminal import counted
from loadtest.record import RequestRecord, Tail
from loadtest.system import every

_OBSERVE_EVERY = 0.5
_TELL_EVERY = 5.0


class Observation(msgspec.Struct, frozen=True):
    """What /v1/catalogue of a replica said, *asked* at a moment of the run and whole *at* another."""

    asked: float
    at: float
    replica: str
    version: str
    state: Literal["fresh", "stale", "bundled", "unreadable"]
    age: float
    max_age: float
    last_failure: str


class Observer:
    """Asks the replicas, whichever answers, for the state of their catalogue."""

    def __init__(self, host: str, epoch: float) -> None:
        self._host, self._epoch = host, epoch
        self.observations: list[Observation] = []

    def running(self) -> AbstractContextManager[None]:
        """Asks while the block runs."""
        return every(_OBSERVE_EVERY, self._ask)

    def _ask(self) -> None:
        asked = time.monotonic() - self._epoch
        try:
            answer = httpx.get(f"{self._host}/v1/catalogue", headers={"connection": "close"}, timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError:
            return  # the users count failures
        at = time.monotonic() - self._epoch
        try:
            said = answer.json()
            failure = (said["upstream"]["last_failure"] or {}).get("reason", "")
            facts = (said["served_by"], said["version"], said["state"], said["age"], said["max_age"], failure)
        except (ValueError, KeyError, TypeError, AttributeError):
            facts = ("", "", "unreadable", 0.0, 0.0, "")
        self.observations.append(Observation(round(asked, 3), round(at, 3), *facts))


class Progress:
    """Reads the rows as they come, and reports progress, and once what *overtime* says of the seconds so far."""

    def __init__(
        self, folder: Path, epoch: float, tell: Callable[[str], None], overtime: Callable[[float], str] = lambda _: ""
    ) -> None:
        self.requests: list[RequestRecord] = []
        self._folder, self._epoch, self._tell = folder, epoch, tell
        self._tails: dict[Path, Tail] = {}
        self._told, self._overtime, self._overtime_told = 0, overtime, False

    def look(self) -> int:
        """Read new rows; their number so far. Each of Locust's workers writes a file."""
        for path in self._folder.glob("rows*.csv"):
            self.requests.extend(self._tails.setdefault(path, Tail(path)).rows())
        return len(self.requests)

    def event(self, what: str) -> None:
        """Report an event."""
        self._tell(f"{time.monotonic() - self._epoch:6.1f} s  {what}")

    def running(self) -> AbstractContextManager[None]:
        """Reports while the block runs."""
        return every(_TELL_EVERY, self._tell_more)

    def _tell_more(self) -> None:
        overtime = self._overtime(time.monotonic() - self._epoch)
        if overtime and not self._overtime_told:
            self.event(overtime)
            self._overtime_told = True
        self.look()
        recent, self._told = self.requests[self._told :], len(self.requests)
        if not recent:
            self.event("no answers")
            return
        latencies = sorted(request.latency for request in recent)
        failed = sum(bool(request.failure) for request in self.requests)
        replicas = len({request.replica for request in recent if request.replica})
        p99 = latencies[int(len(latencies) * 0.99)] * 1000
        self.event(
            f"{len(self.requests):>7} requests, {len(recent) / _TELL_EVERY:.0f}/s, {failed} failed; "
            f"p99 {p99:.0f} ms; {counted(replicas, 'replica')}"
        )
