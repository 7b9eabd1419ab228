"""The API of api.publicapis.org, dark since 2024, under `/publicapis`: its clients need a new base URL and no other change.

It has the shapes and parameters of the old service, not its faults: an empty list is `[]`, a value that is not allowed is a 400,
and no match for `random` is a 404. The old service had neither pages nor limits, and so this has none.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import ParameterKwarg, QueryParameter, SkipValidation

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.http.headers import JSON, version_headers
from apidex.http.problem_details import Problem
from apidex.http.routes.conditional import CONDITIONAL, Content, HttpRequest, ReplicaDependency, catalogue_response
from apidex.http.routes.described import described
from apidex.http.routes.parameters import strict_query
from apidex.http.routes.problems import problem_spec
from apidex.search.publicapis import CORS, NO, YES, PublicApisQuery, normalize_query


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


def _text(description: str) -> ParameterKwarg:
    return QueryParameter(
        description=description, max_length=NAME_LIMIT, title=f"a text of up to {NAME_LIMIT} characters"
    )


def _word(description: str, *words: str) -> ParameterKwarg:
    return QueryParameter(description=description, schema_extra={"enum": [*words, ""]})


def requested_query(
    replica: ReplicaDependency,  # noqa: ARG001 - as for `parameters.requested_filters`
    title: Annotated[str, _text("What the name must contain, in any case.")] = "",
    description: Annotated[str, _text("What the description must contain, in any case.")] = "",
    auth: Annotated[str, _text("What the authentication must contain, in any case; `null` for none.")] = "",
    https: Annotated[
        str,
        # not an enum: in generated clients `true` and `True` would get the same name
        QueryParameter(
            description="Whether it is served over HTTPS: `true` or `false`.",
            schema_extra={"pattern": f"^({'|'.join((*YES, *NO))})?$(?!\\n)"},
        ),
    ] = "",
    cors: Annotated[str, _word("Whether web pages of other sites may call it, in any case.", *CORS)] = "",
    category: Annotated[str, _text("What the category must contain, in any case: `science` for Science & Math.")] = "",
) -> PublicApisQuery:
    """The query of a request; a dependency of handlers."""
    return PublicApisQuery(title, description, auth, https, cors, category)


RequestedQuery = SkipValidation[NamedDependency[PublicApisQuery]]


async def _strict_query(request: HttpRequest) -> None:
    request.scope["query_string"] = normalize_query(request.scope["query_string"])
    await strict_query(request)


_ENTRIES = {200: ResponseSpec(EntriesView, description="The entries", generate_examples=False)}
_CATEGORIES = {200: ResponseSpec(NamesView, description="The categories", generate_examples=False)}
_NOT_ALLOWED = problem_spec(HTTPStatus.BAD_REQUEST, "An unknown parameter, or a value that is not allowed")

_get = partial(get, tags=["publicapis"], before_request=_strict_query, operation_class=described())


@_get(
    "/publicapis/entries",
    summary="Every entry that matches all parameters; without parameters, all",
    description="As `GET /entries` of api.publicapis.org. An empty parameter is as good as none.",
    responses={**_ENTRIES, **CONDITIONAL, **_NOT_ALLOWED},
)
async def entries(request: HttpRequest, replica: ReplicaDependency, requested: RequestedQuery) -> Response[bytes]:
    """Answer with the entries in the order of the catalogue."""
    current = replica.refresher.current
    catalogue = current.catalogue

    async def content() -> Content:
        count, first = await replica.slices.result(requested.count(catalogue))
        is_complete = len(first) == count
        return Content(lambda: _entries_view(catalogue, count, [first] if is_complete else requested.select(catalogue)))

    return await catalogue_response(request, replica, current, content)


@_get(
    "/publicapis/random",
    summary="One random entry of those that match all parameters",
    description="As `GET /random` of api.publicapis.org; each request gets another.",
    operation_class=described(conditional=False),
    responses={**_ENTRIES, **_NOT_ALLOWED, **problem_spec(HTTPStatus.NOT_FOUND, "No entry matches all parameters")},
)
async def random(replica: ReplicaDependency, requested: RequestedQuery) -> Response[bytes]:
    """Answer with a list of one, which no cache may keep."""
    current, policy = replica.refresher.current, replica.refresher.policy
    drawn = await replica.slices.result(requested.draw(current.catalogue, Random()))  # noqa: S311 - guards nothing
    if drawn is None:
        raise Problem(404, "No entry matches all parameters.")
    body = b"".join(_entries_view(current.catalogue, 1, [[drawn]]))
    headers = {name.decode(): value.decode() for name, value in version_headers(current, policy)}
    return Response(body, media_type=JSON.decode(), headers=headers | {"cache-control": "no-store"})


@_get(
    "/publicapis/categories",
    summary="The names of all categories",
    description="As `GET /categories` of api.publicapis.org.",
    responses={**_CATEGORIES, **CONDITIONAL, **_NOT_ALLOWED},
)
async def categories(request: HttpRequest, replica: ReplicaDependency) -> Response[bytes]:
    """Answer with each name once, in the order in which the catalogue has them first."""
    current = replica.refresher.current

    def listed() -> Content:
        names = current.search.facets.in_catalogue_order("category")
        return Content(msgspec.json.encode(NamesView(len(names), names)))

    return await catalogue_response(request, replica, current, lambda: replica.compute(current, listed))


@get(
    "/publicapis/health",
    summary="Whether the service answers",
    description="As `GET /health` of api.publicapis.org.",
    operation_class=described(conditional=False),
    tags=["publicapis"],
)
async def health() -> Response[HealthView]:
    """Answer: an answer is all that clients want."""
    return Response(HealthView(alive=True), headers={"cache-control": "no-store"})


HANDLERS = (entries, random, categories, health)


_without_providers = re.compile(rb',"Provider":"(?:[^"\\]|\\.)*"').sub
"""Removes a field that the old service did not have. The bytes cannot occur in texts, where quotation marks are escaped."""


def _entries_view(catalogue: Catalogue, count: int, batches: Iterable[Sequence[int]]) -> Iterator[bytes]:
    """An EntriesView of *count* entries, cut from the catalogue's bytes."""
    yield b'{"count":%d,"entries":' % count
    yield from (_without_providers(b"", piece) for piece in catalogue.select_in_pieces(batches))
    yield b"}"
