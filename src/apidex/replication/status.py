"""What happened so far: every event is counted, logged and remembered in one call. Decides nothing.

The outcomes are declared here once; the metrics, `/v1/catalogue` and the log use the same words.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, get_args

from apidex.errors import (
    CatalogueReason,
    CodecError,
    CodecReason,
    StateError,
    StateReason,
    StoreError,
    StoreReason,
    UpstreamReason,
)
from apidex.logs import Event, get_logger
from apidex.replication.clock import Clock
from apidex.replication.freshness import State
from apidex.replication.metadata import StoredCatalogue
from apidex.replication.snapshot import Origin, Snapshot

log = get_logger()

FetchOutcome = Literal["changed", "unchanged", "not_modified"]
FailureOutcome = Literal["failed", "refused"]
RefreshOutcome = Literal[FetchOutcome, "fenced", FailureOutcome]
LeaseOutcome = Literal["taken", "held_by_another", "lost"]
PublishOutcome = Literal["published", "fenced", "failed"]
RefreshFailureReason = Literal[UpstreamReason, CatalogueReason]


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """The upstream could not be read (*failed*), or what it sent is not used (*refused*). *retry_after* is in seconds.

    *public* is what anybody may be told; without it, *text* is.
    """

    outcome: FailureOutcome
    reason: RefreshFailureReason
    text: str
    retry_after: float | None = None
    public: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of a kind: one word for counters, a sentence for people, and when (seconds since 1970)."""

    reason: str
    text: str
    at: float


def broken(error: Exception) -> FetchFailure:
    """Log a fault of Apidex with its traceback; return it as a failure, since the catalogue stays and the fleet backs off."""
    log.exception("refresh.broken")
    return FetchFailure("refused", "internal", f"a fault in Apidex: {error!r}")


def _counter(outcomes: Any) -> "Counter[str]":  # noqa: ANN401 - a Literal has no type of its own
    """Return a Counter that shows all *outcomes* from the start: Prometheus' `increase` does not count a series' first value."""
    return Counter(dict.fromkeys(get_args(outcomes), 0))


class RefreshStats:
    """Counts of everything that happened to one replica, and its last failures. *url* is that of its Redis.

    What succeeds with an embedded Redis is logged at the level debug: an operator who set no Redis need not see it.

    Requests to the upstream = sum(refreshes) - fenced; those that failed are counted in *failures* under their reason too.
    """

    def __init__(self, clock: Clock, url: str, *, is_embedded: bool = False) -> None:
        self.refreshes, self.failures = _counter(RefreshOutcome), _counter(RefreshFailureReason)
        self.leases, self.publications = _counter(LeaseOutcome), _counter(PublishOutcome)
        self.adoptions, self.redis_errors = _counter(Origin), _counter(StoreReason)
        self.copy_errors = _counter(StateReason)
        self.last_failure: Failure | None = None
        self.last_redis_error: Failure | None = None
        self.failed_in_a_row, self.redis_reachable = 0, False
        self._clock, self._url = clock, url
        self._is_embedded = is_embedded
        self._redis_error_logged = ""  # the kind of the last error, until Redis can be used
        self._unreadable_logged = ""
        self._copy_error_logged = ""  # the same for the last good copy, until one is written

    def redis_reached(self) -> None:
        """Record that Redis is usable: a script has read and written. The next failure of any kind is logged again."""
        self._redis_error_logged = ""
        if not self.redis_reachable:
            self.redis_reachable = True
            self._log_redis("redis.reached", url=self._url)

    def _log_redis(self, event: Event, **facts: object) -> None:
        (log.debug if self._is_embedded else log.info)(event, **facts)

    def redis_failed(self, error: StoreError) -> None:
        """Record that Redis is not usable. The first failure is logged, not every poll."""
        self.redis_reachable = False
        self._redis_error(error, error.reason)

    def stored_unreadable(self, error: CodecError, version: str) -> None:
        """Record that the stored catalogue cannot be read. Logged once for each *version*."""
        self._redis_error(error, f"{version} {error.reason}")

    def _redis_error(self, error: CodecError | StoreError, what: str) -> None:
        self.redis_errors[error.reason] += 1
        self.last_redis_error = Failure(error.reason, str(error), self._clock.wall())
        if what not in (self._redis_error_logged, self._unreadable_logged):
            log.warning("redis.failed", kind=error.reason, detail=str(error), url=self._url)
        if isinstance(error, StoreError):
            self._redis_error_logged = what
        else:
            self._unreadable_logged = what

    def copy_failed(self, error: StateError) -> None:
        """Record that the last good copy could not be read or written. The first failure is logged, not every attempt."""
        self.copy_errors[error.reason] += 1
        if error.reason != self._copy_error_logged:
            self._copy_error_logged = error.reason
            log.warning("disk.failed", kind=error.reason, detail=str(error))

    def copy_written(self) -> None:
        """Record that the last good copy was written: the next error is logged again."""
        self._copy_error_logged = ""

    def lease_tried(self, outcome: LeaseOutcome) -> None:
        """The lease was taken or not, or lost after that."""
        self.leases[outcome] += 1

    def publish_tried(self, outcome: PublishOutcome, **facts: object) -> None:
        """A catalogue was published, or the fence refused it, or Redis did not answer (`redis_failed` records the reason)."""
        self.publications[outcome] += 1
        if outcome != "failed":
            self._log_redis("redis.published" if outcome == "published" else "redis.fenced", **facts)

    def stored_dropped(self, stored: StoredCatalogue, unreadable: CodecReason | None, before: int) -> None:
        """The stored catalogue is removed: it is unreadable, rejected, or of a wrong size (the local one: *before* entries)."""
        if unreadable:
            log.warning("redis.dropped", version=stored.version, reason=unreadable)
        else:
            log.warning("redis.refused", version=stored.version, entries=stored.entries, before=before)

    def fetched(self, outcome: FetchOutcome, version: str) -> None:
        """Record a usable answer of the upstream: another catalogue, or a validation of *version*."""
        self.refreshes[outcome] += 1
        self.failed_in_a_row = 0
        if outcome != "changed":
            log.info("upstream.confirmed", version=version)

    def fetch_failed(self, failure: FetchFailure, state: State, failures: int | None = None) -> None:
        """The upstream's answer cannot be used. *failures* is how many in a row the fleet has counted."""
        self.refreshes[failure.outcome] += 1
        self.failures[failure.reason] += 1
        self.failed_in_a_row = failures or self.failed_in_a_row + 1
        self.last_failure = Failure(failure.reason, failure.public or failure.text, self._clock.wall())
        facts = {"reason": failure.reason, "detail": failure.text, "state": state}
        event: Event = "upstream.failed" if failure.outcome == "failed" else "upstream.refused"
        log.warning(event, **facts, failed_in_a_row=self.failed_in_a_row)

    def fetch_fenced(self, version: str) -> None:
        """What was fetched came too late: another catalogue has been published since."""
        self.refreshes["fenced"] += 1
        log.warning("upstream.fenced", version=version)

    def adopted(self, snapshot: Snapshot) -> None:
        """Searches are answered from another catalogue now."""
        self.adoptions[snapshot.origin] += 1
        log.info("catalogue.adopted", version=snapshot.version, entries=len(snapshot.catalogue), origin=snapshot.origin)
