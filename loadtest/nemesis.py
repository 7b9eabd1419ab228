"""What breaks things on schedule: it notes what it did, and undoes every fault that stands, whatever happens."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import msgspec

from loadtest.targets import Target


class Fault(msgspec.Struct, frozen=True):
    """Something that was broken: one word, a sentence, and from when to when, in seconds since the run began.

    *replicas* is how many there are at full strength from then on.
    """

    kind: str
    what: str
    began: float
    ended: float
    replicas: int


class ScenarioRun:
    """One performance of a scenario against *target*.

    It lasts *seconds* at least, and until *enough()*; *recovery* is the time without a fault after each one, in seconds. A
    failure in another thread is given to `fail`, and raised here.
    """

    def __init__(
        self,
        target: Target,
        seconds: float,
        epoch: float,
        random: Random,
        *,
        recovery: float = 5.0,
        enough: Callable[[], bool] = lambda: True,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.target, self.seconds, self.random, self.recovery = target, seconds, random, recovery
        self.replicas = len(target.replicas())
        self.faults: list[Fault] = []
        self._epoch, self._enough, self._tell = epoch, enough, tell
        self._failed = threading.Event()
        self._failure: Exception | None = None
        self._victims: list[str] = []

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._epoch

    def goes_on(self) -> bool:
        """Whether there is time for one more fault, or too few requests so far."""
        return self.now() < self.seconds - self.recovery or not self._enough()

    def waits(self, seconds: float) -> None:
        """Let *seconds* pass. Raises what `fail` was given."""
        if self._failed.wait(seconds) and self._failure:
            raise self._failure

    def fail(self, error: Exception) -> None:
        """Have `waits` raise *error*: the run cannot go on."""
        self._failure = error
        self._failed.set()

    def victim(self) -> str:
        """A replica that is ready: the one started anew the fewest times, and not hit for the longest time.

        Kubernetes lets a container wait longer before each new start.
        """
        ready = self.target.replicas()
        last = {name: place for place, name in enumerate(self._victims)}
        chosen = min(ready, key=lambda replica: (replica.restarts, last.get(replica.name, -1), replica.name))
        self._victims.append(chosen.name)
        return chosen.name

    @contextmanager
    def fault(self, kind: str, what: str, replicas: int | None = None) -> Iterator[None]:
        """Note that *what* is broken while the block runs; with so many *replicas*, if they are not as many as at first."""
        began = self.now()
        self._tell(what)
        try:
            yield
        finally:
            self.faults.append(Fault(kind, what, round(began, 3), round(self.now(), 3), replicas or self.replicas))
            self._tell(f"over: {what}")
