"""A refresh with Redis: one replica asks the upstream for the fleet."""

import uuid
from dataclasses import dataclass, field
from random import Random

from apidex.replication.fetcher import Fetch
from apidex.replication.lease import lease
from apidex.replication.metadata import StoredState
from apidex.replication.reconciler import Reconciler
from apidex.replication.schedule import Schedule
from apidex.replication.status import FetchFailure


@dataclass
class FleetRefresh:
    """Asks the upstream, whose URL is *source*, while this replica holds the lease, and publishes the answer.

    *random* makes the tokens of the lease.
    """

    reconciler: Reconciler
    schedule: Schedule
    fetch: Fetch
    random: Random
    source: str
    _has_asked: bool = field(default=False, init=False)  # or has a catalogue of *source*

    async def refresh(self, state: StoredState) -> None:
        """Ask the upstream if a refresh is due and no other replica holds the lease. Redis holds *state*. Raises StoreError."""
        if not self._is_due(state):
            return
        token = uuid.UUID(int=self.random.getrandbits(128), version=4).hex
        shared = self.reconciler.shared
        async with lease(shared.store, token, self.schedule.policy.poll, shared.stats) as is_held:
            if is_held:
                state = await self.reconciler.reconcile()  # another replica may just have refreshed it
                if self._is_due(state):
                    await self._fetch(state)

    def _is_due(self, state: StoredState) -> bool:
        """Whether a refresh is due. It is not while a catalogue waits for its moment, which another one must not replace."""
        activation = self.reconciler.activation
        latest = activation.latest
        # what an operator has set in place of another upstream is asked at once, and once: replicas do not take turns in this
        self._has_asked |= latest.source == self.source and not latest.is_provisional
        is_wanted = state.catalogue is None or not self._has_asked or self.schedule.is_overdue(latest)
        return is_wanted and activation.waiting is None and self.schedule.may_ask(state)

    def _is_due_for_all(self, state: StoredState) -> bool:
        """Whether all replicas wait for a refresh, not only one that cannot read what Redis holds, or has another upstream."""
        latest = self.reconciler.activation.latest
        return state.catalogue is None or (latest.version == state.version and self.schedule.is_overdue(latest))

    async def _fetch(self, state: StoredState) -> None:
        """Ask the upstream, and publish the answer. Raises StoreError when a failure cannot be recorded in Redis."""
        self._has_asked = True
        found, stats = await self.fetch(), self.reconciler.shared.stats
        if isinstance(found, FetchFailure):
            failures = max(state.failures, stats.failed_in_a_row) + 1
            wait = self.schedule.back_off(failures, found.retry_after)
            stats.fetch_failed(found, self.schedule.state(self.reconciler.activation.current), failures)
            if self._is_due_for_all(state):
                await self.reconciler.shared.store.back_off(failures, wait)
        else:
            await self.reconciler.take(found)
