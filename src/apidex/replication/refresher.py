"""Keeps one replica's catalogue fresh, and equal to the fleet's: reads, reconciles and refreshes, every few seconds.

If anything fails, the catalogue stays. Searches read `Activation.current` and do not wait for a turn.

A turn:
1. Read what Redis holds, and reconcile the local and the stored catalogue (`Reconciler`).
2. If the stored one is old, take the lease, read again, ask the upstream, and publish, guarded by the fence (`FleetRefresh`).
3. If Redis fails twice in a row, ask the upstream alone, at long intervals (`StandaloneRefresh`). At the start, wait for Redis.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

from apidex.errors import CatalogueError, StoreError
from apidex.event_loop import in_thread
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication.activation import Activation
from apidex.replication.clock import Clock
from apidex.replication.fetcher import Fetcher, Offload
from apidex.replication.fleet import FleetRefresh
from apidex.replication.freshness import FreshnessPolicy, State
from apidex.replication.guard import Guard
from apidex.replication.last_good import LastGood, LastGoodCopy
from apidex.replication.metadata import StoredState
from apidex.replication.reconcile import newer_stamp
from apidex.replication.reconciler import Reconciler
from apidex.replication.schedule import Schedule
from apidex.replication.shared_catalogue import SharedCatalogue
from apidex.replication.snapshot import Snapshot
from apidex.replication.standalone import StandaloneRefresh
from apidex.replication.status import FetchFailure, RefreshStats, broken
from apidex.replication.store import RedisStore
from apidex.replication.supervision import Supervision
from apidex.replication.upstream import Upstream

_ONLY_READ = ("readonly", "oom")
"""Why Redis may be read, but not written to."""

_RETRY_AFTER = 0.2
"""Seconds after which a poll that got no answer is repeated once. A whole poll later, a replica could miss the moment of a
catalogue that was published meanwhile."""

_CONFIRM_BEFORE = 0.3
"""Seconds before a moment at which a replica polls: Redis may have lost the catalogue, and given another moment."""


class Refresher:
    """Keeps *activation* as fresh as the upstream allows, and equal to that of the fleet.

    *build* is as in `Fetcher`, *max_bytes* as in `SharedCatalogue`. *last_good* is the copy on disk, None without a directory.
    *redis_wait* is the time from the start in which Redis may answer before this replica asks the upstream without it.
    """

    def __init__(
        self,
        store: RedisStore,
        upstream: Upstream,
        starter: Snapshot,
        *,
        build: Callable[[bytes | bytearray], IndexedCatalogue],
        policy: FreshnessPolicy,
        guard: Guard,
        max_bytes: int,
        clock: Clock,
        random: Random,
        offload: Offload = in_thread,
        last_good: LastGoodCopy | None = None,
        redis_wait: timedelta = timedelta(0),
    ) -> None:
        self.store, self.upstream, self.policy, self.clock = store, upstream, policy, clock
        self.stats = RefreshStats(clock, store.url, is_embedded=store.is_embedded)
        self.activation = Activation(starter, clock, self.stats.adopted)
        self.supervision = Supervision(policy.poll, clock, random)
        self._schedule = Schedule(policy, clock, random, self.stats)
        self._shared = SharedCatalogue(store, self.stats, self._schedule, clock, offload, max_bytes, starter.stamp)
        self._reconciler = Reconciler(self._shared, self.activation, guard)
        self._fetcher = Fetcher(upstream, build, clock, offload, self.stats)
        self._with_fleet = FleetRefresh(self._reconciler, self._schedule, self._fetch, random, upstream.source)
        self._standalone = StandaloneRefresh(self._reconciler, self._schedule, self._fetch)
        self._last_good = LastGood(last_good, clock, offload, self.stats)
        self._guard, self._offload = guard, offload
        self._redis_failures = self._fleet_failures = 0  # turns, and fetches of the fleet, in a row
        self._may_repeat, self._is_repeated = True, False  # the poll that got no answer
        self._turns_outdated = 0
        self._standalone_at = clock.steady() + redis_wait.total_seconds()
        self._first_load_done = asyncio.Event()
        self._restored = asyncio.Event()

    @property
    def current(self) -> Snapshot:
        """The snapshot that searches are answered from."""
        if self.clock.steady() >= self.activation.next_at:
            self.activation.activate_due()
        return self.activation.current

    def age(self) -> float:
        """Return the seconds since the upstream validated the current catalogue."""
        return self.current.age(self.clock.steady())

    def state(self) -> State:
        """Return what the current catalogue is, at this moment."""
        return self._schedule.state(self.current)

    def next_refresh_in(self) -> float:
        """Return the seconds until this replica may ask the upstream, as things stand."""
        return self._schedule.next_refresh_in(self.activation.latest)

    async def run(self) -> None:
        """Take turns until cancelled, beginning with the last good copy on disk."""
        try:
            with contextlib.suppress(Exception):  # its failure may not even be logged
                await self.restore()
        finally:
            self._restored.set()
        await self.supervision.run(self.turn, self._pause)

    def _pause(self) -> float:
        seconds = self._schedule.pause(self.activation.latest)
        if self._may_repeat and not self.stats.redis_reachable:
            self._may_repeat, self._is_repeated, seconds = False, True, min(seconds, _RETRY_AFTER)
        confirm_in = self.activation.next_at - self.clock.steady() - _CONFIRM_BEFORE
        if confirm_in > 0:
            seconds = min(seconds, confirm_in)
        self.supervision.poll_scheduled(seconds)
        return seconds

    async def wait_for_first_load(self, timeout: timedelta) -> None:
        """Wait until the last good copy is read, and then for a catalogue, but not longer than *timeout*.

        A failure of the upstream, here or in another replica, ends that, too, if Redis answers: then none has a catalogue.
        Reading has a limit of its own: on a busy machine it takes longer than a start waits for Redis, and nothing but a client
        would get the starter catalogue sooner.
        """
        await self._restored.wait()
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
                self._reconciler.accept(replace(found, stamp=stamp, origin="disk"))
        except Exception as error:
            broken(error)

    async def turn(self) -> None:
        """Read, reconcile, and refresh what is old. Raises only CancelledError."""
        try:
            self.activation.activate_due()
            await self._turn()
        except Exception as error:  # a fault of Apidex must not end the task that keeps the catalogue fresh
            self.stats.fetch_failed(broken(error), self.state())
        self._last_good.save(self.current)
        has_failed = self.stats.failed_in_a_row or self._fleet_failures
        # where Redis does not answer either, other replicas may have what this one has not
        is_loaded = not self.current.bundled or (has_failed and not self._redis_failures)
        if is_loaded and (has_failed or not self._is_outdated()):
            self._first_load_done.set()

    def _is_outdated(self) -> bool:
        """Whether Redis held an old catalogue, so that others may have worked alone, and show a newer one: they publish it within
        a poll, and then it waits for its moment."""
        is_old = self.current.origin == "redis" and self._schedule.is_overdue(self.current)
        self._turns_outdated = self._turns_outdated + 1 if is_old else 0
        return self._turns_outdated == 1 or (is_old and self.activation.waiting is not None)

    async def _turn(self) -> None:
        try:
            state = await self._poll()
            self._fleet_failures = state.failures
            await self._with_fleet.refresh(state)
        except StoreError as error:
            self._reconciler.redis_failed(error)
            self._redis_failures += not self._is_repeated
            self._is_repeated = False
            # one lost answer does not start standalone mode, nor does a network that is not ready when this replica starts
            is_lost = self._redis_failures > 1 or self.current.is_provisional
            # where Redis can only be read, others work alone, and may have shown a newer catalogue than it holds
            is_starting = not self._first_load_done.is_set() and error.reason in _ONLY_READ
            if is_starting or (is_lost and self.clock.steady() >= self._standalone_at):
                await self._standalone.refresh()
        else:
            self._redis_failures, self._may_repeat, self._is_repeated = 0, True, False

    async def _fetch(self) -> Snapshot | FetchFailure:
        """Ask the upstream. No result of a poll during the fetch ends it."""
        latest, stamp = self.activation.latest, self._shared.new_stamp()
        found = await self._fetcher.fetch(latest, stamp, self._check, poll=self._poll_meanwhile, pause=self._pause)
        self.supervision.heartbeat()  # the last pause ended early
        self._is_repeated = False
        return found

    async def _poll(self) -> StoredState:
        self.supervision.heartbeat()
        try:
            return await self._reconciler.poll()
        finally:
            self.supervision.poll_ended()

    async def _poll_meanwhile(self) -> None:
        self._is_repeated = False
        try:
            await self._poll()
            self._may_repeat = True
        except StoreError as error:
            self._reconciler.redis_failed(error)

    async def _check(self, built: IndexedCatalogue) -> bool:
        """As `Guard.check`, compared with the latest catalogue and earlier ones, if they are from the same source.

        Also raises CatalogueError for what is too large for Redis and the copy on disk.
        """
        size, limit = len(built.parsed.catalogue.canonical), self._shared.max_bytes
        if size > limit:  # no other replica would take it
            text = f"its entries take {size} bytes as JSON; at most {limit} are allowed by APIDEX_UPSTREAM_LIMIT_BYTES"
            raise CatalogueError("too_costly", text)
        earlier = [each for each in self.activation.history if each.source == self.upstream.source]
        latest = self.activation.latest
        before = latest if latest.source == self.upstream.source else None
        return await self._offload(self._guard.check, built, before, self._shared.override, earlier)
