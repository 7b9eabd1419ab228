"""Litestar's handlers and the shapes of what they answer: the source of the OpenAPI document.

`GET /{name}` stands here too, written as plainly as can be: the short cut in `hotpath` takes its place, and must equal it.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import License, Tag
from litestar.params import Parameter, SkipValidation
from prometheus_client.exposition import choose_encoder

from apidex import __version__
from apidex.answers import (
    ALLOW,
    COMPRESS_FROM,
    FAULT,
    IDENTITY,
    JSON,
    PROBLEM_JSON,
    Encoding,
    Headers,
    Problem,
    age_headers,
    entity_tag,
    is_name,
    joined,
    name_of,
    negotiate,
    unchanged,
    version_headers,
)
from apidex.catalogue import NAME_LIMIT, Entry
from apidex.clock import iso
from apidex.docs_page import docs_page
from apidex.formats.report import Remark, Remarks
from apidex.freshness import State
from apidex.refresh import Failure, Refresher
from apidex.service import Service


class ProblemDocument(msgspec.Struct, frozen=True):
    """An error (RFC 9457). Some problems have further members, such as the limit that was passed."""

    title: str
    status: int
    detail: str


class RemarksView(msgspec.Struct, frozen=True):
    """Rows of the upstream's answer that were not plain: how many, and the first of them with the reason for each."""

    total: int
    first: list[Remark]


class FailureView(msgspec.Struct, frozen=True):
    """The last time that the upstream, or Redis, gave nothing usable: one word, a sentence, and when."""

    reason: str
    detail: str
    at: str


class UpstreamView(msgspec.Struct, frozen=True):
    """What this replica's asking of the upstream has come to: how each time ended, and why some failed."""

    url: str
    refreshes: dict[str, int]
    failures: dict[str, int]
    failed_in_a_row: int
    last_failure: FailureView | None
    next_refresh_in: float


class RedisView(msgspec.Struct, frozen=True):
    """How this replica stands with the fleet's one copy. `shared` says that it answers from that copy."""

    url: str
    reachable: bool
    shared: bool
    adoptions: dict[str, int]
    publications: dict[str, int]
    leases: dict[str, int]
    errors: dict[str, int]
    last_error: FailureView | None


class CatalogueView(msgspec.Struct, frozen=True):
    """The catalogue that this replica answers from. Ages and times to wait are in seconds."""

    version: Annotated[
        str, msgspec.Meta(description="Order and identity in one word, as in the header Catalogue-Version")
    ]
    stamp: Annotated[int, msgspec.Meta(description="Its order among the catalogues of the fleet, in milliseconds")]
    digest: Annotated[str, msgspec.Meta(description="SHA-256 of its canonical bytes")]
    state: State
    age: Annotated[float, msgspec.Meta(description="Time since the upstream last vouched for it")]
    checked_at: str
    max_age: float
    source: str
    format: str
    entries: int
    categories: int
    rows: Annotated[
        int, msgspec.Meta(description="Rows that the upstream's answer had; the rejected ones are no entries")
    ]
    repaired: RemarksView
    rejected: RemarksView
    ignored: RemarksView
    upstream: UpstreamView
    redis: RedisView
    served_by: str


class IndexView(msgspec.Struct, frozen=True):
    """What there is to ask here."""

    service: str
    version: str
    about: str
    entries: int
    catalogue: str
    search: str
    example: str
    docs: str
    openapi: str


class StatusView(msgspec.Struct, frozen=True):
    """An answer to a probe."""

    status: str


ServiceDependency = SkipValidation[NamedDependency[Service]]

log = structlog.get_logger("apidex.api")

_SEE = "All paths are listed at /-/docs."


def _described(status: HTTPStatus, text: str) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            ProblemDocument, description=text, media_type=PROBLEM_JSON.decode(), generate_examples=False
        )
    }


_UNCHANGED = {304: ResponseSpec(None, description="The client holds this answer already", generate_examples=False)}


NAME = Parameter(description="What the name is to contain", schema_extra={"minLength": 1, "maxLength": NAME_LIMIT})


@get(
    "/{name:str}",
    summary="Find every API whose name contains a string",
    description=(
        "Case-sensitive, complete, in the order of the catalogue; an empty list where there is none. Any character can be "
        "searched, percent-encoded where a URL needs it: `/Songlink%20%2F%20Odesli`."
    ),
    tags=["search"],
    operation_id="search_by_name",
    responses={
        200: ResponseSpec(list[Entry], description="The entries", generate_examples=False),
        **_UNCHANGED,
        **_described(
            HTTPStatus.BAD_REQUEST, "A name that nothing can have: too long, with control characters, or no UTF-8"
        ),
    },
)
async def search_by_name(
    request: Request[Any, Any, Any],
    service: ServiceDependency,
    name: Annotated[str, NAME],  # noqa: ARG001 - stands for the route; what was asked is in the undecoded path
) -> Response[bytes]:
    """Answer by the textbook: look at every entry, encode those that match."""
    raw_path = request.scope["raw_path"]
    if not is_name(raw_path):  # Litestar takes /Cat/ for /Cat
        raise NotFoundException
    wanted = name_of(raw_path)
    entries = [entry for entry in service.refresher.current.catalogue.entries() if wanted in entry.name]
    return _from_catalogue(request, service, msgspec.json.encode(entries))


@get("/", summary="What there is to ask here", tags=["catalogue"], operation_id="index", responses=_UNCHANGED)
async def index(request: Request[Any, Any, Any], service: ServiceDependency) -> Response[IndexView]:
    """Answer with the addresses of everything else."""
    current = service.refresher.current
    base = _base(request)
    view = IndexView(
        service="apidex",
        version=__version__,
        about="Which public APIs have this in their name?",
        entries=len(current.catalogue),
        catalogue=f"{base}/v1/catalogue",
        search=f"{base}/{{name}}",
        example=f"{base}/Cat",
        docs=f"{base}/-/docs",
        openapi=f"{base}/-/openapi.json",
    )
    return _about_now(request, service, view)


@get(
    "/v1/catalogue",
    summary="The catalogue that answers come from: its age, its origin, and what was refused or repaired",
    tags=["catalogue"],
    operation_id="catalogue",
    responses=_UNCHANGED,
)
async def catalogue(request: Request[Any, Any, Any], service: ServiceDependency) -> Response[CatalogueView]:
    """Answer with everything that is known of the current catalogue."""
    return _about_now(request, service, _catalogue_view(service))


@get("/-/livez", summary="Whether the event loop turns", tags=["operations"], operation_id="livez")
async def livez() -> Response[StatusView]:
    """Answer at all: that is the news."""
    return Response(StatusView("alive"), headers={"cache-control": "no-store"})


@get(
    "/-/readyz",
    summary="Whether this replica wants requests: it holds a catalogue and is not about to end",
    tags=["operations"],
    operation_id="readyz",
    responses=_described(HTTPStatus.SERVICE_UNAVAILABLE, "It is about to end"),
)
async def readyz(service: ServiceDependency) -> Response[StatusView]:
    """Answer without asking anybody else: what all replicas depend on must not take all of them out at once."""
    if service.draining:
        raise Problem(503, "This replica is about to end.")
    return Response(StatusView("ready"), headers={"cache-control": "no-store"})


@get(
    "/-/metrics",
    media_type=MediaType.TEXT,
    summary="Metrics for Prometheus",
    tags=["operations"],
    operation_id="metrics",
)
async def metrics(request: Request[Any, Any, Any], service: ServiceDependency) -> Response[bytes]:
    """Answer in the format that the scraper asks for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    headers = {"cache-control": "no-store", "content-type": content_type}
    return Response(encode(service.metrics.registry), headers=headers)


@get(
    "/-/docs", media_type=MediaType.HTML, summary="This document, for people", tags=["operations"], operation_id="docs"
)
async def docs(request: Request[Any, Any, Any]) -> Response[str]:
    """Answer with a page made from the OpenAPI document; it needs nothing else."""
    page = docs_page(openapi_document(), _base(request))
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        page, media_type=MediaType.HTML, headers={"content-security-policy": policy, "cache-control": "no-cache"}
    )


@get("/-/openapi.json", summary="This document, for programs", tags=["operations"], operation_id="openapi")
async def openapi() -> Response[dict[str, Any]]:
    """Answer with the OpenAPI document."""
    return Response(openapi_document(), media_type=MediaType.JSON, headers={"cache-control": "no-cache"})


HANDLERS = (search_by_name, index, catalogue, livez, readyz, metrics, docs, openapi)


def litestar_app(service: Service) -> Litestar:
    """The application that answers everything but the searches that the short cut takes."""
    return Litestar(
        route_handlers=HANDLERS,
        dependencies={"service": Provide(lambda: service, sync_to_thread=False)},
        exception_handlers={Problem: _problem, HTTPException: _http_exception, Exception: _fault},
        logging_config=None,
        openapi_config=None,
    )


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made from the handlers when it is first asked for.

    An application of its own makes it, since Litestar would add pages to ours that load scripts from other hosts.
    """
    config = OpenAPIConfig(
        title="Apidex",
        version=__version__,
        description="Which public APIs have this in their name?",
        license=License(name="MIT", identifier="MIT"),
        tags=[
            Tag("search", "Searching by name"),
            Tag("catalogue", "What is searched"),
            Tag("operations", "For those who run it"),
        ],
    )
    unused = Provide(object, sync_to_thread=False)
    app = Litestar(HANDLERS, dependencies={"service": unused}, openapi_config=config, logging_config=None)
    return app.openapi_schema.to_schema()


def _catalogue_view(service: Service) -> CatalogueView:
    refresher, current = service.refresher, service.refresher.current
    report, age = current.report, round(refresher.age(), 3)
    return CatalogueView(
        version=current.version,
        stamp=current.stamp,
        digest=current.catalogue.digest,
        state=refresher.state(),
        age=age,
        checked_at=iso(refresher.clock.wall() - age),
        max_age=refresher.limits.max_age.total_seconds(),
        source=current.source,
        format=report.format,
        entries=len(current.catalogue),
        categories=current.catalogue.categories,
        rows=report.rows,
        repaired=_remarks_view(report.repaired),
        rejected=_remarks_view(report.rejected),
        ignored=_remarks_view(report.ignored),
        upstream=_upstream_view(refresher),
        redis=_redis_view(refresher),
        served_by=service.served_by,
    )


def _remarks_view(remarks: Remarks) -> RemarksView:
    return RemarksView(remarks.total, remarks.first)


def _upstream_view(refresher: Refresher) -> UpstreamView:
    ledger = refresher.ledger
    return UpstreamView(
        url=refresher.upstream.source,
        refreshes=dict(+ledger.refreshes),
        failures=dict(+ledger.failures),
        failed_in_a_row=ledger.failed_in_a_row,
        last_failure=_failure_view(ledger.last_failure),
        next_refresh_in=round(refresher.next_refresh_in(), 3),
    )


def _redis_view(refresher: Refresher) -> RedisView:
    ledger = refresher.ledger
    return RedisView(
        url=refresher.cache.url,
        reachable=ledger.redis_reachable,
        shared=refresher.current.shared,
        adoptions=dict(+ledger.adoptions),
        publications=dict(+ledger.publications),
        leases=dict(+ledger.leases),
        errors=dict(+ledger.redis_errors),
        last_error=_failure_view(ledger.last_redis_error),
    )


def _failure_view(failure: Failure | None) -> FailureView | None:
    return FailureView(failure.reason, failure.text, iso(failure.at)) if failure else None


def _from_catalogue(request: Request[Any, Any, Any], service: Service, body: bytes) -> Response[bytes]:
    """An answer that is the same as long as the catalogue is."""
    current, limits = service.refresher.current, service.refresher.limits
    described = [*version_headers(current, limits), *age_headers(current, limits, service.refresher.age())]
    return _conditional(request, body, lambda encoding: entity_tag(current, encoding), described)


def _about_now(request: Request[Any, Any, Any], service: Service, view: msgspec.Struct) -> Response[Any]:
    """An answer about this moment: caches must ask again, and its tag is made of its bytes."""
    current, limits = service.refresher.current, service.refresher.limits
    body = msgspec.json.encode(view)
    digest = hashlib.sha256(body).hexdigest()[:32]
    described = [
        (b"cache-control", b"no-cache"),
        *(pair for pair in version_headers(current, limits) if pair[0] != b"cache-control"),
        *age_headers(current, limits, service.refresher.age()),
    ]
    return _conditional(request, body, lambda encoding: f'"{digest}{encoding.suffix}"'.encode(), described)


def _conditional(
    request: Request[Any, Any, Any], body: bytes, tag: Callable[[Encoding], bytes], described: Headers
) -> Response[bytes]:
    """*body* in the encoding that the client prefers, or a 304 where it holds the one or the plain one already."""
    asked = request.scope["headers"]
    encoding = negotiate(joined(asked, b"accept-encoding"))
    held = unchanged(joined(asked, b"if-none-match"), (tag(encoding), tag(IDENTITY)))
    if held is not None:
        return Response(b"", status_code=304, headers=_text([(b"etag", held), *described]))
    if len(body) < COMPRESS_FROM:
        encoding = IDENTITY
    if encoding is not IDENTITY:
        described = [*described, (b"content-encoding", encoding.token)]
    return Response(
        encoding.encode(body), media_type=JSON.decode(), headers=_text([(b"etag", tag(encoding)), *described])
    )


_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def _base(request: Request[Any, Any, Any]) -> str:
    """The address that the client knows this service by, for links; none, so that they are relative, if it sends nonsense."""
    host = joined(request.scope["headers"], b"host")
    return f"{request.scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""


def _text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def _problem(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    headers = {"cache-control": "no-store", "content-type": PROBLEM_JSON.decode()}
    return Response(problem.body(), status_code=problem.status, media_type=PROBLEM_JSON.decode(), headers=headers)


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    details = {
        404: f"There is nothing at this path. A name is searched by a path of one segment, where a / is written %2F. {_SEE}",
        405: f"{request.method} is not allowed here; allowed are {ALLOW}.",
    }
    response = _problem(request, Problem(error.status_code, details.get(error.status_code, error.detail)))
    if error.headers and "allow" in error.headers:
        response.headers["allow"] = ALLOW
    return response


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request.broken", path=request.scope["path"], exc_info=error)
    return _problem(request, Problem(500, FAULT))
