"""The API of api.publicapis.org, dark since 2024, under `/publicapis`: a client of it needs a new base URL and no other change.

Its shapes and parameters, not its faults: an empty list is `[]`, what is not allowed is a 400 that says what is, and no match for
`random` is a 404. It knew no paging and no limits, and neither does this.
"""

import random as chance
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Schema

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.http.headers import JSON, version_headers
from apidex.http.problem_details import Problem
from apidex.http.routes.conditional import UNCHANGED, ReplicaDependency, catalogue_response
from apidex.http.routes.parameters import Asked, asking, read
from apidex.http.routes.problems import problem_spec
from apidex.search import publicapis
from apidex.search.filters import ENUM_FILTERS
from apidex.search.publicapis import NO, YES, PublicApisQuery, normalize_query


class EntriesView(msgspec.Struct, frozen=True):
    """Entries, and how many they are."""

    count: int
    entries: list[Entry]


class NamesView(msgspec.Struct, frozen=True):
    """The names of all categories, in the order of the catalogue, and how many they are."""

    count: int
    categories: list[str]


class HealthView(msgspec.Struct, frozen=True):
    """A sign of life."""

    alive: bool


def _text(name: str, about: str) -> Asked:
    schema = Schema(type="string", max_length=NAME_LIMIT)  # type: ignore[arg-type]
    allowed = f"a text of up to {NAME_LIMIT} characters"
    return Asked(name=name, about=about, schema=schema, allowed=allowed, parse=publicapis.text, default="")


def _word(name: str, about: str, words: Sequence[str], parse: Callable[[str], Any], allowed: str) -> Asked:
    schema = Schema(type="string", enum=[*words, ""])  # type: ignore[arg-type]
    return Asked(name=name, about=about, schema=schema, allowed=allowed, parse=parse, default=parse(""))


_CORS = ENUM_FILTERS["cors"]
_FILTERS = (
    _text("title", "What the name is to contain, in any case."),
    _text("description", "What the description is to contain, in any case."),
    _text("auth", "What the authentication is to contain, in any case; `null` for none."),
    _word("https", "Whether it is to be served over HTTPS.", [*YES, *NO], publicapis.https, "true or false"),
    _word("cors", "What is to be said of CORS, in any case.", _CORS, publicapis.cors, f"one of {', '.join(_CORS)}"),
    _text("category", "What the category is to contain, in any case: `science` for Science & Math."),
)
_ENTRIES = {200: ResponseSpec(EntriesView, description="The entries", generate_examples=False)}
_CATEGORIES = {200: ResponseSpec(NamesView, description="The categories", generate_examples=False)}
_NOT_ALLOWED = problem_spec(HTTPStatus.BAD_REQUEST, "A parameter that there is not, or a value that it cannot have")


@get(
    "/publicapis/entries",
    summary="Every entry that has all that is asked for; without parameters, all",
    description="As `GET /entries` of api.publicapis.org. A parameter that is empty asks for nothing.",
    tags=["publicapis"],
    operation_id="publicapis_entries",
    operation_class=asking(*_FILTERS),
    responses={**_ENTRIES, **UNCHANGED, **_NOT_ALLOWED},
)
async def entries(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with the entries in the order of the catalogue."""
    filters, catalogue = _filters(request), replica.refresher.current.catalogue
    return catalogue_response(request, replica, lambda: _entries_view(catalogue, filters.select(catalogue)))


@get(
    "/publicapis/random",
    summary="One entry, by chance, among those that have all that is asked for",
    description="As `GET /random` of api.publicapis.org; asked again, it answers another.",
    tags=["publicapis"],
    operation_id="publicapis_random",
    operation_class=asking(*_FILTERS),
    responses={**_ENTRIES, **_NOT_ALLOWED, **problem_spec(HTTPStatus.NOT_FOUND, "No entry has all that is asked for")},
)
async def random(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with a list of one, which no cache may keep."""
    current, policy = replica.refresher.current, replica.refresher.policy
    found = _filters(request).select(current.catalogue)
    if not found:
        raise Problem(404, "No entry has all that is asked for.")
    body = _entries_view(current.catalogue, [chance.choice(found)])  # noqa: S311 - guards nothing
    headers = {name.decode(): value.decode() for name, value in version_headers(current, policy)}
    return Response(body, media_type=JSON.decode(), headers=headers | {"cache-control": "no-store"})


@get(
    "/publicapis/categories",
    summary="The names of all categories",
    description="As `GET /categories` of api.publicapis.org.",
    tags=["publicapis"],
    operation_id="publicapis_categories",
    responses={**_CATEGORIES, **UNCHANGED, **_NOT_ALLOWED},
)
async def categories(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with each name once, in the order in which the catalogue has them first."""
    read(request, ())
    kinds = replica.refresher.current.search.facets.keys

    def body() -> bytes:
        names = list(dict.fromkeys(kind.category for kind in kinds))
        return msgspec.json.encode(NamesView(len(names), names))

    return catalogue_response(request, replica, body)


@get(
    "/publicapis/health",
    summary="Whether the service answers",
    description="As `GET /health` of api.publicapis.org.",
    tags=["publicapis"],
    operation_id="publicapis_health",
)
async def health() -> Response[HealthView]:
    """Answer at all, however often it is asked."""
    return Response(HealthView(alive=True), headers={"cache-control": "no-store"})


HANDLERS = (entries, random, categories, health)


def _filters(request: Request[Any, Any, Any]) -> PublicApisQuery:
    return PublicApisQuery(**read(request, _FILTERS, normalize_query))


def _entries_view(catalogue: Catalogue, positions: list[int]) -> bytes:
    """An EntriesView, cut from the catalogue's bytes."""
    return b'{"count":%d,"entries":%b}' % (len(positions), catalogue.select(positions))
