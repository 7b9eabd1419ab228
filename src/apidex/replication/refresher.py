"""Keeps one replica's Snapshot fresh, and the same as the fleet's: reads, reconciles and applies, every few seconds.

If anything fails, the Snapshot stays. Searches read `Refresher.current` and wait for nothing here.

A turn:
1. Read what Redis holds, and make the local and the stored catalogue the same (`reconcile`).
2. If the stored one is old, take the lease, look again, ask the upstream, publish past the fence, adopt what was published.
3. If Redis fails twice in a row, work alone: ask the upstream, seldom, and adopt.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import assert_never

from apidex.errors import CodecError, CodecReason, StoreError
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication import reconcile as action
from apidex.replication.clock import Clock
from apidex.replication.fetcher import Fetcher, Offload
from apidex.replication.freshness import FreshnessPolicy, State
from apidex.replication.last_good import LastGood, LastGoodCopy
from apidex.replication.lease import is_cancelled, lease
from apidex.replication.metadata import StoredCatalogue, StoredState, milliseconds, newest_possible_stamp
from apidex.replication.reconcile import Local, newer_stamp, reconcile
from apidex.replication.schedule import Schedule
from apidex.replication.shared_catalogue import SharedCatalogue
from apidex.replication.snapshot import Origin, Snapshot, SnapshotHistory
from apidex.replication.status import FetchFailure, RefreshStats, broken
from apidex.replication.store import RedisStore
from apidex.replication.upstream import Upstream

_STALLED_AFTER = 600.0
_STALLED_AFTER_POLLS = 20
"""Seconds and polls without a turn after which the refresh task counts as stalled: the longer of the two, up to twice that."""


class Refresher:
    """Keeps *current* as fresh as the upstream allows, and the same as everywhere in the fleet.

    *build* and *min_entries_ratio* are as in `Fetcher`, *max_bytes* as in `SharedCatalogue`. *last_good* is the
    copy on disk, if there is a place for one.
    """

    def __init__(
        self,
        store: RedisStore,
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
        last_good: LastGoodCopy | None = None,
    ) -> None:
        self.current, self.history = starter, SnapshotHistory()
        self.store, self.upstream, self.policy, self.clock = store, upstream, policy, clock
        self.stats = RefreshStats(clock, store.url)
        self._schedule = Schedule(policy, clock, random, self.stats)
        self._shared = SharedCatalogue(store, self.stats, self._schedule, clock, offload, max_bytes, starter.stamp)
        self._fetcher = Fetcher(upstream, build, min_entries_ratio, clock, offload, self.stats)
        self._last_good = LastGood(last_good, clock, offload, self.stats)
        self._random = random
        self._dropped = ""  # the stored version that was dropped last as unreadable
        self._redis_failures = 0  # consecutive turns
        self._last_turn = clock.steady()
        # spread, so that replicas which stall in the same moment are not restarted in the same moment
        shortest = max(_STALLED_AFTER, _STALLED_AFTER_POLLS * policy.poll.total_seconds())
        self._stalled_after = shortest * (1 + random.random())
        self._first_load_done = asyncio.Event()

    def age(self) -> float:
        """Return the seconds since the upstream validated the current catalogue."""
        return self.current.age(self.clock.steady())

    def state(self) -> State:
        """Return what the current catalogue is, at this moment."""
        return self.policy.state(self.age(), bundled=self.current.bundled)

    def find_version(self, version: str) -> Snapshot | None:
        """Return the snapshot with the content that *version* names: the current one, or one of the few before it."""
        return self.current if self.current.has_content_of(version) else self.history.find(version)

    def next_refresh_in(self) -> float:
        """Return the seconds until this replica may ask the upstream, as things stand."""
        return self._schedule.next_refresh_in(self.current)

    def since_last_turn(self) -> float:
        """Return the seconds since the refresh task last showed that it goes on: at each turn, and at each poll inside one."""
        return self.clock.steady() - self._last_turn

    def is_stalled(self) -> bool:
        """Return whether the refresh task has not gone on for so long that only a restart of this process helps.

        Neither Redis nor the upstream can cause it: each wait for them has a limit.
        """
        return self.since_last_turn() > self._stalled_after

    async def run(self) -> None:
        """Take turns until cancelled, whatever a turn raises, beginning with the last good copy on disk."""
        await self.restore()
        while not is_cancelled():
            pause = self.policy.poll.total_seconds()
            try:
                await self.turn()
                pause = self._pause()
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
            except Exception as error:  # the handling of a failure failed
                with contextlib.suppress(Exception):
                    broken(error)
            await asyncio.sleep(pause)

    def _pause(self) -> float:
        return self._schedule.pause(self.current)

    async def wait_for_first_load(self, timeout: timedelta) -> None:
        """Wait until there is a catalogue or a first failure, but not longer than *timeout*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                await self._first_load_done.wait()

    async def restore(self) -> None:
        """Answer from the last good copy on disk, if there is one, until Redis or the upstream answers."""
        try:
            found = await self._last_good.restore(self.upstream.source, self.policy.max_age.total_seconds() + 1)
            if found is not None:
                self._fetcher.trust(found)
                stamp = newer_stamp(found.stamp, self.current.stamp, self._shared.newest_stamp)
                self._accept(replace(found, stamp=stamp), shared=False, origin="disk")
        except Exception as error:
            broken(error)

    async def turn(self) -> None:
        """Read, reconcile, and refresh what is old. Raises only CancelledError."""
        self._last_turn = self.clock.steady()
        try:
            await self._turn()
        except Exception as error:  # a fault of Apidex must not end the task that keeps the catalogue fresh
            self.stats.fetch_failed(broken(error), self.state())
        self._last_good.save(self.current)
        if not self.current.bundled or self.stats.failed_in_a_row:
            self._first_load_done.set()

    async def _turn(self) -> None:
        try:
            await self._refresh_with_fleet(await self._poll())
        except StoreError as error:
            self._redis_failed(error)
            self._redis_failures += 1
            # one lost answer does not start standalone mode
            if self._redis_failures > 1 or self.current.is_provisional:
                await self._refresh_standalone()
        else:
            self._redis_failures = 0

    # --- with Redis

    async def _poll(self) -> StoredState:
        """Read, and reconcile. Raises StoreError unless Redis can be used: read, written to, and asked to run scripts."""
        self._last_turn = self.clock.steady()
        state = await self._reconcile(await self._shared.read())
        if state.unwritable:
            raise state.unwritable
        self.stats.redis_reached()
        return state

    async def _reconcile(self, state: StoredState) -> StoredState:
        """Make the local and the stored catalogue the same, as far as Redis allows; return what Redis holds then."""
        self._keep_stamps_possible(state.now)
        while True:
            match self._next_action(state):
                case action.Keep():
                    return state
                case action.Relabel(stamp, validated_at, validators):
                    labelled = self._labelled(stamp, validated_at)
                    shared = state.unwritable is None
                    self._accept(replace(labelled, validators=validators), shared=shared, origin="redis")
                    return state
                case action.Adopt(stamp):
                    state, stored = await self._shared.load(state)
                    if stored is not None:
                        return await self._adopt_stored(stored, stamp, state)
                case _ if state.unwritable:
                    raise state.unwritable
                case action.Confirm(stamp, validated_at):
                    labelled = self._labelled(stamp, validated_at)
                    self._accept(labelled, shared=self.current.shared, origin="redis")
                    await self._shared.confirm(labelled)
                    return await self._shared.read()
                case action.Publish(stamp, validated_at, expected):
                    return await self._publish_local(self._labelled(stamp, validated_at), expected)
                case action.Drop(catalogue, unreadable):
                    await self._drop(catalogue, unreadable)
                    state = replace(state, catalogue=None, unreadable=None)
                case action.Reset():
                    self.stats.stored_unreadable(CodecError("damaged", "Redis metadata hash is malformed"), "")
                    await self.store.reset()
                    state = replace(state, malformed=False)
                case never:
                    assert_never(never)

    def _next_action(self, state: StoredState) -> action.Action:
        ours, newest = self._shared.describe(self.current), self._shared.newest_stamp
        return reconcile(
            Local(ours, self.current.is_provisional, newest, self._fetcher.min_entries_ratio, self._dropped), state
        )

    def _keep_stamps_possible(self, now: float) -> None:
        """Give the current catalogue another stamp if no reader would accept it: this calendar or Redis's clock was far off."""
        latest, stamp = newest_possible_stamp(now), milliseconds(now)
        if self._shared.newest_stamp > latest:
            self._shared.newest_stamp = stamp
        if self.current.stamp > latest:
            self.current = replace(self.current, stamp=stamp, shared=False)

    def _labelled(self, stamp: int, validated_at: float) -> Snapshot:
        return replace(self.current, stamp=stamp, validated_at=self._shared.steady_time(validated_at))

    async def _adopt_stored(self, stored: Snapshot, stamp: int, state: StoredState) -> StoredState:
        if stored.stamp != stamp:
            return await self._publish_local(replace(stored, stamp=stamp), stored.stamp)
        self._accept(stored, shared=state.unwritable is None, origin="redis")
        return state

    async def _publish_local(self, snapshot: Snapshot, expected: int | None) -> StoredState:
        if await self._shared.publish(snapshot, expected):
            self._accept(snapshot, shared=True, origin="redis")
        return await self._shared.read()

    async def _drop(self, stored: StoredCatalogue, unreadable: CodecReason | None) -> None:
        if unreadable:
            self._dropped = stored.version
        await self.store.drop(stored.stamp)
        self.stats.stored_dropped(stored, unreadable, before=len(self.current.catalogue))

    async def _refresh_with_fleet(self, state: StoredState) -> None:
        """Let one replica of the fleet ask the upstream, if it is time."""
        if not self._schedule.is_due(self.current, state):
            return
        token = uuid.UUID(int=self._random.getrandbits(128), version=4).hex
        async with lease(self.store, token, self.policy.poll, self.stats) as is_held:
            if is_held:
                state = await self._reconcile(await self._shared.read())  # another replica may just have refreshed it
                if self._schedule.is_due(self.current, state):
                    await self._fetch_for_fleet(state)

    async def _fetch_for_fleet(self, state: StoredState) -> None:
        """Ask the upstream, and publish what it has. Raises StoreError when Redis cannot be told that it failed."""
        found = await self._fetch()
        if isinstance(found, FetchFailure):
            failures = max(state.failures, self.stats.failed_in_a_row) + 1
            self.stats.fetch_failed(found, self.state(), failures)
            wait = self._schedule.back_off(failures, found.retry_after)
            await self.store.back_off(failures, wait)
        else:
            await self._take(found)

    async def _take(self, found: Snapshot) -> None:
        """Share what was fetched, if Redis can be used, unless a later answer of the upstream was adopted meanwhile."""
        current = self.current
        if found.version != current.version:
            if found.validated_at < current.validated_at:
                self.stats.fetch_fenced(found.version)
                return
            found = replace(found, stamp=newer_stamp(found.stamp, current.stamp, self._shared.newest_stamp))
        if self.stats.redis_reachable:
            await self._share(found)
        else:
            self._accept(found, shared=False, origin="upstream")

    async def _share(self, found: Snapshot) -> None:
        """Publish or confirm what was *found*; if Redis fails, or does not tell, adopt it nevertheless."""
        stored = self._shared.stored
        try:
            if stored and stored.version == found.version:
                done = await self._shared.confirm(found)
            else:
                expected = stored.stamp if stored else None
                found = replace(found, stamp=newer_stamp(found.stamp, expected or 0, self._shared.newest_stamp))
                done = await self._shared.publish(found, expected)
        except StoreError as error:
            self._redis_failed(error)
            self._accept(found, shared=False, origin="upstream")
        else:
            if done:
                self._accept(found, shared=True, origin="upstream")
            else:
                self.stats.fetch_fenced(found.version)

    # --- without Redis

    async def _refresh_standalone(self) -> None:
        """Ask the upstream for this replica only, at most once in an interval; sooner while it has only the starter catalogue."""
        if not self._schedule.is_standalone_due(self.current):
            return
        began = self.clock.steady()
        self._schedule.wait_standalone(began, self.current)
        found = await self._fetch()
        if isinstance(found, FetchFailure):
            self.stats.fetch_failed(found, self.state())
            self._schedule.wait_standalone(began, self.current, self.stats.failed_in_a_row, found.retry_after)
        else:
            await self._take(found)
            self._schedule.wait_standalone(began, self.current)

    # --- with both

    async def _fetch(self) -> Snapshot | FetchFailure:
        """Ask the upstream. What it sends is wanted, whatever the polls find meanwhile."""
        return await self._fetcher.fetch(
            self.current, self._shared.new_stamp(), self._entries_before, poll=self._poll_meanwhile, pause=self._pause
        )

    async def _poll_meanwhile(self) -> None:
        try:
            await self._poll()
        except StoreError as error:
            self._redis_failed(error)

    def _entries_before(self) -> int:
        """Return how many entries the upstream had; 0 if unknown. Only a catalogue counts that this replica has read."""
        return len(self.current.catalogue) if self.current.source == self.upstream.source else 0

    def _accept(self, snapshot: Snapshot, *, shared: bool, origin: Origin) -> None:
        """Answer from *snapshot*: another one, or the current one under other labels."""
        before = self.current
        is_known = snapshot.has_content_of(before.version) and not before.is_provisional
        self.current = replace(snapshot, shared=shared, origin=before.origin if is_known else origin)
        if snapshot.version != before.version:
            if not snapshot.has_content_of(before.version):
                self.history.add(before)
            self._shared.newest_stamp = max(self._shared.newest_stamp, snapshot.stamp)
            self.stats.adopted(snapshot, origin)
        elif origin == "upstream":
            self.stats.confirmed(snapshot.version)
        if not self._schedule.is_overdue(self.current):
            self._schedule.recovered()

    def _redis_failed(self, error: StoreError) -> None:
        self.stats.redis_failed(error)
        self.current = replace(self.current, shared=False)
