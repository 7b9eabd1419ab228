"""Where everything meets: holds the current Snapshot, keeps it the fleet's and the upstream's, and decides what a failure means.

If anything fails, the Snapshot stays. Searches read `Refresher.current` and wait for nothing here.

A turn, every few seconds:
1. Read what Redis has. Where it is not the current catalogue, agree: the one that the upstream vouched for last wins, is adopted
   or published, and never under an older stamp than one that this replica has shown.
2. Where the stored is old, take the lease, look once more, ask the upstream, publish past the fence, adopt what was published.
3. Where Redis does not answer, or cannot be written, do without it: ask the upstream alone, seldom, and adopt.
"""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Protocol, TypeVar

import structlog

from apidex.catalogue import codec
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.formats import Report
from apidex.errors import ApidexError, CatalogueError, CodecError, StoreError, UpstreamError
from apidex.indexing.builder import IndexedCatalogue, from_payload
from apidex.replication.clock import Clock
from apidex.replication.freshness import FreshnessPolicy, State, backoff_delay, standalone_interval
from apidex.replication.snapshot import Snapshot, SnapshotHistory
from apidex.replication.store import CatalogueStore, Payload, StoredCatalogue, StoredState
from apidex.replication.upstream import NotModified, Upstream
from apidex.replication.validators import NO_VALIDATORS
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex

log = structlog.get_logger("apidex.refresh")

T = TypeVar("T")

_HURRY = 0.2
"""Seconds between the polls of a replica that has nothing but the starter catalogue, while another fetches."""


class Offload(Protocol):
    """Runs a function where it does not hold up the event loop."""

    def __call__(self, function: Callable[..., T], /, *arguments: object) -> Awaitable[T]:
        """What *function* gives back."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was left as it was: one word for counters, a sentence for people, and when (seconds since 1970)."""

    reason: str
    text: str
    at: float


def _zero(*keys: str) -> Callable[[], "Counter[str]"]:
    """Makes a Counter that shows its usual keys from the start."""
    return lambda: Counter(dict.fromkeys(keys, 0))


@dataclass(slots=True)
class RefreshStats:
    """What came of everything so far, counted once here for the metrics, `/v1/catalogue` and the log.

    Times at the upstream = sum(refreshes) - fenced; those that failed are counted in *failures* under their reason too.
    """

    refreshes: Counter[str] = field(
        default_factory=_zero("changed", "unchanged", "not_modified", "fenced", "failed", "refused")
    )
    failures: Counter[str] = field(default_factory=_zero())
    redis_errors: Counter[str] = field(default_factory=_zero("connect", "timeout", "oom"))
    leases: Counter[str] = field(default_factory=_zero("taken", "held_by_another", "lost"))
    publications: Counter[str] = field(default_factory=_zero("published", "fenced", "failed"))
    adoptions: Counter[str] = field(default_factory=_zero("upstream", "redis"))
    last_failure: Failure | None = None
    last_redis_error: Failure | None = None
    failed_in_a_row: int = 0
    redis_reachable: bool = False


def _is_cancelled() -> bool:
    """Whether this task was told to end.

    The CancelledError itself can get lost: before Python 3.12 asyncio.wait_for, which both Redis clients use, gives a result
    in its place if it has one just then.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _parts(prepared: IndexedCatalogue) -> tuple[Catalogue, NameIndex, SearchIndex, Report]:
    """What a Snapshot begins with."""
    return prepared.parsed.catalogue, prepared.index, prepared.search, prepared.parsed.report


class Refresher:
    """Keeps *current* as fresh as the upstream allows, and the same as everywhere in the fleet.

    *build* makes a catalogue of the upstream's bytes or raises CatalogueError. *min_entries_ratio* is the share of entries that a
    catalogue must keep from one answer to the next. *max_bytes* bounds what a payload may inflate to, in bytes.
    """

    def __init__(
        self,
        store: CatalogueStore,
        upstream: Upstream,
        starter: Snapshot,
        *,
        build: Callable[[bytes], IndexedCatalogue],
        policy: FreshnessPolicy,
        min_entries_ratio: float,
        max_bytes: int,
        clock: Clock,
        random: Random,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self.current, self.history = starter, SnapshotHistory()
        self.store, self.upstream, self.policy, self.clock = store, upstream, policy, clock
        self.stats = RefreshStats()
        self._build, self._min_entries_ratio, self._max_bytes = build, min_entries_ratio, max_bytes
        self._random, self._offload = random, offload
        self._offset = 0.0  # Redis's clock less the steady one, as of the last poll
        self._next_attempt_at = 0.0  # the upstream, on the steady clock, by this replica's own reckoning
        self._retry_at = 0.0  # the same by the fleet's
        self._newest_stamp = starter.stamp
        self._last_stored: StoredCatalogue | None = None  # the last one, even if it could not be read
        self._misses_in_a_row = 0  # of Redis
        self._redis_trouble = ""  # the kind of its last error, until a turn goes well
        self._unreadable: str | None = None  # the version of the stored that was dropped last
        self._first_load_done = asyncio.Event()

    def age(self) -> float:
        """Seconds since the upstream vouched for the current catalogue."""
        return self.current.age(self.clock.steady())

    def state(self) -> State:
        """What the current catalogue is, at this moment."""
        return self.policy.state(self.age(), bundled=self.current.bundled)

    def find_version(self, version: str) -> Snapshot | None:
        """The snapshot with the content that *version* names: the current one, or one of the few before it."""
        return self.current if self.current.has_content_of(version) else self.history.find(version)

    def next_refresh_in(self) -> float:
        """Seconds until the upstream may be asked again by this replica, as things stand."""
        due = self.policy.refresh.total_seconds() - self.age() if not self.current.bundled else 0.0
        not_before = max(self._retry_at, 0.0 if self.stats.redis_reachable else self._next_attempt_at)
        return max(0.0, due, not_before - self.clock.steady())

    async def run(self) -> None:
        """Take turns for ever. Ends only by being cancelled."""
        while not _is_cancelled():
            await self.turn()
            await asyncio.sleep(self._pause())

    async def wait_for_first_load(self, within: timedelta) -> None:
        """Wait until there is a catalogue or no hope of one for now, but not longer than *within*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._first_load_done.wait()

    async def turn(self) -> None:
        """Look, agree, and refresh what is old. Raises nothing but cancellation."""
        try:
            await self._turn()
        except Exception as error:  # a fault of ours must not end the task that keeps the catalogue fresh
            log.exception("refresh.broken")
            self._note_failure(CatalogueError("internal", f"a fault in Apidex: {error!r}"))
        if not self.current.bundled or self.stats.failed_in_a_row:
            self._first_load_done.set()

    async def _turn(self) -> None:
        try:
            await self._refresh_together(await self._agree(await self._read()))
            self._misses_in_a_row, self._redis_trouble = 0, ""
        except StoreError as error:
            self._note_redis_error(error)
            self._misses_in_a_row += 1
            if self._misses_in_a_row > 1 or self.current.bundled:  # one answer that was lost is no reason to part
                await self._refresh_alone()

    def _pause(self) -> float:
        """Seconds until the next turn: a poll, or less where something is due before."""
        poll = self.policy.poll.total_seconds() * (1 - self._random.random() / 10)
        if self.current.bundled and not self.stats.failed_in_a_row:
            return min(poll, _HURRY)
        due = self.next_refresh_in()
        return min(poll, due) if due > 0 else poll

    # --- what Redis has

    async def _read(self) -> StoredState:
        """Look at Redis, and learn how its clock stands to ours."""
        asked = self.clock.steady()
        state = await self.store.read()
        self._learn(state, asked)
        if state.malformed:
            self._note_redis_error(StoreError("damaged", "the small hash in Redis is none that a replica has written"))
            await self.store.reset()
        return state

    def _learn(self, state: StoredState, asked: float) -> None:
        self._offset = state.now - (asked + self.clock.steady()) / 2
        if state.catalogue is not None:
            self._last_stored = state.catalogue
            self._newest_stamp = max(self._newest_stamp, state.catalogue.stamp)
        self._retry_at = state.retry_at - self._offset if state.retry_at else 0.0
        if not self.stats.redis_reachable:
            self.stats.redis_reachable = True
            log.info("redis.reached", url=self.store.url)

    async def _agree(self, state: StoredState) -> StoredState:
        """Make the current catalogue and the stored the same, as far as Redis goes along; what Redis has thereafter."""
        mine, stored = self.current, state.catalogue
        if stored is None:
            return state if mine.bundled else await self._offer(mine, None)
        if stored.version == mine.version:
            return await self._agree_on_age(state, stored)
        if stored.digest == mine.catalogue.digest:
            return await self._agree_on_stamp(state, stored)
        if mine.bundled or self._is_half(len(mine.catalogue), mine.size_checked, stored.source, stored.entries):
            return await self._take_over()
        if self._is_half(stored.entries, stored.size_checked, stored.source, len(mine.catalogue)):
            log.warning("redis.refused", version=stored.version, entries=stored.entries, before=len(mine.catalogue))
            await self.store.drop(stored.stamp)
            return await self._offer(mine, None)
        if stored.validated_at >= self._redis_time(mine.validated_at):
            return await self._take_over()
        return await self._offer(mine, stored.stamp)

    def _is_half(self, entries: int, size_checked: bool, source: str, before: int) -> bool:
        """Whether a catalogue is the work of a replica that had none before, and took half of one for a whole one."""
        return not size_checked and source == self.current.source and self._is_shrunk(entries, before)

    async def _agree_on_age(self, state: StoredState, stored: StoredCatalogue) -> StoredState:
        mine = self.current
        asked_since = stored.validated_at < self._redis_time(mine.validated_at) - 1  # alone, while Redis was away
        was_set_back = stored.validated_at > state.now + 1  # Redis's clock
        if asked_since or was_set_back:
            await self.store.confirm(stored.stamp, self._redis_time(mine.validated_at), mine.validators)
            return await self._read()
        validated_at = self._steady_time(stored.validated_at)
        self.current = replace(mine, validated_at=validated_at, validators=stored.validators, shared=True)
        return state

    async def _agree_on_stamp(self, state: StoredState, stored: StoredCatalogue) -> StoredState:
        """The same catalogue came to two stamps while Redis was away: the newer one is kept, and no payload is loaded."""
        mine = self.current
        validated_at = max(mine.validated_at, self._steady_time(stored.validated_at))
        if stored.stamp > mine.stamp:
            self._adopt(replace(mine, stamp=stored.stamp, validated_at=validated_at), "redis")
            return await self._agree_on_age(state, stored)
        return await self._offer(replace(mine, validated_at=validated_at), stored.stamp)

    async def _take_over(self) -> StoredState:
        """Adopt the stored. Under its own stamp if that is newer than ours, else it goes back under a stamp that is."""
        asked = self.clock.steady()
        state, payload = await self.store.load()
        self._learn(state, asked)
        stored = state.catalogue
        if stored is None:
            return state
        try:
            prepared = await self._unpack(stored, payload)
        except CodecError as error:
            return await self._discard(state, stored, error)
        theirs = Snapshot(
            *(*_parts(prepared), stored.stamp, stored.source, self._steady_time(stored.validated_at)),
            validators=stored.validators,
            size_checked=stored.size_checked,
        )
        if stored.stamp <= self.current.stamp:
            return await self._offer(theirs, stored.stamp)
        self._adopt(replace(theirs, shared=True), "redis")
        return state

    async def _unpack(self, stored: StoredCatalogue, payload: Payload | None) -> IndexedCatalogue:
        if payload is None:
            raise CodecError("missing", "there is no payload beside the small hash")
        prepared = await self._offload(from_payload, payload, self._max_bytes)
        if prepared.parsed.catalogue.digest != stored.digest:
            raise CodecError("digest", "the payload is not the one that the small hash names")
        return prepared

    async def _discard(self, state: StoredState, stored: StoredCatalogue, error: CodecError) -> StoredState:
        """A stored that cannot be read is none: it goes, once, so that whoever has the catalogue puts it there again."""
        self._note_redis_error(StoreError(error.kind, str(error)))
        if self._unreadable != stored.version:
            self._unreadable = stored.version
            await self.store.drop(stored.stamp)
            log.warning("redis.dropped", version=stored.version, reason=error.kind)
            return await self._agree(await self._read()) if not self.current.bundled else replace(state, catalogue=None)
        return state

    async def _offer(self, snapshot: Snapshot, expected: int | None) -> StoredState:
        """Publish *snapshot*, and make it the current one if that was done; what Redis has thereafter."""
        shown = 0 if snapshot.version == self.current.version else self.current.stamp
        snapshot = self._above(snapshot, max(expected or 0, shown))
        if await self._publish(snapshot, expected):
            self._found(snapshot, shared=True, origin="redis")
        return await self._read()

    def _above(self, snapshot: Snapshot, stamp: int) -> Snapshot:
        """*snapshot*, under a newer stamp than any seen unless its own is newer than *stamp*."""
        return snapshot if snapshot.stamp > stamp else replace(snapshot, stamp=max(self._newest_stamp, stamp) + 1)

    async def _publish(self, snapshot: Snapshot, expected: int | None) -> bool:
        payload = await self._offload(codec.to_bytes, snapshot.parsed)
        validated_at = self._redis_time(snapshot.validated_at)
        catalogue = snapshot.catalogue
        stored = StoredCatalogue(
            stamp=snapshot.stamp,
            digest=catalogue.digest,
            entries=len(catalogue),
            size_checked=snapshot.size_checked,
            validated_at=validated_at,
            source=snapshot.source,
            validators=snapshot.validators,
        )
        try:
            done = await self.store.publish(stored, payload, expected)
        except StoreError:
            self.stats.publications["failed"] += 1
            raise
        outcome = "published" if done else "fenced"
        self.stats.publications[outcome] += 1
        log.info(f"redis.{outcome}", version=snapshot.version, expected=expected)
        return done

    def _redis_time(self, steady: float) -> float:
        return steady + self._offset

    def _steady_time(self, redis_time: float) -> float:
        return min(redis_time - self._offset, self.clock.steady())

    # --- what the upstream has

    async def _refresh_together(self, state: StoredState) -> None:
        """Let one replica of the fleet ask the upstream, if it is time."""
        if not self._is_due(state):
            return
        token = uuid.UUID(int=self._random.getrandbits(128), version=4).hex
        if not await self.store.lease(token, self.policy.poll):
            self.stats.leases["held_by_another"] += 1
            return
        self.stats.leases["taken"] += 1
        async with self._holding(token):
            state = await self._agree(await self._read())  # another may just have done it
            if self._is_due(state):
                await self._ask_for_all(state)

    def _is_due(self, state: StoredState) -> bool:
        if state.now < state.retry_at:
            return False
        return self.current.bundled or state.catalogue is None or self.age() >= self.policy.refresh.total_seconds()

    @asynccontextmanager
    async def _holding(self, token: str) -> AsyncIterator[None]:
        """Prolong the lease while the work goes on, and give it back.

        It saves work and protects nothing, so losing it is no error.
        """
        renewing = asyncio.create_task(self._renew(token))
        try:
            yield
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
            with contextlib.suppress(StoreError):
                await self.store.release(token)

    async def _renew(self, token: str) -> None:
        while not _is_cancelled():
            await asyncio.sleep(self.policy.poll.total_seconds() / 3)
            with contextlib.suppress(StoreError):
                if not await self.store.renew(token, self.policy.poll):
                    self.stats.leases["lost"] += 1
                    return

    async def _ask_for_all(self, state: StoredState) -> None:
        """Ask the upstream, and publish what it has. Raises StoreError when Redis cannot be told that it failed."""
        mine = self.current
        try:
            found = await self._asked(self._keeps_up)
        except (UpstreamError, CatalogueError) as error:
            failures = state.failures + 1
            self._note_failure(error, failures)
            wait = backoff_delay(
                failures, self.policy.refresh, self._random.random(), getattr(error, "retry_after", None)
            )
            self._retry_at = self._next_attempt_at = self.clock.steady() + wait.total_seconds()
            await self.store.back_off(failures, wait)
            return
        if found and self.current.version == mine.version:
            await self._share(found, state.catalogue)
        elif found:
            self._note_fenced(found)  # another's was adopted meanwhile

    def _note_fenced(self, found: Snapshot) -> None:
        self.stats.refreshes["fenced"] += 1
        log.warning("upstream.fenced", version=found.version)

    async def _keeps_up(self) -> bool:
        """Look at Redis, and agree with it, while the upstream is asked. What that will say is wanted all the same."""
        with contextlib.suppress(StoreError):
            await self._agree(await self._read())
        return True

    async def _share(self, found: Snapshot, stored: StoredCatalogue | None) -> None:
        """Publish what was found; without Redis, or where Redis does not say, it is adopted all the same."""
        try:
            if stored is not None and found.version == stored.version:
                done = await self.store.confirm(stored.stamp, self._redis_time(found.validated_at), found.validators)
            else:
                found = self._above(found, stored.stamp if stored else 0)
                done = await self._publish(found, stored.stamp if stored else None)
        except StoreError as error:
            self._note_redis_error(error)
            self._found(found, shared=False)
            return
        if done:
            self._found(found, shared=True)
        else:
            self._note_fenced(found)

    async def _refresh_alone(self) -> None:
        """Ask the upstream for this replica only.

        At most once in an interval, but sooner while there is only the starter catalogue.
        """
        now = self.clock.steady()
        overdue = self.current.bundled or self.age() >= self.policy.refresh.total_seconds()
        if not overdue or now < max(self._next_attempt_at, self._retry_at):
            return
        interval = standalone_interval(self.policy.refresh, self._random.random())
        soon = backoff_delay(1, self.policy.refresh, self._random.random())
        self._next_attempt_at = now + (soon if self.current.bundled else interval).total_seconds()
        try:
            found = await self._asked(self._is_still_alone)
        except (UpstreamError, CatalogueError) as error:
            self._note_failure(error)
            retry_after = getattr(error, "retry_after", None)
            wait = backoff_delay(self.stats.failed_in_a_row, self.policy.refresh, self._random.random(), retry_after)
            self._next_attempt_at = now + (wait if self.current.bundled else max(interval, wait)).total_seconds()
            return
        if found:
            self._next_attempt_at = now + interval.total_seconds()
            self._found(found, shared=False)

    async def _is_still_alone(self) -> bool:
        """Whether Redis does still not answer. If it does, the next turn asks for all, or finds what others found."""
        try:
            await self.store.read()
        except StoreError:
            return True
        return False

    async def _asked(self, goes_on: Callable[[], Awaitable[bool]]) -> Snapshot | None:
        """As `_ask`, with the polls going on: an upstream that hangs must not keep a replica from the others.

        *goes_on* is called at each of them, and None given back as soon as it says no.
        """
        asking = asyncio.create_task(self._ask_safely())
        try:
            while not (await asyncio.wait({asking}, timeout=self._pause()))[0]:
                if not await goes_on():
                    return None
            return asking.result()
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, ApidexError):
                await asking

    async def _ask_safely(self) -> Snapshot:
        """As `_ask`; a fault of ours is one more reason to refuse what came, and to back off."""
        try:
            return await self._ask()
        except ApidexError:
            raise
        except Exception as error:
            log.exception("refresh.broken")
            raise CatalogueError("internal", f"a fault in Apidex: {error!r}") from error

    async def _ask(self) -> Snapshot:
        """What the upstream has, checked. Raises UpstreamError, or CatalogueError when it is refused.

        The stamp and the moment are those before asking: a replica that was paused in between has nothing newer to offer than
        one that asked later.
        """
        mine, began = self.current, self.clock.steady()
        stamp = max(int(self.clock.wall() * 1000), self._newest_stamp + 1)
        known = mine.validators if mine.source == self.upstream.source else NO_VALIDATORS
        answer = await self.upstream.fetch(known)
        if isinstance(answer, NotModified):
            self.stats.refreshes["not_modified"] += 1
            self.stats.failed_in_a_row = 0
            return replace(mine, validated_at=began)
        prepared = await self._offload(self._build, answer.body)
        parsed = prepared.parsed
        self._refuse_if_shrunk(parsed.catalogue)
        self.stats.failed_in_a_row = 0
        if parsed.catalogue.digest == mine.catalogue.digest and mine.source == self.upstream.source:
            self.stats.refreshes["unchanged"] += 1
            return replace(mine, validated_at=began, report=parsed.report, validators=answer.validators)
        self.stats.refreshes["changed"] += 1
        found = (*_parts(prepared), stamp, self.upstream.source, began)
        return Snapshot(*found, validators=answer.validators, size_checked=self._entries_before() > 0)

    def _refuse_if_shrunk(self, catalogue: Catalogue) -> None:
        before, now = self._entries_before(), len(catalogue)
        if self._is_shrunk(now, before):
            raise CatalogueError(
                "shrunk",
                f"it has {now} entries where the one before has {before}; at least {self._min_entries_ratio:.0%} must be left",
            )

    def _is_shrunk(self, now: int, before: int) -> bool:
        return now < before * self._min_entries_ratio

    def _entries_before(self) -> int:
        """How many entries the upstream had before: by the current catalogue, or else by what the fleet says of its stored."""
        if self.current.source == self.upstream.source:
            return len(self.current.catalogue)
        stored = self._last_stored
        return stored.entries if stored is not None and stored.source == self.upstream.source else 0

    # --- what came of it

    def _found(self, found: Snapshot, *, shared: bool, origin: str = "upstream") -> None:
        found = replace(found, shared=shared)
        if found.version != self.current.version:
            self._adopt(found, origin)
            return
        self.current = found
        if origin == "upstream":
            log.info("upstream.confirmed", version=found.version)

    def _adopt(self, snapshot: Snapshot, origin: str) -> None:
        if not snapshot.has_content_of(self.current.version):
            self.history.add(self.current)
        self.current = snapshot
        self._newest_stamp = max(self._newest_stamp, snapshot.stamp)
        self.stats.adoptions[origin] += 1
        log.info("catalogue.adopted", version=snapshot.version, entries=len(snapshot.catalogue), origin=origin)

    def _note_failure(self, error: ApidexError, failures: int | None = None) -> None:
        refused = isinstance(error, CatalogueError)
        reason = error.reason if isinstance(error, CatalogueError) else getattr(error, "kind", "unknown")
        self.stats.refreshes["refused" if refused else "failed"] += 1
        self.stats.failures[reason] += 1
        self.stats.failed_in_a_row = failures or self.stats.failed_in_a_row + 1
        self.stats.last_failure = Failure(reason, str(error), self.clock.wall())
        event = "upstream.refused" if refused else "upstream.failed"
        log.warning(
            event, reason=reason, detail=str(error), state=self.state(), failed_in_a_row=self.stats.failed_in_a_row
        )

    def _note_redis_error(self, error: StoreError) -> None:
        self.stats.redis_errors[error.kind] += 1
        self.stats.last_redis_error = Failure(error.kind, str(error), self.clock.wall())
        if error.kind in ("connect", "timeout", "auth", "loading"):
            self.stats.redis_reachable = False
            self.current = replace(self.current, shared=False)
        if error.kind != self._redis_trouble:  # once for each time that it comes, not at every poll
            self._redis_trouble = error.kind
            log.warning("redis.failed", kind=error.kind, detail=str(error), url=self.store.url)
