"""The OpenAPI document, for programs and for people."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import SkipValidation

from apidex.http.routes.conditional import base
from apidex.http.ui.docs_page import docs_page

Document = SkipValidation[NamedDependency[dict[str, Any]]]


@get(
    "/-/docs", media_type=MediaType.HTML, summary="This document, for people", tags=["operations"], operation_id="docs"
)
async def docs(request: Request[Any, Any, Any], document: Document) -> Response[str]:
    """Answer with a page made from the OpenAPI document; it needs nothing else."""
    page = docs_page(document, base(request))
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        page, media_type=MediaType.HTML, headers={"content-security-policy": policy, "cache-control": "no-cache"}
    )


@get("/-/openapi.json", summary="This document, for programs", tags=["operations"], operation_id="openapi")
async def openapi(document: Document) -> Response[dict[str, Any]]:
    """Answer with the OpenAPI document."""
    return Response(document, media_type=MediaType.JSON, headers={"cache-control": "no-cache"})
