"""What happened so far: every event is counted, logged and remembered in one call. Decides nothing.

The outcomes are declared here once; the metrics, `/v1/catalogue` and the log use the same words.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from apidex.errors import CatalogueReason, CodecReason, StoreError, UpstreamReason
from apidex.logs import get_logger
from apidex.replication.clock import Clock
from apidex.replication.freshness import State
from apidex.replication.metadata import StoredCatalogue
from apidex.replication.snapshot import Snapshot

log = get_logger()

FetchOutcome = Literal["changed", "unchanged", "not_modified"]
FailureOutcome = Literal["failed", "refused"]
RefreshOutcome = Literal[FetchOutcome, "fenced", FailureOutcome]
LeaseOutcome = Literal["taken", "held_by_another", "lost"]
PublishOutcome = Literal["published", "fenced", "failed"]
Origin = Literal["upstream", "redis"]
UsualStoreReason = Literal["connect", "timeout", "oom"]


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """The upstream could not be read (*failed*), or what it sent is not used (*refused*). *retry_after* is in seconds."""

    outcome: FailureOutcome
    reason: UpstreamReason | CatalogueReason
    text: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of a kind: one word for counters, a sentence for people, and when (seconds since 1970)."""

    reason: str
    text: str
    at: float


def _counter(outcomes: Any = None) -> Callable[[], "Counter[str]"]:  # noqa: ANN401 - a Literal has no type of its own
    """Return what makes a Counter that shows all *outcomes* from the start."""
    return lambda: Counter(dict.fromkeys(get_args(outcomes), 0))


@dataclass(slots=True)
class RefreshStats:
    """Counts of everything so far, and the last failures.

    Requests to the upstream = sum(refreshes) - fenced; those that failed are counted in *failures* under their reason too.
    """

    refreshes: Counter[str] = field(default_factory=_counter(RefreshOutcome))
    failures: Counter[str] = field(default_factory=_counter())
    redis_errors: Counter[str] = field(default_factory=_counter(UsualStoreReason))
    leases: Counter[str] = field(default_factory=_counter(LeaseOutcome))
    publications: Counter[str] = field(default_factory=_counter(PublishOutcome))
    adoptions: Counter[str] = field(default_factory=_counter(Origin))
    last_failure: Failure | None = None
    last_redis_error: Failure | None = None
    failed_in_a_row: int = 0
    redis_reachable: bool = False


class RefreshStatus:
    """Takes note of what happens to one replica. *url* is that of its Redis."""

    def __init__(self, clock: Clock, url: str) -> None:
        self.stats = RefreshStats()
        self._clock, self._url = clock, url
        self._redis_error_logged = ""  # the kind of the last error, until a turn succeeds

    def redis_reached(self) -> None:
        """Redis answered a poll."""
        if not self.stats.redis_reachable:
            self.stats.redis_reachable = True
            log.info("redis.reached", url=self._url)

    def redis_failed(self, error: StoreError) -> None:
        """Redis did not do what it was asked, or holds what cannot be read. Logged at its beginning, not at every poll."""
        self.stats.redis_errors[error.kind] += 1
        self.stats.last_redis_error = Failure(error.kind, str(error), self._clock.wall())
        if error.kind in ("connect", "timeout", "auth", "loading"):
            self.stats.redis_reachable = False
        if error.kind != self._redis_error_logged:
            self._redis_error_logged = error.kind
            log.warning("redis.failed", kind=error.kind, detail=str(error), url=self._url)

    def redis_recovered(self) -> None:
        """A turn went well: the next error is logged again, of whichever kind."""
        self._redis_error_logged = ""

    def lease(self, outcome: LeaseOutcome) -> None:
        """The lease was tried for, or lost."""
        self.stats.leases[outcome] += 1

    def publication(self, outcome: PublishOutcome, **facts: object) -> None:
        """A catalogue was published, or the fence refused it, or Redis did not tell (`redis_failed` takes note of why)."""
        self.stats.publications[outcome] += 1
        if outcome != "failed":
            log.info("redis.published" if outcome == "published" else "redis.fenced", **facts)

    def dropped(self, stored: StoredCatalogue, unreadable: CodecReason | None, before: int) -> None:
        """The stored catalogue is removed: it is unreadable, or has too few of the *before* entries of the local one."""
        if unreadable:
            log.warning("redis.dropped", version=stored.version, reason=unreadable)
        else:
            log.warning("redis.refused", version=stored.version, entries=stored.entries, before=before)

    def fetched(self, outcome: FetchOutcome) -> None:
        """The upstream's answer can be used."""
        self.stats.refreshes[outcome] += 1
        self.stats.failed_in_a_row = 0

    def fetch_failed(self, failure: FetchFailure, state: State, failures: int | None = None) -> None:
        """The upstream's answer cannot be used. *failures* is how many in a row the fleet has counted."""
        self.stats.refreshes[failure.outcome] += 1
        self.stats.failures[failure.reason] += 1
        self.stats.failed_in_a_row = failures or self.stats.failed_in_a_row + 1
        self.stats.last_failure = Failure(failure.reason, failure.text, self._clock.wall())
        log.warning(
            "upstream.failed" if failure.outcome == "failed" else "upstream.refused",
            reason=failure.reason,
            detail=failure.text,
            state=state,
            failed_in_a_row=self.stats.failed_in_a_row,
        )

    def fetch_fenced(self, version: str) -> None:
        """What was fetched came too late: another catalogue has been published since."""
        self.stats.refreshes["fenced"] += 1
        log.warning("upstream.fenced", version=version)

    def confirmed(self, version: str) -> None:
        """The upstream validated the current catalogue again."""
        log.info("upstream.confirmed", version=version)

    def adopted(self, snapshot: Snapshot, origin: Origin) -> None:
        """Searches are answered from another catalogue now."""
        self.stats.adoptions[origin] += 1
        log.info("catalogue.adopted", version=snapshot.version, entries=len(snapshot.catalogue), origin=origin)


def broken(error: Exception) -> FetchFailure:
    """Log a fault of Apidex with its traceback; return it as a failure, since the catalogue stays and the fleet backs off."""
    log.exception("refresh.broken")
    return FetchFailure("refused", "internal", f"a fault in Apidex: {error!r}")
