"""What a scenario acts through: it injects faults, records them, and undoes every one in any case."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from random import Random

from loadtest.faults import MOMENT, AnyFault, FaultRecord
from loadtest.faults.replicas import Scale
from loadtest.system import wait_for
from loadtest.targets.target import Target


class ScenarioRun:
    """One run of a scenario against *target*, for *seconds* at least and until *enough()*. Moments are seconds since *epoch*.

    *active* are the faults that are not over, each with the moment at which it began.
    *recovery* is the time without a fault after each one, in seconds. `fail` has `wait` raise what went wrong in another thread.
    """

    recovery = 5.0

    def __init__(
        self,
        target: Target,
        seconds: float,
        epoch: float,
        random: Random,
        *,
        enough: Callable[[], bool] = lambda: True,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.target, self.seconds, self.random = target, seconds, random
        self.replicas = len(target.replicas())
        self.faults: list[FaultRecord] = []
        self.active: list[tuple[float, AnyFault]] = []
        self._epoch, self._enough, self._tell = epoch, enough, tell
        self._failed = threading.Event()
        self._failure: BaseException | None = None
        self._victims: list[str] = []
        self._round = 0

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._epoch

    def continues(self) -> bool:
        """Whether there is time for one more fault, or there was none yet, or there were too few requests so far."""
        return self.now() < self.seconds - self.recovery or not self.faults or not self._enough()

    def wait(self, seconds: float) -> None:
        """Let *seconds* pass. Raises what `fail` was given."""
        if self._failed.wait(seconds) and self._failure:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """Have `wait` raise *error*: the run cannot go on."""
        self._failure = error
        self._failed.set()

    def victim(self) -> str:
        """A ready replica: the one with the fewest restarts, and not hit for the longest time.

        Kubernetes delays each further restart of a container for longer.
        """
        last = {name: place for place, name in enumerate(self._victims)}
        wait_for(60, "a ready replica", lambda: bool(self.target.replicas()))
        chosen = min(
            self.target.replicas(), key=lambda replica: (replica.restarts, last.get(replica.name, -1), replica.name)
        )
        self._victims.append(chosen.name)
        return chosen.name

    @contextmanager
    def injected(self, fault: AnyFault) -> Iterator[None]:
        """Inject *fault*, undo it after the block, and record it."""
        began = self.now()
        self.active.append((began, fault))
        try:
            self._tell(str(fault))  # an interrupt may come as soon as it is read
            with fault.inject(self.target) or nullcontext():
                yield
        finally:
            replicas = fault.replicas if isinstance(fault, Scale) else self.replicas
            ended = self.now()
            self.active.remove((began, fault))
            self.faults.append(FaultRecord(fault, round(began, 3), round(ended, 3), replicas, self._round))
            self.faults.sort(key=lambda record: record.began)
            if not fault.at_once or ended - began >= MOMENT:
                self._tell(f"over: {fault}")

    def inject(self, fault: AnyFault, seconds: float = 0.0) -> None:
        """Inject *fault* for *seconds*, beside the time that it takes by itself."""
        with self.injected(fault):
            self.wait(seconds)

    def overlap(self, *plans: Callable[[], object]) -> None:
        """Follow *plans* at the same time: what they inject is one round. If one cannot go on, none does."""
        self._round += 1
        with ThreadPoolExecutor(len(plans)) as pool:
            try:
                for followed in as_completed([pool.submit(plan) for plan in plans]):
                    followed.result()
            except BaseException as error:
                self.fail(error)
                pool.shutdown()
                self._failed.clear()
                raise
