"""Searching as people type, and what the catalogue holds: `/v1/search`, `suggest`, `categories`, `entries`, `changes`.

Each answer names the version of the catalogue that it is from.
"""

import csv
import functools
import io
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get
from litestar.datastructures.headers import Accept
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Schema

from apidex.catalogue.diff import Change, changes
from apidex.catalogue.entry import NAME_LIMIT, Entry, has_control
from apidex.errors import QueryError
from apidex.http.asgi import Headers
from apidex.http.context import ReplicaContext
from apidex.http.headers import JSON, header_value
from apidex.http.problem_details import Problem
from apidex.http.routes.conditional import UNCHANGED, ReplicaDependency, versioned_response
from apidex.http.routes.parameters import NO_CONTROLS, Asked, asking, one_of, read, whole
from apidex.http.routes.problems import problem_spec
from apidex.replication.snapshot import Snapshot
from apidex.search.filters import ENUM_FILTERS, FacetKey, Filters
from apidex.search.ranking import Sort
from apidex.search.results import SearchRequest, SearchView, answer

# --- what may be asked


def _query(text: str) -> str:
    if len(text) > NAME_LIMIT or has_control(text):
        raise ValueError(text)
    return text


_VERSION = "^[0-9]{1,20}-[0-9a-f]{12}$"


def _version(text: str) -> str:
    if not re.fullmatch(_VERSION, text):
        raise ValueError(text)
    return text


_ALLOWED_VERSION = "a version as the header Catalogue-Version names it, such as 1800000000000-64bd81190d7b"


def _q(about: str) -> Asked:
    schema = Schema(type="string", max_length=NAME_LIMIT, pattern=NO_CONTROLS, example="open weather")  # type: ignore[arg-type]
    allowed = f"up to {NAME_LIMIT} characters, none of them a control character"
    return Asked(name="q", about=about, schema=schema, allowed=allowed, parse=_query, default="")


def _filter_of_catalogue(name: str, about: str) -> Asked:
    schema = Schema(type="string")  # type: ignore[arg-type]
    return Asked(name=name, about=about, schema=schema, allowed="a value that the catalogue has", many=True)


FILTERS = (
    _filter_of_catalogue(
        "category",
        "Only entries of this category, in upper or lower case, as /v1/categories lists them. Several are alternatives.",
    ),
    _filter_of_catalogue(
        "auth", "Only entries that want this authentication: none, apiKey, OAuth, … Several are alternatives."
    ),
    one_of(
        "https", "Only entries that are served over HTTPS (true), or are not (false).", ENUM_FILTERS["https"], many=True
    ),
    one_of(
        "cors",
        "Only entries that let web pages of others call them, or do not. Several are alternatives.",
        ENUM_FILTERS["cors"],
        many=True,
    ),
)

_LIMIT = whole("limit", "The most hits that are answered at once.", 1, 100, 20)
_OFFSET = whole("offset", "How many hits to leave out before the first. Past the end the page is empty.", 0, 10**9, 0)
_SORT = one_of(
    "sort",
    "relevance: exact names, then those that begin so, have a word that begins so, contain it; "
    "shorter before longer, then alphabetical. name: alphabetical. catalogue: as the upstream lists them.",
    [*Sort],
    default=Sort.RELEVANCE,
)
_OF_VERSION = Asked(
    name="version",
    about="The version of the catalogue to search, so that pages fit together across a refresh; the links in Link carry it.",
    schema=Schema(type="string", pattern=_VERSION),  # type: ignore[arg-type]
    allowed=_ALLOWED_VERSION,
    parse=_version,
)
_SEARCH = (
    _q("What the name is to contain. Case, accents, spaces and punctuation do not matter; blank for every entry."),
    *FILTERS,
    *(_SORT, _LIMIT, _OFFSET, _OF_VERSION),
)
_SUGGEST = (
    _q("What was typed so far. Nothing is suggested for a blank one."),
    whole("limit", "The most names that are suggested.", 1, 20, 8),
)
FORMATS = {"json": JSON, "ndjson": b"application/x-ndjson", "csv": b"text/csv; charset=utf-8"}
_MEDIA_TYPES = {content_type.decode().partition(";")[0]: name for name, content_type in FORMATS.items()}
_FORMAT = one_of(
    "format",
    "json (a list), ndjson (an entry a line) or csv (with a line of headings). If it is not said, the header Accept decides.",
    [*FORMATS],
)
_ENTRIES = (*FILTERS, _FORMAT)
_SINCE = Asked(
    name="since",
    about="The version to compare with: what the header Catalogue-Version, or a member version, said before.",
    schema=Schema(type="string", pattern=_VERSION),  # type: ignore[arg-type]
    allowed=_ALLOWED_VERSION,
    parse=_version,
    required=True,
)

# --- what is answered


class SuggestionView(msgspec.Struct, frozen=True):
    """A name that fits what was typed so far."""

    name: str
    highlights: list[tuple[int, int]]


class SuggestionsView(msgspec.Struct, frozen=True):
    """Distinct names, best first."""

    query: str
    version: str
    suggestions: list[SuggestionView]


class CategoryView(msgspec.Struct, frozen=True):
    """A category, and how many entries are in it."""

    name: str
    entries: int


class CategoriesView(msgspec.Struct, frozen=True):
    """Every category, in alphabetical order."""

    version: str
    count: int
    categories: list[CategoryView]


class ChangesView(msgspec.Struct, frozen=True):
    """What the catalogue has that it had not, has no more, and has otherwise."""

    since: str
    version: str
    added: list[Entry]
    removed: list[Entry]
    changed: list[Change]


_WRONG = problem_spec(HTTPStatus.BAD_REQUEST, "A parameter that there is not, or a value that is not allowed")
_GONE = problem_spec(HTTPStatus.GONE, "The version that was asked for is not held here; `version` is the one that is")


def _answers(shape: Any, text: str, *further: dict[int, ResponseSpec]) -> dict[int, ResponseSpec]:  # noqa: ANN401 - a type
    specs = {200: ResponseSpec(shape, description=text, generate_examples=False), **UNCHANGED, **_WRONG}
    for more in further:
        specs |= more
    return specs


# --- handlers


@get(
    "/v1/search",
    summary="Search as people type",
    description=(
        "Case, accents, width, spaces and punctuation do not matter: `open weather` finds OpenWeatherMap, `poke` finds PokéAPI. "
        "Filters work alone, too. `Link` leads to the other pages (RFC 8288) of the same version of the catalogue."
    ),
    tags=["search"],
    operation_id="search",
    operation_class=asking(*_SEARCH),
    responses=_answers(SearchView, "A page of hits", _GONE),
)
async def search(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with a page of hits, from the version that was asked for."""
    asked = read(request, _SEARCH)
    snapshot = _held(replica, asked["version"])
    filters = _filters(snapshot, asked)
    page = SearchRequest(asked["q"], filters, Sort(asked["sort"]), asked["offset"], asked["limit"])
    results = functools.cache(lambda: answer(snapshot.search, snapshot.version, page))
    return versioned_response(
        request,
        replica,
        snapshot,
        lambda: msgspec.json.encode(results()),
        further=lambda: _links(asked, snapshot.version, results().total),
    )


@get(
    "/v1/suggest",
    summary="Names that fit what was typed so far",
    tags=["search"],
    operation_id="suggest",
    operation_class=asking(*_SUGGEST),
    responses=_answers(SuggestionsView, "Distinct names, best first"),
)
async def suggest(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with the best few names."""
    asked = read(request, _SUGGEST)
    snapshot = replica.refresher.current

    def body() -> bytes:
        hits = snapshot.search.suggest(asked["q"], asked["limit"])
        names = [SuggestionView(snapshot.catalogue[hit.position].name, hit.highlights) for hit in hits]
        return msgspec.json.encode(SuggestionsView(asked["q"], snapshot.version, names))

    return versioned_response(request, replica, snapshot, body)


@get(
    "/v1/categories",
    summary="Every category, and how many entries it has",
    tags=["catalogue"],
    operation_id="categories",
    responses=_answers(CategoriesView, "In alphabetical order"),
)
async def categories(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with the categories of the current catalogue."""
    read(request, ())
    snapshot = replica.refresher.current

    def body() -> bytes:
        listed = [CategoryView(name, entries) for name, entries in snapshot.search.facets.categories.items()]
        return msgspec.json.encode(CategoriesView(snapshot.version, len(listed), listed))

    return versioned_response(request, replica, snapshot, body)


@get(
    "/v1/entries",
    summary="Every entry, or all that filters let through",
    description="Complete, in the order of the catalogue: `/v1/entries?auth=none&cors=yes&format=csv`.",
    tags=["catalogue"],
    operation_id="entries",
    operation_class=asking(*_ENTRIES, also=list(_MEDIA_TYPES)[1:]),
    responses=_answers(list[Entry], "The entries; as NDJSON or CSV where that was asked for"),
)
async def entries(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with everything, in the format that was asked for."""
    asked = read(request, _ENTRIES)
    snapshot = replica.refresher.current
    filters = _filters(snapshot, asked)
    format_name = asked["format"] or _accepted(header_value(request.scope["headers"], b"accept"))

    def body() -> bytes:
        return _WRITERS[format_name](snapshot, snapshot.search.facets.positions(filters))

    return versioned_response(
        request, replica, snapshot, body, content_type=FORMATS[format_name], varies=f"-{format_name}"
    )


@get(
    "/v1/changes",
    summary="What has changed since a version of the catalogue",
    description="A replica holds the last few versions. What has the same name, or else the same link, is the same entry.",
    tags=["catalogue"],
    operation_id="changes",
    operation_class=asking(_SINCE),
    responses=_answers(ChangesView, "What was added, removed and changed", _GONE),
)
async def changed(request: Request[Any, Any, Any], replica: ReplicaDependency) -> Response[bytes]:
    """Answer with the difference between a version held and the current one."""
    since: str = read(request, (_SINCE,))["since"]
    before, now = _held(replica, since), replica.refresher.current

    def body() -> bytes:
        added, removed, otherwise = changes(before.catalogue, now.catalogue)
        return msgspec.json.encode(ChangesView(since, now.version, added, removed, otherwise))

    return versioned_response(request, replica, now, body)


HANDLERS = (search, suggest, categories, entries, changed)

# --- how


def _held(replica: ReplicaContext, version: str | None) -> Snapshot:
    """The snapshot of a *version*; the current one if none was named. Raises Problem if it is not held."""
    if version is None:
        return replica.refresher.current
    snapshot = replica.refresher.find_version(version)
    if snapshot is None:
        current = replica.refresher.current.version
        detail = f"Version {version} of the catalogue is not held by this replica, or not any more; {current} is. Begin anew."
        raise Problem(410, detail, version=current)
    return snapshot


def _filters(snapshot: Snapshot, asked: dict[str, Any]) -> Filters:
    try:
        return snapshot.search.facets.parse({name: asked[name] for name in FacetKey._fields})
    except QueryError as error:
        raise Problem(400, f"{error}.", parameter=error.name, allowed=error.allowed) from None


def _links(asked: dict[str, Any], version: str, total: int) -> Headers:
    """Where the other pages are, if there are any."""
    offset, limit = asked["offset"], asked["limit"]
    last = max(0, total - 1) // limit * limit
    pages = {"first": 0, "prev": min(max(0, offset - limit), last), "next": offset + limit, "last": last}
    if offset == 0:
        del pages["prev"]
    if offset + limit >= total:
        del pages["next"]
    if "prev" not in pages and "next" not in pages:
        return []
    kept = {name: asked[name] for name in ("q", *FacetKey._fields, "sort", "limit") if asked[name]}
    links = [
        f'</v1/search?{urlencode(kept | {"offset": to, "version": version}, doseq=True)}>; rel="{rel}"'
        for rel, to in pages.items()
    ]
    return [(b"link", ", ".join(links).encode())]


def _accepted(accept: bytes) -> str:
    """The format that an Accept header likes best (RFC 9110, section 12.5.1); JSON if it likes none of them."""
    try:
        best = Accept(accept.decode("latin-1")).best_match(list(_MEDIA_TYPES), default=JSON.decode())
    except OverflowError:  # Litestar takes any number for a weight, and cannot sort by `q=inf`
        best = JSON.decode()
    return _MEDIA_TYPES[best]


def _as_json(snapshot: Snapshot, positions: Sequence[int]) -> bytes:
    return snapshot.catalogue.select(positions)


def _as_ndjson(snapshot: Snapshot, positions: Sequence[int]) -> bytes:
    return b"".join([snapshot.catalogue.encoded(position) + b"\n" for position in positions])


def _as_csv(snapshot: Snapshot, positions: Sequence[int]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow([field.encode_name for field in msgspec.structs.fields(Entry)])
    for position in positions:
        cells = msgspec.structs.astuple(snapshot.catalogue[position])
        rows.writerow(str(cell).lower() if isinstance(cell, bool) else cell for cell in cells)
    return text.getvalue().encode()


_WRITERS = {"json": _as_json, "ndjson": _as_ndjson, "csv": _as_csv}
