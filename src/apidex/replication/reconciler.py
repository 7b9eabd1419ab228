"""Performs the actions that `reconcile` decides on the local and the stored catalogue. Every coroutine raises StoreError."""

import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from typing import assert_never

from apidex.errors import CodecError, CodecReason, StoreError
from apidex.replication import reconcile as action
from apidex.replication.activation import Activation
from apidex.replication.guard import Guard
from apidex.replication.metadata import StoredCatalogue, StoredState, milliseconds, newest_possible_stamp
from apidex.replication.reconcile import Local, has_wrong_size, newer_stamp, reconcile
from apidex.replication.shared_catalogue import SharedCatalogue
from apidex.replication.snapshot import Snapshot


@dataclass
class Reconciler:
    """Keeps the latest snapshot of *activation* equal to the catalogue in *shared*."""

    shared: SharedCatalogue
    activation: Activation
    guard: Guard
    dropped: str = ""
    """The last stored version that was dropped as unreadable."""

    async def poll(self) -> StoredState:
        """Read and reconcile. Raises StoreError unless Redis is usable: it can be read, written to, and runs scripts."""
        state = await self.reconcile()
        if state.unwritable:
            raise state.unwritable
        self.shared.stats.redis_reached()
        return state

    async def reconcile(self) -> StoredState:
        """Reconcile, as far as Redis allows; return what Redis holds afterwards."""
        state = await self.shared.read()
        self._keep_stamps_possible(state.now)
        if state.rejected:
            self.activation.discard(state.rejected)
        is_fenced = False
        while True:
            match self._next_action(state):
                case action.Keep():
                    return state
                case action.Relabel(stamp, validated_at, validators):
                    labelled = self._labelled(stamp, validated_at)
                    labelled = replace(labelled, validators=validators, shared=state.unwritable is None)
                    self.accept(labelled, self.shared.activation_time(state))
                    return state
                case action.Adopt(stamp):
                    state, stored = await self.shared.load(state)
                    if stored is not None:
                        return await self._adopt(stored, stamp, state)
                case _ if state.unwritable:
                    raise state.unwritable
                case action.Confirm(stamp, validated_at):
                    labelled = self._labelled(stamp, validated_at)
                    self.accept(labelled, self.shared.activation_time(state))
                    await self._confirm(labelled)
                    return await self.shared.read()
                case action.Publish(stamp, validated_at, expected):
                    done = await self._publish(self._labelled(stamp, validated_at), expected)
                    state = await self.shared.read()
                    if done or is_fenced:
                        return state
                    is_fenced = True  # by what another replica has published meanwhile: once more, with that
                case action.Drop(catalogue, unreadable):
                    await self._drop(catalogue, unreadable)
                    state = replace(state, catalogue=None, unreadable=None)
                case action.Reset():
                    self.shared.stats.stored_unreadable(CodecError("damaged", "Redis metadata hash is malformed"), "")
                    await self.shared.store.reset()
                    state = replace(state, malformed=False)
                case never:
                    assert_never(never)

    def _next_action(self, state: StoredState) -> action.Action:
        latest = self.activation.latest
        ours, newest = self.shared.describe(latest), self.shared.newest_stamp
        waiting = self.activation.waiting
        shown_stamp = self.activation.current.stamp if waiting and not waiting.is_certain else None
        return reconcile(Local(ours, latest.is_provisional, newest, self.guard, self.dropped, shown_stamp), state)

    def _keep_stamps_possible(self, now: float) -> None:
        """Replace a stamp that no reader would accept: this wall clock or Redis's clock was far off."""
        newest, stamp = newest_possible_stamp(now), milliseconds(now)
        if self.shared.newest_stamp > newest:
            self.shared.newest_stamp = stamp
        if self.activation.latest.stamp > newest:
            self.activation.restamp(stamp)

    def _labelled(self, stamp: int, validated_at: float) -> Snapshot:
        latest, moment = self.activation.latest, self.shared.steady_time(validated_at)
        return replace(latest, stamp=stamp, validated_at=moment, origin=latest.origin_after("redis"))

    async def _adopt(self, stored: Snapshot, stamp: int, state: StoredState) -> StoredState:
        if stored.stamp != stamp:
            await self._publish(replace(stored, stamp=stamp), stored.stamp)
            return await self.shared.read()
        activate_at = self.shared.activation_time(state)
        if self.activation.current.is_provisional and self._is_ahead(activate_at):
            await self._adopt_before(activate_at)
        self.accept(replace(stored, shared=state.unwritable is None), activate_at)
        return state

    async def _adopt_before(self, until: float) -> None:
        """Answer from the previous catalogue, as the others do, *until* the stored one is activated, if Redis still holds it."""
        with contextlib.suppress(StoreError):
            before = await self.shared.load_before()
            if before is not None and self._is_ahead(until):
                self.accept(before)

    def _is_ahead(self, moment: float) -> bool:
        return moment > self.shared.clock.steady()

    async def _drop(self, stored: StoredCatalogue, unreadable: CodecReason | None) -> None:
        if unreadable:
            self.dropped = stored.version
        await self.shared.store.drop(stored.stamp)
        before = len(self.activation.latest.catalogue)
        self.shared.stats.stored_dropped(stored, unreadable, before)

    def accept(self, snapshot: Snapshot, activate_at: float = 0.0, *, is_certain: bool = True) -> None:
        """As `Activation.accept`."""
        self.shared.newest_stamp = max(self.shared.newest_stamp, snapshot.stamp)
        if self.shared.store.is_embedded:  # no other replica reads it
            snapshot = replace(snapshot, shared=False)
        self.activation.accept(snapshot, activate_at, is_certain=is_certain)
        if not self.shared.schedule.is_overdue(snapshot):
            self.shared.schedule.recovered()

    async def _publish(self, snapshot: Snapshot, expected: int | None) -> bool:
        """Publish *snapshot* and accept it, if the stored stamp is *expected*; return whether it was."""
        activate_at = await self.shared.publish(snapshot, expected, self._lead(snapshot))
        if activate_at is not None:
            self.accept(replace(snapshot, shared=True), activate_at)
        return activate_at is not None

    def _lead(self, snapshot: Snapshot) -> timedelta:
        """Return the time until activation, if *snapshot* is published now: 0 if it is current, or if Redis is embedded."""
        if self.shared.store.is_embedded or snapshot.version == self.activation.current.version:
            return timedelta(0)
        return self.shared.schedule.policy.lead(snapshot.build_seconds)

    async def take(self, found: Snapshot) -> None:
        """Publish a fetched snapshot, if Redis is usable. Discard it if the latest was validated later, or its size is wrong."""
        # one lost answer during the fetch does not mean that Redis is not usable
        if not self.shared.stats.redis_reachable:
            with contextlib.suppress(StoreError):
                await self.poll()
        latest = self.activation.latest
        if found.version != latest.version:
            described = self.shared.describe(found), self.shared.describe(latest)
            if found.validated_at < latest.validated_at or has_wrong_size(*described, self.guard):
                self.shared.stats.fetch_fenced(found.version)
                return
            if latest.is_confirmed_by(found):  # another replica published it during the fetch
                found = latest.confirmed_by(found)
            else:
                found = replace(found, stamp=newer_stamp(found.stamp, latest.stamp, self.shared.newest_stamp))
        if self.shared.stats.redis_reachable:
            await self._share(found)
        else:
            self.accept(replace(found, shared=False))

    async def _share(self, found: Snapshot) -> None:
        """Publish or confirm *found*; accept it even if Redis fails or does not answer."""
        stored = self.shared.stored
        expected = stored.stamp if stored else None
        if not (stored and stored.version == found.version):
            found = replace(found, stamp=newer_stamp(found.stamp, expected or 0, self.shared.newest_stamp))
        activate_at = self.shared.clock.steady() + self._lead(found).total_seconds()
        try:
            done = await (self._confirm(found) if expected == found.stamp else self._publish(found, expected))
        except StoreError as error:
            self.redis_failed(error)
            # Redis may have published it, and says so at the next poll
            self.accept(replace(found, shared=False), activate_at, is_certain=False)
        else:
            if not done:
                self.shared.stats.fetch_fenced(found.version)
                await self._reconcile_again()

    async def _reconcile_again(self) -> None:
        """Reconcile with what another replica has published: at the next poll, its moment may have passed."""
        try:
            await self.reconcile()
        except StoreError as error:
            self.redis_failed(error)

    async def _confirm(self, found: Snapshot) -> bool:
        done = await self.shared.confirm(found)
        if done:
            self.accept(replace(found, shared=True), inf)  # a moment for which it waits stays as it is
        return done

    def redis_failed(self, error: StoreError) -> None:
        """Record a failure of Redis."""
        self.shared.stats.redis_failed(error)
        self.activation.unshare()
