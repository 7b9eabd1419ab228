"""Operations: probes and metrics."""

import re
from functools import partial
from http import HTTPStatus
from typing import Any

from litestar import Request, Response, get
from litestar.enums import MediaType
from prometheus_client.exposition import choose_encoder

from apidex.http.probes import ALIVE, LIVEZ, METRICS, READY, READYZ, StatusView, stalled
from apidex.http.problem_details import Problem
from apidex.http.routes.conditional import ReplicaDependency
from apidex.http.routes.described import described
from apidex.http.routes.problems import problem_spec

_ODD_VERSION = re.compile(r"version\s*=(?!\s*[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}\s*(?:[;,]|\Z))", re.ASCII)
"""A version of a format that is not three numbers: prometheus_client cannot compare it, and repeats it in Content-Type."""

_get = partial(get, tags=["operations"], operation_class=described(conditional=False, sheds=False))


@_get(
    LIVEZ,
    summary="Whether the event loop and the refresh task go on",
    responses=problem_spec(HTTPStatus.SERVICE_UNAVAILABLE, "The refresh task has stopped"),
)
async def livez(replica: ReplicaDependency) -> Response[StatusView]:
    """Answer by the state of this process alone, as `readyz` does."""
    if replica.refresher.supervision.is_stalled():
        raise stalled()
    return Response(ALIVE, headers={"cache-control": "no-store"})


@_get(
    READYZ,
    summary="Whether this replica wants requests: it holds a catalogue, is not behind the others, and is not about to end",
    responses=problem_spec(
        HTTPStatus.SERVICE_UNAVAILABLE, "It is about to end, or was held up and has not polled since"
    ),
)
async def readyz(replica: ReplicaDependency) -> Response[StatusView]:
    """Answer without Redis or the upstream: a shared dependency that is down must not take out every replica."""
    if why := replica.why_unready():
        raise Problem(503, why)
    return Response(READY, headers={"cache-control": "no-store"})


@_get(
    METRICS,
    media_type=MediaType.TEXT,
    summary="Metrics for Prometheus",
    operation_class=described("application/openmetrics-text", conditional=False, sheds=False),
)
async def metrics(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer in the format that the scraper asks for."""
    accept = request.headers.get("accept", "")
    encode, content_type = choose_encoder("" if _ODD_VERSION.search(accept) else accept)
    headers = {"cache-control": "no-store", "content-type": content_type}
    return Response(encode(replica.metrics.registry), headers=headers)
