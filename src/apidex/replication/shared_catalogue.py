"""The fleet's catalogue as a replica sees it: snapshots and its own steady clock, where Redis has bytes and another clock."""

from dataclasses import dataclass, replace
from datetime import timedelta

from apidex.catalogue import codec
from apidex.errors import CodecError, StoreError
from apidex.indexing.builder import IndexedCatalogue, from_payload
from apidex.replication.clock import Clock
from apidex.replication.fetcher import Offload
from apidex.replication.metadata import StoredCatalogue, StoredState
from apidex.replication.schedule import Schedule
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import RefreshStats
from apidex.replication.store import Payload, RedisStore


@dataclass
class SharedCatalogue:
    """Reads and writes what is in *store*. Every coroutine raises StoreError.

    *max_bytes* bounds what a payload may inflate to. *newest_stamp* is the newest stamp seen; *last_stored* is what was stored
    last, even if it could not be read. *offset* is Redis's clock less the steady one, as of the last poll.
    """

    store: RedisStore
    stats: RefreshStats
    schedule: Schedule
    clock: Clock
    offload: Offload
    max_bytes: int
    newest_stamp: int
    last_stored: StoredCatalogue | None = None
    offset: float = 0.0

    def steady_time(self, redis_time: float) -> float:
        """Return the moment *redis_time* on the steady clock, not later than now."""
        return min(redis_time - self.offset, self.clock.steady())

    async def read(self) -> StoredState:
        """Return what Redis holds."""
        began = self.clock.steady()
        return self._learn(await self.store.read(), began)

    def _learn(self, state: StoredState, began: float) -> StoredState:
        """Take note of how Redis's clock stands to the steady one, and of what the fleet knows."""
        self.offset = state.now - (began + self.clock.steady()) / 2
        if state.catalogue is not None:
            self.last_stored = state.catalogue
            self.newest_stamp = max(self.newest_stamp, state.catalogue.stamp)
        self.schedule.retry_at = state.retry_at - self.offset if state.retry_at else 0.0
        self.stats.redis_reached()
        return state

    async def load(self, decided: StoredState) -> tuple[StoredState, Snapshot | None]:
        """Load the stored catalogue; None for one that is not the one *decided* on, or cannot be read."""
        began = self.clock.steady()
        loaded, payload = await self.store.load()
        state = self._learn(loaded, began)
        stored = state.catalogue
        if stored is None or stored.version != decided.version:
            return state, None
        try:
            built = await self._decode(stored, payload)
        except CodecError as error:
            self.stats.redis_failed(StoreError(error.reason, str(error)))
            return replace(state, unreadable=error.reason), None
        labels = {"validators": stored.validators, "size_checked": stored.size_checked}
        validated_at = self.steady_time(stored.validated_at)
        return state, Snapshot.of(built, stored.stamp, stored.source, validated_at, **labels)

    async def _decode(self, stored: StoredCatalogue, payload: Payload | None) -> IndexedCatalogue:
        if payload is None:
            raise CodecError("missing", "Redis has a metadata hash but no payload")
        built = await self.offload(from_payload, payload, self.max_bytes)
        if built.parsed.catalogue.digest != stored.digest:
            raise CodecError("digest", "the digest of the payload differs from the one in the metadata hash")
        return built

    async def publish(self, snapshot: Snapshot, expected: int | None) -> bool:
        """Publish *snapshot* in place of the catalogue with the stamp *expected*; return whether the fence let it pass."""
        payload = await self.offload(codec.to_bytes, snapshot.parsed)
        try:
            done = await self.store.publish(self.describe(snapshot), payload, expected, timedelta(0))
        except StoreError:
            self.stats.publish_tried("failed")
            raise
        self.stats.publish_tried("published" if done else "fenced", version=snapshot.version, expected=expected)
        return done

    async def confirm(self, snapshot: Snapshot) -> bool:
        """Record the validation of *snapshot*, which is stored; return whether it still is."""
        described = self.describe(snapshot)
        return await self.store.confirm(described.stamp, described.validated_at, described.validators)

    def describe(self, snapshot: Snapshot) -> StoredCatalogue:
        """Return what Redis would hold of *snapshot*."""
        content = (snapshot.catalogue.digest, len(snapshot.catalogue), snapshot.size_checked)
        validated_at = snapshot.validated_at + self.offset
        return StoredCatalogue(snapshot.stamp, *content, validated_at, snapshot.source, snapshot.validators)
