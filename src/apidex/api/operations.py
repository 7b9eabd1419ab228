"""For those who run it: probes and metrics."""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.enums import MediaType
from prometheus_client.exposition import choose_encoder

from apidex.answers import Problem
from apidex.api.answering import ServiceDependency
from apidex.api.problems import described


class StatusView(msgspec.Struct, frozen=True):
    """An answer to a probe."""

    status: str


@get("/-/livez", summary="Whether the event loop turns", tags=["operations"], operation_id="livez")
async def livez() -> Response[StatusView]:
    """Answer at all: that is the news."""
    return Response(StatusView("alive"), headers={"cache-control": "no-store"})


@get(
    "/-/readyz",
    summary="Whether this replica wants requests: it holds a catalogue and is not about to end",
    tags=["operations"],
    operation_id="readyz",
    responses=described(HTTPStatus.SERVICE_UNAVAILABLE, "It is about to end"),
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
