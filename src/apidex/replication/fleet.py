"""A refresh with Redis: one replica asks the upstream for the fleet."""

import uuid
from dataclasses import dataclass
from random import Random

from apidex.replication.fetcher import Fetch
from apidex.replication.lease import lease
from apidex.replication.metadata import StoredState
from apidex.replication.reconciler import Reconciler
from apidex.replication.schedule import Schedule
from apidex.replication.status import FetchFailure


@dataclass
class FleetRefresh:
    """Asks the upstream while this replica holds the lease, and publishes the answer; *random* makes the tokens of the lease."""

    reconciler: Reconciler
    schedule: Schedule
    fetch: Fetch
    random: Random

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
        return activation.waiting is None and self.schedule.is_due(activation.latest, state)

    async def _fetch(self, state: StoredState) -> None:
        """Ask the upstream, and publish the answer. Raises StoreError when a failure cannot be recorded in Redis."""
        found, stats = await self.fetch(), self.reconciler.shared.stats
        if isinstance(found, FetchFailure):
            failures = max(state.failures, stats.failed_in_a_row) + 1
            wait = self.schedule.back_off(failures, found.retry_after)
            stats.fetch_failed(found, self.schedule.state(self.reconciler.activation.current), failures)
            await self.reconciler.shared.store.back_off(failures, wait)
        else:
            await self.reconciler.take(found)
