"""From the upstream to a checked Snapshot, or to the reason for a failure. Knows nothing of Redis and the fleet."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from apidex.errors import CatalogueError, UpstreamError
from apidex.event_loop import running
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication.clock import Clock
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import FetchFailure, FetchOutcome, RefreshStats, broken
from apidex.replication.upstream import NotModified, Upstream
from apidex.replication.validators import NO_VALIDATORS, Validators

_PROVEN_FOR = 86_400.0
"""Seconds for which validators from the upstream are used."""

T = TypeVar("T")

Check = Callable[[IndexedCatalogue], Awaitable[bool]]
"""`Guard.check`, bound to the catalogue to compare with."""

Fetch = Callable[[], Awaitable[Snapshot | FetchFailure]]
"""`Fetcher.fetch`, with its arguments bound."""


class Offload(Protocol):
    """Runs a function where it does not block the event loop."""

    def __call__(self, function: Callable[..., T], /, *arguments: object) -> Awaitable[T]:
        """Return what *function* returns."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """The upstream gave *validators* with the catalogue of this *digest*, to this replica, at the moment *at*."""

    digest: str
    validators: Validators
    at: float


@dataclass
class Fetcher:
    """Asks *upstream*, and checks its answer.

    Only validators that this replica received from the upstream for exactly this catalogue are sent, for a day, and until a fetch
    fails: with validators from Redis, the upstream could confirm a forged catalogue for ever.

    *build* makes a catalogue of the answer's bytes, or raises CatalogueError.
    """

    upstream: Upstream
    build: Callable[[bytes | bytearray], IndexedCatalogue]
    clock: Clock
    offload: Offload
    stats: RefreshStats
    _proof: _Proof | None = field(default=None, init=False)

    async def fetch(
        self,
        current: Snapshot,
        stamp: int,
        check: Check,
        *,
        poll: Callable[[], Awaitable[None]],
        pause: Callable[[], float],
    ) -> Snapshot | FetchFailure:
        """Return what the upstream has: *current* with its validation, or another snapshot under *stamp*.

        Polls continue during the fetch, so that a slow upstream does not delay the adoption of other catalogues. *poll* is called
        after each *pause*. *check* raises CatalogueError for an answer that is held back.
        """
        async with running(self._fetch(current, stamp, check)) as fetching:
            while not (await asyncio.wait({fetching}, timeout=pause()))[0]:
                await poll()
            return fetching.result()

    async def _fetch(self, current: Snapshot, stamp: int, check: Check) -> Snapshot | FetchFailure:
        proof, self._proof = self._proof, None  # the condition may have caused a failure, so the next request has none
        try:
            outcome, found = await self._fetch_checked(current, stamp, check, self._validators(current, proof))
        except UpstreamError as error:
            return FetchFailure("failed", error.reason, str(error), error.retry_after, error.public)
        except CatalogueError as error:
            return FetchFailure("refused", error.reason, str(error))
        except Exception as error:
            return broken(error)
        is_condition_met = outcome == "not_modified"
        self._proof = (
            proof if is_condition_met else _Proof(found.catalogue.digest, found.validators, found.validated_at)
        )
        self.stats.fetched(outcome, found.version)
        return found

    def trust(self, copy: Snapshot) -> None:
        """Accept the validators of a *copy* that this replica has written itself."""
        self._proof = _Proof(copy.catalogue.digest, copy.validators, self.clock.steady())

    def _validators(self, current: Snapshot, proof: _Proof | None) -> Validators:
        """Return the validators that this replica received for *current*."""
        if proof is None or proof.digest != current.catalogue.digest or current.source != self.upstream.source:
            return NO_VALIDATORS
        return proof.validators if self.clock.steady() - proof.at < _PROVEN_FOR else NO_VALIDATORS

    async def _fetch_checked(
        self, current: Snapshot, stamp: int, check: Check, validators: Validators
    ) -> tuple[FetchOutcome, Snapshot]:
        # Stamp and moment are those before the request: a replica that is paused during it has nothing newer to offer than one
        # that asks later.
        began, source = self.clock.steady(), self.upstream.source
        answer = await self.upstream.fetch(validators)
        if isinstance(answer, NotModified):
            return "not_modified", current.confirmed_by(replace(current, validated_at=began, validators=validators))
        building = self.clock.steady()
        built = await self.offload(self.build, answer.body)
        took = self.clock.steady() - building
        labels = {"validators": answer.validators, "size_checked": await check(built), "build_seconds": took}
        found = Snapshot.of(built, stamp, source, began, **labels)
        return ("unchanged", current.confirmed_by(found)) if current.is_confirmed_by(found) else ("changed", found)
