"""A refresh without Redis: each replica asks the upstream for itself, at long intervals."""

from dataclasses import dataclass

from apidex.replication.fetcher import Fetch
from apidex.replication.reconciler import Reconciler
from apidex.replication.schedule import Schedule
from apidex.replication.status import FetchFailure


@dataclass
class StandaloneRefresh:
    """Asks the upstream while Redis is not usable, and activates the answer at once."""

    reconciler: Reconciler
    schedule: Schedule
    fetch: Fetch

    async def refresh(self) -> None:
        """Ask the upstream, at most once in an interval; sooner while the catalogue is provisional."""
        activation, stats = self.reconciler.activation, self.reconciler.shared.stats
        if not self.schedule.is_standalone_due(activation.latest):
            return
        began = self.schedule.clock.steady()
        self.schedule.wait_standalone(began, activation.latest)
        found = await self.fetch()
        if isinstance(found, FetchFailure):
            stats.fetch_failed(found, self.schedule.state(activation.current))
            self.schedule.wait_standalone(began, activation.latest, stats.failed_in_a_row, found.retry_after)
        else:
            await self.reconciler.take(found)
            self.schedule.wait_standalone(began, activation.latest)
