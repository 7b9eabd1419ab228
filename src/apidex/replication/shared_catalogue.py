"""The fleet's catalogue for a replica: translates bytes to snapshots, and Redis's clock to the steady clock."""

from dataclasses import dataclass, replace
from datetime import timedelta

from apidex.catalogue import codec
from apidex.errors import CodecError, StoreError
from apidex.indexing.builder import IndexedCatalogue, from_payload
from apidex.replication.clock import Clock
from apidex.replication.fetcher import Offload
from apidex.replication.metadata import StoredCatalogue, StoredState, milliseconds, newest_possible_stamp
from apidex.replication.schedule import Schedule
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import PublishOutcome, RefreshStats
from apidex.replication.store import NO_PAYLOAD, Payload, RedisStore

_RESOLUTION = 1e-5
"""The precision of a moment since 1970, in seconds."""


@dataclass
class SharedCatalogue:
    """Reads and writes what is in *store*. Every coroutine raises StoreError.

    *max_bytes* bounds a catalogue. *newest_stamp* is the newest stamp seen; *stored* and *override* are what
    Redis held at the last poll. *offset* is Redis's clock minus the steady clock, 0 before the first poll, with an uncertainty of
    *offset_width* seconds. It is from the poll that was answered fastest, until a later poll contradicts it.
    """

    store: RedisStore
    stats: RefreshStats
    schedule: Schedule
    clock: Clock
    offload: Offload
    max_bytes: int
    newest_stamp: int
    stored: StoredCatalogue | None = None
    override: str = ""
    offset: float = 0.0
    offset_width: float = 0.0

    def steady_time(self, redis_time: float) -> float:
        """Return the moment *redis_time* on the steady clock, not later than now."""
        return min(redis_time - self.offset, self.clock.steady())

    def new_stamp(self) -> int:
        """Return a stamp above all that were seen: the wall clock, if Redis's clock allows it."""
        stamp = milliseconds(self.clock.wall())
        if self.offset:
            stamp = min(stamp, newest_possible_stamp(self.clock.steady() + self.offset))
        return max(stamp, self.newest_stamp + 1)

    async def read(self) -> StoredState:
        """Return what Redis holds."""
        began = self.clock.steady()
        state = self._learn(await self.store.read(), began)
        if state.unreadable:
            self.stats.stored_unreadable(CodecError(state.unreadable, NO_PAYLOAD), state.version)
        return state

    def _learn(self, state: StoredState, began: float) -> StoredState:
        """Remember the difference between Redis's clock and the steady one, and what the fleet knows."""
        ended = self.clock.steady()
        offset, width = state.now - (began + ended) / 2, ended - began
        # the ranges do not overlap: one of the clocks was set, or runs faster
        is_contradicted = abs(offset - self.offset) > (width + self.offset_width) / 2 + _RESOLUTION
        if width < self.offset_width or is_contradicted:
            self.offset, self.offset_width = offset, width
        if state.override != self.override:  # a fetch that failed may succeed with the operator's override
            self.schedule.own_retry_at = 0.0
        self.stored, self.override = state.catalogue, state.override
        if state.catalogue is not None:
            self.newest_stamp = max(self.newest_stamp, state.catalogue.stamp)
        self.schedule.retry_at = state.retry_at - self.offset if state.retry_at else 0.0
        return state

    def activation_time(self, state: StoredState) -> float:
        """Return when what *state* holds is activated, on the steady clock."""
        return state.activate_at - self.offset

    async def load(self, decided: StoredState) -> tuple[StoredState, Snapshot | None]:
        """Load the stored catalogue; None for one that is not the one *decided* on, or cannot be read."""
        began = self.clock.steady()
        loaded, payload = await self.store.load()
        state = self._learn(loaded, began)
        stored = state.catalogue
        if stored is None or stored.version != decided.version:
            return state, None
        try:
            return state, await self._snapshot(stored, payload)
        except CodecError as error:
            self.stats.stored_unreadable(error, stored.version)
            return replace(state, unreadable=error.reason), None

    async def load_before(self) -> Snapshot | None:
        """Load the previous catalogue; None if it does not exist, or cannot be read."""
        state, payload = await self.store.load_before()
        try:
            return await self._snapshot(state.catalogue, payload) if state.catalogue else None
        except CodecError:
            return None

    async def _snapshot(self, stored: StoredCatalogue, payload: Payload | CodecError) -> Snapshot:
        """Raises CodecError."""
        began = self.clock.steady()
        built = await self._decode(stored, payload)
        took, validated_at = self.clock.steady() - began, self.steady_time(stored.validated_at)
        labels = {"size_checked": stored.size_checked, "origin": "redis", "build_seconds": took}
        return Snapshot.of(built, stored.stamp, stored.source, validated_at, validators=stored.validators, **labels)

    async def _decode(self, stored: StoredCatalogue, payload: Payload | CodecError) -> IndexedCatalogue:
        if isinstance(payload, CodecError):
            raise payload
        built = await self.offload(from_payload, payload, self.max_bytes)
        catalogue = built.parsed.catalogue
        if (catalogue.digest, len(catalogue)) != (stored.digest, stored.entries):
            raise CodecError("digest", "the digest or the size of the payload differs from that in the metadata hash")
        return built

    async def publish(self, snapshot: Snapshot, expected: int | None, lead: timedelta) -> float | None:
        """Publish *snapshot*, to be activated after *lead*, if the stored stamp is *expected*.

        Return the moment of activation on the steady clock; None if the fence rejected it.
        """
        payload = await self.offload(codec.to_bytes, snapshot.parsed)
        try:
            activate_at = await self.store.publish(self.describe(snapshot), payload, expected, lead)
        except StoreError:
            self.stats.publish_tried("failed")
            raise
        outcome: PublishOutcome = "published" if activate_at else "fenced"
        self.stats.publish_tried(outcome, version=snapshot.version, expected=expected)
        return activate_at - self.offset if activate_at else None

    async def confirm(self, snapshot: Snapshot) -> bool:
        """Record the validation of *snapshot*, which is stored; return whether it still is."""
        described = self.describe(snapshot)
        return await self.store.confirm(described.stamp, described.validated_at, described.validators)

    def describe(self, snapshot: Snapshot) -> StoredCatalogue:
        """Return what Redis would hold of *snapshot*."""
        content = (snapshot.catalogue.digest, len(snapshot.catalogue), snapshot.size_checked)
        validated_at = snapshot.validated_at + self.offset
        return StoredCatalogue(snapshot.stamp, *content, validated_at, snapshot.source, snapshot.validators)
