"""`/v1/catalogue`: the catalogue that answers come from, and the state of the upstream and of Redis for this replica."""

from collections import Counter
from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from litestar.openapi.spec import OpenAPIFormat

from apidex.catalogue.formats.report import RowIssue, RowIssues
from apidex.http.context import ReplicaContext
from apidex.http.routes.conditional import CONDITIONAL, HttpRequest, ReplicaDependency, live_response
from apidex.http.routes.described import described, formatted
from apidex.replication.clock import iso
from apidex.replication.freshness import State
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Origin, Snapshot
from apidex.replication.status import Failure


class FailureView(msgspec.Struct, frozen=True):
    """The last failure of the upstream or of Redis: one word, a sentence, and when."""

    reason: str
    detail: str
    at: Annotated[str, formatted(OpenAPIFormat.DATE_TIME)]


class UpstreamView(msgspec.Struct, frozen=True):
    """This replica's requests to the upstream: how each refresh ended, and why some failed."""

    url: Annotated[str, formatted(OpenAPIFormat.URI)]
    refreshes: dict[str, int]
    failures: dict[str, int]
    failed_in_a_row: int
    last_failure: FailureView | None
    next_refresh_in: float


class RedisView(msgspec.Struct, frozen=True):
    """This replica's use of Redis. `shared` says that its catalogue is the one in Redis; never with an embedded one."""

    url: str
    reachable: bool
    shared: bool
    adoptions: dict[str, int]
    publications: dict[str, int]
    leases: dict[str, int]
    errors: dict[str, int]
    last_error: FailureView | None


class IssueView(RowIssue, frozen=True):
    """An issue of one or more rows: *row*, *name* and *repairs* are those of the first one."""

    count: Annotated[
        int, msgspec.Meta(description=f"Rows for this reason, among the first {RowIssues.KEPT} that had any issue")
    ] = 1


class IssuesView(msgspec.Struct, frozen=True):
    """How many rows had an issue of one sort, and the first of these issues, each reason once."""

    total: int
    first: list[IssueView]


class CatalogueView(msgspec.Struct, frozen=True):
    """The catalogue that this replica answers from. Ages and waiting times are in seconds."""

    version: Annotated[
        str, msgspec.Meta(description="Order and identity in one word, as in the header Catalogue-Version")
    ]
    stamp: Annotated[int, msgspec.Meta(description="Its order among the catalogues of the fleet, in milliseconds")]
    digest: Annotated[str, msgspec.Meta(description="SHA-256 of its canonical bytes")]
    state: State
    age: Annotated[float, msgspec.Meta(description="Time since the upstream last validated it")]
    checked_at: Annotated[str, formatted(OpenAPIFormat.DATE_TIME)]
    max_age: float
    poll: Annotated[float, msgspec.Meta(description="Time between two polls of Redis")]
    last_turn_at: Annotated[
        str,
        formatted(
            OpenAPIFormat.DATE_TIME,
            "When the refresh task last took a turn; it has stopped if that is several polls ago",
        ),
    ]
    source: str
    origin: Annotated[
        Literal[Origin, "starter"],
        msgspec.Meta(
            description="Where this replica got it from; a copy on disk until Redis or the upstream validates it"
        ),
    ]
    format: str
    entries: int
    categories: int
    rows: Annotated[
        int, msgspec.Meta(description="Rows that the upstream's answer had, those that were rejected among them")
    ]
    repaired: IssuesView
    rejected: IssuesView
    ignored: IssuesView
    upstream: UpstreamView
    redis: RedisView
    served_by: str


@get(
    "/v1/catalogue",
    summary="The catalogue that answers come from: its age, its origin, and what was refused or repaired",
    tags=["catalogue"],
    operation_class=described(),
    responses=CONDITIONAL,
)
async def catalogue(request: HttpRequest, replica: ReplicaDependency) -> Response[CatalogueView]:
    """Answer with the state of the current catalogue."""
    current = replica.refresher.current
    return live_response(request, replica, current, _catalogue_view(replica, current))


def _catalogue_view(replica: ReplicaContext, current: Snapshot) -> CatalogueView:
    refresher = replica.refresher
    report, age = current.report, round(current.age(refresher.clock.steady()), 3)
    return CatalogueView(
        version=current.version,
        stamp=current.stamp,
        digest=current.catalogue.digest,
        state=refresher.policy.state(age, bundled=current.bundled),
        age=age,
        checked_at=iso(refresher.clock.wall() - age),
        max_age=refresher.policy.max_age.total_seconds(),
        poll=refresher.policy.poll.total_seconds(),
        last_turn_at=iso(refresher.clock.wall() - refresher.supervision.since_last_turn()),
        source=current.source,
        origin=current.origin,
        format=report.format,
        entries=len(current.catalogue),
        categories=current.catalogue.categories,
        rows=report.rows,
        repaired=_issues_view(report.repaired),
        rejected=_issues_view(report.rejected),
        ignored=_issues_view(report.ignored),
        upstream=_upstream_view(refresher),
        redis=_redis_view(refresher, is_shared=current.shared),
        served_by=replica.served_by,
    )


def _issues_view(issues: RowIssues) -> IssuesView:
    counts = Counter(issue.reason for issue in issues.first)
    first = {issue.reason: issue for issue in reversed(issues.first)}
    views = [IssueView(**msgspec.structs.asdict(first[reason]), count=count) for reason, count in counts.items()]
    return IssuesView(issues.total, views)


def _upstream_view(refresher: Refresher) -> UpstreamView:
    stats = refresher.stats
    return UpstreamView(
        url=refresher.upstream.source,
        refreshes=dict(+stats.refreshes),
        failures=dict(+stats.failures),
        failed_in_a_row=stats.failed_in_a_row,
        last_failure=_failure_view(stats.last_failure),
        next_refresh_in=round(refresher.next_refresh_in(), 3),
    )


def _redis_view(refresher: Refresher, *, is_shared: bool) -> RedisView:
    stats = refresher.stats
    return RedisView(
        url=refresher.store.url,
        reachable=stats.redis_reachable,
        shared=is_shared,
        adoptions=dict(+stats.adoptions),
        publications=dict(+stats.publications),
        leases=dict(+stats.leases),
        errors=dict(+stats.redis_errors),
        last_error=_failure_view(stats.last_redis_error),
    )


def _failure_view(failure: Failure | None) -> FailureView | None:
    return FailureView(failure.reason, failure.text, iso(failure.at)) if failure else None
