"""`/`: the search page for browsers, and an index of the API for other clients.

The page's files are in `apidex/http/ui/`. They are sent as one document, with the style and the script inside it and the hash of
each in the Content-Security-Policy; see decision 8.
"""

import base64
import functools
import hashlib
import json
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIFormat

from apidex import __version__
from apidex.http.headers import preferred
from apidex.http.routes.conditional import (
    CONDITIONAL,
    HttpRequest,
    ReplicaDependency,
    live_response,
    static_response,
)
from apidex.http.routes.described import described, formatted
from apidex.search.filters import FILTERS

_Address = Annotated[str, formatted(OpenAPIFormat.URI_REFERENCE)]


class IndexView(msgspec.Struct, frozen=True):
    """The addresses of the API, relative to the URL of this index (RFC 3986, section 5)."""

    service: str
    version: str
    about: str
    entries: int
    catalogue: _Address
    search: Annotated[str, formatted(OpenAPIFormat.URI_TEMPLATE)]
    example: _Address
    docs: _Address
    openapi: _Address


@get(
    "/",
    summary="The addresses of the API",
    description="A page to search in where `Accept` likes `text/html` best, as browsers do.",
    tags=["catalogue"],
    operation_class=described("text/html"),
    responses={200: ResponseSpec(IndexView, description="The addresses", generate_examples=False), **CONDITIONAL},
)
async def index(request: HttpRequest, replica: ReplicaDependency) -> Response[Any]:
    """Answer with the page, or with the index."""
    if preferred(request.scope["headers"], ["application/json", "text/html"]) == "text/html":
        page = render_page()
        headers = [(b"content-security-policy", page.policy.encode())]
        return static_response(request, page.document, b"text/html; charset=utf-8", headers)
    current = replica.refresher.current
    return live_response(request, replica, current, _index_view(len(current.catalogue)), varies=True)


def _index_view(entries: int) -> IndexView:
    return IndexView(
        service="apidex",
        version=__version__,
        about="Which public APIs have this in their name?",
        entries=entries,
        catalogue="./v1/catalogue",
        search="./{name}",
        example="./Cat",
        docs="./-/docs",
        openapi="./-/openapi.json",
    )


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The page as it is sent, and the Content-Security-Policy that allows what it needs and nothing else."""

    document: bytes
    policy: str


@functools.cache
def render_page() -> RenderedPage:
    """The page, assembled from its files at the first request."""
    html, style, script = (_file(name) for name in ("page.html", "page.css", "page.js"))
    declared = {each.name: {"label": each.label, "value_labels": each.value_labels} for each in FILTERS.values()}
    html = html.replace('data-declared=""', f'data-declared="{escape(json.dumps(declared))}"')
    html = html.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    html = html.replace('<script src="page.js"></script>', f"<script>{script}</script>")
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return RenderedPage(html.encode(), policy)


def _file(name: str) -> str:
    return (resources.files("apidex.http.ui") / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names the one script or style that it allows (Content Security Policy 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
