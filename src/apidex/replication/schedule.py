"""When a replica acts next: the wait before the next poll, and when it may ask the upstream. Does no I/O."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random

from apidex.replication.clock import Clock
from apidex.replication.freshness import FreshnessPolicy, State, backoff_delay, standalone_delay
from apidex.replication.metadata import StoredState
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import RefreshStats

_STARTUP_POLL = 0.2
"""Seconds between the polls of a replica whose catalogue is provisional, while another one fetches."""


@dataclass
class Schedule:
    """Moments on the steady clock, spread by *random*, so that replicas do not act all at once.

    The upstream is not asked before *retry_at* (the fleet's back-off, as Redis tells it), nor before *own_retry_at* (the back-off
    after this replica's own failures, which Redis may have lost), nor in standalone mode before *next_attempt_at*.
    """

    policy: FreshnessPolicy
    clock: Clock
    random: Random
    stats: RefreshStats
    retry_at: float = 0.0
    own_retry_at: float = 0.0
    next_attempt_at: float = 0.0

    def state(self, current: Snapshot) -> State:
        """Return what *current* is, at this moment."""
        return self.policy.state(current.age(self.clock.steady()), bundled=current.bundled)

    def is_overdue(self, current: Snapshot) -> bool:
        """Return whether the catalogue is older than the interval."""
        return current.is_provisional or current.age(self.clock.steady()) >= self.policy.refresh.total_seconds()

    def may_ask(self, state: StoredState) -> bool:
        """Return whether neither the back-off of the fleet, which stores *state*, nor that of this replica lasts."""
        return state.now >= state.retry_at and self.clock.steady() >= self.own_retry_at

    def is_standalone_due(self, current: Snapshot) -> bool:
        """Return whether this replica, without Redis, should ask the upstream."""
        not_before = max(self.next_attempt_at, self.own_retry_at, self.retry_at)
        return self.is_overdue(current) and self.clock.steady() >= not_before

    def next_refresh_in(self, current: Snapshot) -> float:
        """Return the seconds until this replica may ask the upstream, as things stand."""
        now = self.clock.steady()
        due = 0.0 if current.is_provisional else self.policy.refresh.total_seconds() - current.age(now)
        standalone = 0.0 if self.stats.redis_reachable else self.next_attempt_at
        not_before = max(self.retry_at, self.own_retry_at, standalone)
        return max(0.0, due, not_before - now)

    def pause(self, current: Snapshot) -> float:
        """Return the seconds until the next turn: a poll, or less where something is due before."""
        poll = self.policy.poll.total_seconds() * (1 - self.random.random() / 10)
        if current.is_provisional and not self.stats.failed_in_a_row:
            return min(poll, _STARTUP_POLL)
        due = self.next_refresh_in(current)
        return min(poll, due) if due > 0 else poll

    def back_off(self, failures: int, retry_after: float | None) -> timedelta:
        """Return how long the fleet does not ask the upstream after *failures* in a row. This replica keeps the wait too."""
        wait = backoff_delay(failures, self.policy.refresh, self.random.random(), retry_after)
        self.retry_at = self.own_retry_at = self.next_attempt_at = self.clock.steady() + wait.total_seconds()
        return wait

    def wait_standalone(
        self, since: float, current: Snapshot, failures: int = 0, retry_after: float | None = None
    ) -> None:
        """Set the next attempt of a replica without Redis, whose last one began at *since*."""
        jitter, provisional = self.random.random(), current.is_provisional
        delay = standalone_delay(self.policy.refresh, jitter, failures, retry_after, provisional=provisional)
        self.next_attempt_at = since + delay.total_seconds()
        if failures:
            wait = backoff_delay(failures, self.policy.refresh, jitter, retry_after)
            self.own_retry_at = since + wait.total_seconds()

    def recovered(self) -> None:
        """Forget earlier failures: this replica or another has read the upstream."""
        self.stats.failed_in_a_row, self.own_retry_at = 0, 0.0
