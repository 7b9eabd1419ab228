"""What `/` answers."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from apidex import __version__
from apidex.api.answering import UNCHANGED, ServiceDependency, about_now, base


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


@get("/", summary="What there is to ask here", tags=["catalogue"], operation_id="index", responses=UNCHANGED)
async def index(request: Request[Any, Any, Any], service: ServiceDependency) -> Response[IndexView]:
    """Answer with the addresses of everything else."""
    current = service.refresher.current
    address = base(request)
    view = IndexView(
        service="apidex",
        version=__version__,
        about="Which public APIs have this in their name?",
        entries=len(current.catalogue),
        catalogue=f"{address}/v1/catalogue",
        search=f"{address}/{{name}}",
        example=f"{address}/Cat",
        docs=f"{address}/-/docs",
        openapi=f"{address}/-/openapi.json",
    )
    return about_now(request, service, view)
