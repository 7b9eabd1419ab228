"""From the upstream to a checked Snapshot, or to the reason why there is none. Knows nothing of Redis and of the fleet."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from apidex.errors import CatalogueError, UpstreamError
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication.clock import Clock
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import FetchFailure, FetchOutcome, RefreshStats, broken
from apidex.replication.upstream import NotModified, Upstream
from apidex.replication.validators import NO_VALIDATORS

T = TypeVar("T")


class Offload(Protocol):
    """Runs a function where it does not block the event loop."""

    def __call__(self, function: Callable[..., T], /, *arguments: object) -> Awaitable[T]:
        """Return what *function* returns."""


@dataclass
class Fetcher:
    """Asks *upstream*, and checks its answer.

    *build* makes a catalogue of the answer's bytes, or raises CatalogueError. *min_entries_ratio* is the share of its entries
    that the catalogue must keep from one answer to the next.
    """

    upstream: Upstream
    build: Callable[[bytes], IndexedCatalogue]
    min_entries_ratio: float
    clock: Clock
    offload: Offload
    stats: RefreshStats

    async def fetch(
        self,
        current: Snapshot,
        newest_stamp: int,
        entries_before: Callable[[], int],
        *,
        poll: Callable[[], Awaitable[bool]],
        pause: Callable[[], float],
    ) -> Snapshot | FetchFailure | None:
        """Return what the upstream has: *current* with its validation, or another snapshot under a stamp above *newest_stamp*.

        The polls continue meanwhile, since an upstream that hangs must not keep a replica from what the others have. *poll* is
        called after each *pause*, and None is returned as soon as it says no. *entries_before* is called when the answer is
        there; 0 if unknown.
        """
        fetching = asyncio.create_task(self._fetch(current, newest_stamp, entries_before))
        try:
            while not (await asyncio.wait({fetching}, timeout=pause()))[0]:
                if not await poll():
                    return None
            return fetching.result()
        finally:
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetching

    async def _fetch(
        self, current: Snapshot, newest_stamp: int, entries_before: Callable[[], int]
    ) -> Snapshot | FetchFailure:
        try:
            outcome, found = await self._fetch_checked(current, newest_stamp, entries_before)
        except UpstreamError as error:
            return FetchFailure("failed", error.reason, str(error), error.retry_after, error.public)
        except CatalogueError as error:
            return FetchFailure("refused", error.reason, str(error))
        except Exception as error:
            return broken(error)
        self.stats.fetched(outcome)
        return found

    async def _fetch_checked(
        self, current: Snapshot, newest_stamp: int, entries_before: Callable[[], int]
    ) -> tuple[FetchOutcome, Snapshot]:
        # Stamp and moment are those before the request: a replica that is paused during it has nothing newer to offer than one
        # that asks later.
        began, stamp = self.clock.steady(), max(int(self.clock.wall() * 1000), newest_stamp + 1)
        source = self.upstream.source
        answer = await self.upstream.fetch(current.validators if current.source == source else NO_VALIDATORS)
        if isinstance(answer, NotModified):
            return "not_modified", replace(current, validated_at=began)
        built = await self.offload(self.build, answer.body)
        before, validators = entries_before(), answer.validators
        self._check_size(len(built.parsed.catalogue), before)
        if built.parsed.catalogue.digest == current.catalogue.digest and current.source == source:
            return "unchanged", replace(current, validated_at=began, report=built.parsed.report, validators=validators)
        return "changed", Snapshot.of(built, stamp, source, began, validators=validators, size_checked=before > 0)

    def _check_size(self, entries: int, before: int) -> None:
        if entries < before * self.min_entries_ratio:
            share = f"{self.min_entries_ratio:.0%}"
            raise CatalogueError("shrunk", f"it has {entries} entries, {before} before; at least {share} must remain")
