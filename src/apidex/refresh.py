"""Where everything meets: holds the current Snapshot, follows the upstream, and decides what a failure means.

If a refresh fails, the Snapshot stays. Searches read `Refresher.current` and wait for nothing here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import structlog

from apidex.catalogue import Catalogue
from apidex.clock import Clock
from apidex.errors import ApidexError, CatalogueError, UpstreamError
from apidex.formats import Parsed
from apidex.freshness import Limits, State, due_in, retry_in
from apidex.index import Index
from apidex.snapshot import Snapshot
from apidex.upstream import Fetched, NotModified, Upstream, Validators

log = structlog.get_logger("apidex.refresh")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn left the catalogue as it was: one word for counters, a sentence for people, and when (seconds since 1970)."""

    reason: str
    text: str
    at: float


@dataclass(slots=True)
class Ledger:
    """What came of the turns so far. turns = sum(outcomes); failures of each kind are counted under their reason."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    failed_in_a_row: int = 0
    last_failure: Failure | None = None
    next_turn: float = 0.0


class Refresher:
    """Keeps *current* as fresh as the upstream allows.

    *parse* turns an upstream's bytes into a catalogue, or raises CatalogueError. *keep_share* is the share of its entries
    that a catalogue must keep from one answer to the next.
    """

    def __init__(
        self,
        upstream: Upstream,
        starter: Snapshot,
        *,
        parse: Callable[[bytes], Parsed],
        limits: Limits,
        keep_share: float,
        clock: Clock,
        random: Random,
    ) -> None:
        self.current = starter
        self.limits = limits
        self.clock = clock
        self.ledger = Ledger()
        self.upstream = upstream
        self._parse, self._keep_share, self._random = parse, keep_share, random
        self._validators = Validators()
        self._first_turn_over = asyncio.Event()

    def age(self) -> float:
        """Seconds since the upstream vouched for the current catalogue."""
        return self.current.age(self.clock.steady())

    def state(self) -> State:
        """What the current catalogue is, at this moment."""
        return self.limits.state(self.age(), bundled=self.current.bundled)

    async def run(self) -> None:
        """Refresh when it is time, for ever. Ends only by being cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(self.ledger.next_turn - self.clock.steady())

    async def first_turn(self, within: timedelta) -> bool:
        """Wait until the first turn is over, but not longer than *within*; whether it is."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._first_turn_over.wait()
        except TimeoutError:
            return False
        return True

    async def turn(self) -> None:
        """Ask the upstream once, adopt what it has, and note when to ask again. Raises nothing but cancellation."""
        began = self.clock.steady()
        retry_after = None
        try:
            outcome = await self._refresh(began)
        except (UpstreamError, CatalogueError) as error:
            outcome = self._failed(error)
            retry_after = error.retry_after if isinstance(error, UpstreamError) else None
        except Exception as error:  # a fault of ours must not end the task that keeps the catalogue fresh
            log.exception("refresh.broken")
            outcome = self._failed(CatalogueError("internal", f"a fault in Apidex: {error!r}"))
        self.ledger.outcomes[outcome] += 1
        self.ledger.next_turn = self.clock.steady() + self._wait(retry_after).total_seconds()
        self._first_turn_over.set()

    def _wait(self, retry_after: float | None) -> timedelta:
        failures, max_age, jitter = self.ledger.failed_in_a_row, self.limits.max_age, self._random.random()
        if failures:
            return retry_in(failures, max_age, jitter, retry_after)
        return max(due_in(self.age(), max_age, jitter), timedelta(milliseconds=100))

    async def _refresh(self, began: float) -> str:
        stamp = self._next_stamp()
        answer = await self.upstream.fetch(self._validators)
        if isinstance(answer, NotModified):
            outcome = "not_modified"
            self.current = replace(self.current, checked=began)
        else:
            outcome = await self._take(answer, began, stamp)
            self._validators = answer.validators
        self.ledger.failed_in_a_row = 0
        log.info(f"upstream.{outcome}", version=self.current.version, entries=len(self.current.catalogue))
        return outcome

    async def _take(self, answer: Fetched, began: float, stamp: int) -> str:
        """Check and adopt what was fetched. Raises CatalogueError when it is refused."""
        parsed = await asyncio.to_thread(self._parse, answer.body)
        self._refuse_if_shrunk(parsed.catalogue)
        if parsed.catalogue.digest == self.current.catalogue.digest and self.current.source == self.upstream.source:
            self.current = replace(self.current, checked=began, report=parsed.report)
            return "unchanged"
        index = await asyncio.to_thread(Index.build, parsed.catalogue.names())
        self.current = Snapshot(parsed.catalogue, index, parsed.report, stamp, self.upstream.source, began)
        return "adopted"

    def _refuse_if_shrunk(self, catalogue: Catalogue) -> None:
        before, now = len(self.current.catalogue), len(catalogue)
        if self.current.source == self.upstream.source and now < before * self._keep_share:
            raise CatalogueError(
                "shrunk",
                f"it has {now} entries where the one before has {before}; at least {self._keep_share:.0%} must be left",
            )

    def _next_stamp(self) -> int:
        """A hybrid logical clock, in milliseconds: this machine's time, yet always after the newest stamp seen."""
        return max(int(self.clock.wall() * 1000), self.current.stamp + 1)

    def _failed(self, error: ApidexError) -> str:
        refused = isinstance(error, CatalogueError)
        reason = error.reason if isinstance(error, CatalogueError) else getattr(error, "kind", "unknown")
        self.ledger.failures[reason] += 1
        self.ledger.failed_in_a_row += 1
        self.ledger.last_failure = Failure(reason, str(error), self.clock.wall())
        event = "upstream.refused" if refused else "upstream.failed"
        log.warning(
            event, reason=reason, detail=str(error), state=self.state(), failed_in_a_row=self.ledger.failed_in_a_row
        )
        return "refused" if refused else "failed"
