"""The OpenAPI document, which Litestar makes from the handlers: for programs, and as a page for people."""

from collections.abc import Callable
from typing import Any, cast

from litestar import Request, Router
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import License, Server, Tag
from litestar.routes import BaseRoute
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from apidex import __version__
from apidex.http.routes.described import described
from apidex.http.ui.docs_page import docs_page


class _DocsPage(OpenAPIRenderPlugin):
    """The page that Apidex makes itself: Litestar's load a megabyte of script, from another host."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        return _made_once(request, lambda: docs_page(openapi_schema).encode())


class _Document(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document."""
        return _made_once(request, lambda: self.render_json(request, openapi_schema))


def _made_once(request: Request[Any, Any, Any], make: Callable[[], bytes]) -> bytes:
    """What *make* returned for the first request to this path of the application."""
    made, path = request.app.state, request.scope["path"]
    if request.scope["raw_path"].endswith(
        b"/"
    ):  # Litestar takes it for the path without, where references lead elsewhere
        raise NotFoundException
    if path not in made:
        made[path] = make()
    return cast(bytes, made[path])


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_NO_CACHE = {"cache-control": "no-cache"}
_DESCRIBED = described(conditional=False)
_ROUTES: dict[str, dict[str, Any]] = {
    "/docs": {
        "sync_to_thread": True,  # at the first request the document is made, which takes 20 ms
        "summary": "This document, for people",
        "operation_class": _DESCRIBED,
        "response_headers": _NO_CACHE | {"content-security-policy": _POLICY},
    },
    "/openapi.json": {
        "sync_to_thread": True,  # at the first request the document is made, which takes 20 ms
        "summary": "This document, for programs",
        "operation_class": _DESCRIBED,
        "responses": {200: ResponseSpec(dict[str, Any], description="The document", generate_examples=False)},
        "response_headers": _NO_CACHE,
    },
}


class _DocumentRouter(Router):
    """Litestar's routes for the document, described as all others are.

    Its page for unknown paths is left out, because every error here is a problem document, and so is its start page.
    """

    def register(self, value: Any) -> list[BaseRoute]:  # noqa: ANN401 - as Litestar has it
        """Register a handler that Litestar made for a render plugin."""
        value.paths &= _ROUTES.keys()
        for path in value.paths:
            for name, given in _ROUTES[path].items():
                setattr(value, name, given)
        return super().register(value) if value.paths else []


def _operation_id(_: HTTPRouteHandler, __: Method, path: list[str | PathParameterDefinition]) -> str:
    """What a client generator calls an operation: its path, without the version."""
    parts = (str(part).removesuffix(".json").replace(".", "_") for part in path if part not in ("v1", "-"))
    return "_".join(parts) or "index"


OPENAPI = OpenAPIConfig(
    title="Apidex",
    version=__version__,
    description="Which public APIs have this in their name?",
    license=License(name="MIT", identifier="MIT"),
    servers=[Server("..", description="Relative to this document")],
    tags=[
        Tag("search", "Searching by name"),
        Tag("catalogue", "What is searched"),
        Tag("publicapis", "For clients of api.publicapis.org, which need only a new base URL"),
        Tag("operations", "For those who run it"),
    ],
    operation_id_creator=_operation_id,
    path="/-",
    render_plugins=[_DocsPage(path="/docs"), _Document(media_type=MediaType.JSON)],
    openapi_router=_DocumentRouter("/-", route_handlers=[], tags=["operations"]),
)
