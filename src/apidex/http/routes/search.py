"""Searching as people type, and what the catalogue holds: `/v1/search`, `suggest`, `categories`, `entries`, `changes`.

Each answer names the version of the catalogue that it is from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from itertools import compress
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIType
from litestar.params import ParameterKwarg, QueryParameter

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.diff import Change, ChangedPositions, compare
from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.catalogue.spreadsheet import to_csv
from apidex.http.asgi import Headers
from apidex.http.context import ReplicaContext
from apidex.http.headers import preferred
from apidex.http.problem_details import Problem
from apidex.http.routes.conditional import CONDITIONAL, Content, HttpRequest, ReplicaDependency, versioned_response
from apidex.http.routes.described import described
from apidex.http.routes.parameters import NO_CONTROLS, RequestedFilters, strict_query, whole_number
from apidex.http.routes.problems import problem_spec
from apidex.replication.snapshot import Snapshot
from apidex.search.ranking import Scope, Sort
from apidex.search.results import CategoryView, SearchRequest, SearchView, answer

# --- query parameters

LINK_LIMIT = 3072
"""The longest value of Link, in bytes. nginx allows 4 KiB for a whole head by default (`proxy_buffer_size`)."""

_CHANGE_BYTES = 128
"""Memory of the positions of a changed entry."""

_VERSION = r"^[0-9]{1,20}-[0-9a-f]{12}$(?!\n)"
_A_VERSION = "a version as the header Catalogue-Version names it, such as 1800000000000-64bd81190d7b"
_NDJSON, _CSV, _TEXT = "application/x-ndjson", "text/csv", "text/plain"

Format = Literal["json", "ndjson", "csv"]
_MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "ndjson": _NDJSON, "csv": _CSV}


def _search_text(description: str, *examples: str) -> ParameterKwarg:
    return QueryParameter(
        description=description,
        max_length=NAME_LIMIT,
        pattern=NO_CONTROLS,
        title=f"up to {NAME_LIMIT} characters, none of them a control character",
        examples=[Example(text, value=text) for text in examples] or None,
    )


_SEARCH = _search_text(
    "A name or a part of it, or what the API is for. Case, accents, spaces and punctuation do not matter; blank for every entry.",
    "open weather",
)
_TYPED = _search_text("What was typed so far. Nothing is suggested for a blank one.", "open weather")
_LIMIT = whole_number(1, 100, "The most hits in one answer.")
_SUGGESTIONS = whole_number(1, 20, "The most names that are suggested.")
_OFFSET = whole_number(0, 10**9, "How many hits to leave out before the first. Past the end the page is empty.")
_IN = QueryParameter(
    name="in",
    description="name: names only. about: the words of name, description, category and provider, and the domains of the link; "
    "an entry need not contain all words of q. all, the default: the hits of name, then those of about.",
    title=f"one of {', '.join(Scope)}",
    lower_case=True,
)
_SORT = QueryParameter(
    description="relevance, the default: exact names, then those that begin so, have a word that begins so, contain it; "
    "shorter before longer, then alphabetical; then entries about q, the most relevant first. "
    "name: alphabetical. catalogue: as the upstream lists them.",
    title=f"one of {', '.join(Sort)}",
    lower_case=True,
)
_NAME = _search_text(
    "Only entries whose name contains this, as `GET /{name}` compares: case-sensitive, in NFC. Any name can be "
    "requested here, also `.` and `..`, which clients remove from the path of a URL."
)
_FORMAT = QueryParameter(
    title=f"one of {', '.join(_MEDIA_TYPES)}",
    lower_case=True,
    include_in_schema=False,  # generated clients would decode every answer as JSON
)
_OF_VERSION = QueryParameter(
    description="The version of the catalogue to search, so that pages fit together across a refresh; links to pages have it.",
    pattern=_VERSION,
    title=_A_VERSION,
    schema_extra={"one_of": None, "type": OpenAPIType.STRING},
)
_SINCE = QueryParameter(
    description="The version to compare with: an earlier value of the header Catalogue-Version, or of a member version.",
    pattern=_VERSION,
    title=_A_VERSION,
    required=True,
)

# --- answers


class SuggestionView(msgspec.Struct, frozen=True):
    """A name that fits what was typed so far."""

    name: str
    highlights: list[tuple[int, int]]


class SuggestionsView(msgspec.Struct, frozen=True):
    """Distinct names, best first."""

    query: str
    version: str
    suggestions: list[SuggestionView]


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


_WRONG = problem_spec(HTTPStatus.BAD_REQUEST, "An unknown parameter, or a value that is not allowed")
_GONE = problem_spec(HTTPStatus.GONE, "The requested version is not available here; `version` is the current one")


def _answers(
    shape: Any,  # noqa: ANN401 - a type
    text: str,
    media_type: str = "application/json",
) -> dict[int, ResponseSpec]:
    success = ResponseSpec(shape, description=text, media_type=media_type, generate_examples=False)
    return {200: success, **CONDITIONAL, **_WRONG}


# --- handlers

_get = partial(get, before_request=strict_query, operation_class=described())


@_get(
    "/v1/search",
    summary="Search as people type",
    description=(
        "Case, accents, width, spaces and punctuation do not matter: `open weather` finds OpenWeatherMap, `poke` finds PokéAPI. "
        "After the names come the entries about it: `send sms` is also searched in descriptions, categories and providers. "
        "Filters work alone, too. `Link` leads to the other pages (RFC 8288) of the same version of the catalogue. "
        "Where it would pass 3 KiB, it leaves out the last page, then the first, the previous and the next; `offset` leads there."
    ),
    tags=["search"],
    operation_class=described(links=True),
    responses=_answers(SearchView, "A page of hits") | _GONE,
)
async def search(
    *,
    request: HttpRequest,
    replica: ReplicaDependency,
    q: Annotated[str, _SEARCH] = "",
    filters: RequestedFilters,
    where: Annotated[Scope, _IN] = Scope.ALL,
    sort: Annotated[Sort, _SORT] = Sort.RELEVANCE,
    limit: Annotated[int, _LIMIT] = 20,
    offset: Annotated[int, _OFFSET] = 0,
    version: Annotated[str | None, _OF_VERSION] = None,
) -> Response[bytes]:
    """Answer with a page of hits, from the requested version."""
    snapshot = _snapshot(replica, version)
    search_request = SearchRequest(q, filters, where, sort, limit, offset)
    snapshot.search.facets.parse(filters)  # a wrong value is an error even where the client holds the answer

    def found() -> Content:
        view = answer(snapshot.search, snapshot.version, search_request)
        return Content(msgspec.json.encode(view), _links(search_request, snapshot.version, view.total))

    return await versioned_response(request, replica, snapshot, lambda: replica.compute(snapshot, found, limit))


@_get(
    "/v1/suggest",
    summary="Names that fit what was typed so far",
    tags=["search"],
    responses=_answers(SuggestionsView, "Distinct names, best first"),
)
async def suggest(
    request: HttpRequest,
    replica: ReplicaDependency,
    q: Annotated[str, _TYPED] = "",
    limit: Annotated[int, _SUGGESTIONS] = 8,
) -> Response[bytes]:
    """Answer with the best few names."""
    snapshot = replica.refresher.current

    def found() -> Content:
        hits = snapshot.search.suggest(q, limit)
        names = [SuggestionView(snapshot.catalogue[hit.position].name, hit.highlights) for hit in hits]
        return Content(msgspec.json.encode(SuggestionsView(q, snapshot.version, names)))

    return await versioned_response(request, replica, snapshot, lambda: replica.compute(snapshot, found))


@_get(
    "/v1/categories",
    summary="Every category, and how many entries it has",
    tags=["catalogue"],
    responses=_answers(CategoriesView, "In alphabetical order"),
)
async def categories(request: HttpRequest, replica: ReplicaDependency) -> Response[bytes]:
    """Answer with the categories of the current catalogue."""
    snapshot = replica.refresher.current

    def listed() -> Content:
        views = [CategoryView(name, entries) for name, entries in snapshot.search.facets.categories.items()]
        return Content(msgspec.json.encode(CategoriesView(snapshot.version, len(views), views)))

    return await versioned_response(request, replica, snapshot, lambda: replica.compute(snapshot, listed))


@_get(
    "/v1/entries",
    summary="Every entry, or all that filters let through",
    description=(
        "Complete, in the order of the catalogue: `/v1/entries?auth=none&cors=yes`. `/v1/entries?name=Cat` is the same list as "
        "`/Cat`, for every name. `format=csv`, `format=ndjson` or the header `Accept` give the formats of the next two paths."
    ),
    tags=["catalogue"],
    responses=_answers(list[Entry], "The entries"),
)
async def entries(
    request: HttpRequest,
    replica: ReplicaDependency,
    filters: RequestedFilters,
    name: Annotated[str, _NAME] = "",
    format: Annotated[Format, _FORMAT] = "json",  # noqa: A002 - the name of the parameter
) -> Response[bytes]:
    """Answer with all of them, in the requested format."""
    if "format" not in request.query_params:
        media_type = preferred(request.scope["headers"], [*_MEDIA_TYPES.values()])
        format = next(name for name in _WRITERS if _MEDIA_TYPES[name] == media_type)  # noqa: A001
    return await _entries_response(request, replica, filters, name, format, _MEDIA_TYPES[format], f"-{format}")


@_get(
    "/v1/entries.csv",
    summary="The entries of `/v1/entries` as CSV",
    description="With a line of headings. What a spreadsheet would read as a formula begins with an apostrophe.",
    tags=["catalogue"],
    responses=_answers(str, "A line of headings, and a row for each entry", media_type=_CSV),
)
async def entries_as_csv(
    request: HttpRequest, replica: ReplicaDependency, filters: RequestedFilters, name: Annotated[str, _NAME] = ""
) -> Response[bytes]:
    """Answer with all of them as CSV."""
    return await _entries_response(request, replica, filters, name, "csv", _CSV)


@_get(
    "/v1/entries.ndjson",
    summary="The entries of `/v1/entries` as NDJSON",
    description="One entry a line. It is `text/plain` for clients whose `Accept` prefers that, because many read no NDJSON.",
    tags=["catalogue"],
    operation_class=described(_TEXT),
    responses=_answers(str, "A line for each entry", media_type=_NDJSON),
)
async def entries_as_ndjson(
    request: HttpRequest, replica: ReplicaDependency, filters: RequestedFilters, name: Annotated[str, _NAME] = ""
) -> Response[bytes]:
    """Answer with all of them as NDJSON."""
    media_type = preferred(request.scope["headers"], [_NDJSON, _TEXT])
    variant = "-ndjson" if media_type == _NDJSON else "-text"
    return await _entries_response(request, replica, filters, name, "ndjson", media_type, variant)


@_get(
    "/v1/changes",
    summary="What has changed since a version of the catalogue",
    description="A replica holds the last few versions. What has the same name, or else the same link, is the same entry.",
    tags=["catalogue"],
    responses=_answers(ChangesView, "What was added, removed and changed") | _GONE,
)
async def changed(request: HttpRequest, replica: ReplicaDependency, since: Annotated[str, _SINCE]) -> Response[bytes]:
    """Answer with the difference between an earlier version and the current one."""
    before, now = _snapshot(replica, since, "Read /v1/entries again."), replica.refresher.current

    async def content() -> Content:
        found = await _changed_positions(replica, before.catalogue, now.catalogue)
        return Content(lambda: _as_changes(since, before, now, found))

    return await versioned_response(request, replica, now, content)


HANDLERS = (search, suggest, categories, entries, entries_as_csv, entries_as_ndjson, changed)

# --- how they are made


def _snapshot(replica: ReplicaContext, version: str | None, advice: str = "Restart from the first page.") -> Snapshot:
    """The snapshot of a *version*, or the current one for None. Raises Problem, with *advice*, if this replica lacks it."""
    current = replica.refresher.current
    snapshot = replica.refresher.activation.find_version(version) if version else current
    if snapshot is None:
        detail = f"Version {version} is not available (current: {current.version}). {advice}"
        raise Problem(410, detail, version=current.version)
    return snapshot


async def _changed_positions(replica: ReplicaContext, before: Catalogue, now: Catalogue) -> ChangedPositions:
    """What has changed, compared once for all URLs that ask for it, unless there is too much to remember."""
    key = (before.digest, now.digest)
    found: ChangedPositions | None = replica.responses.get(key)
    if found is None:
        found = await replica.flights.run(key, lambda: replica.slices.result(compare(before, now)))
        changes = len(found.added) + len(found.removed) + len(found.changed)
        replica.responses.put(key, found, _CHANGE_BYTES * changes)
    return found


async def _entries_response(
    request: HttpRequest,
    replica: ReplicaContext,
    filters: Mapping[str, Sequence[str]],
    name: str,
    format: Format,  # noqa: A002 - as the parameter
    media_type: str,
    variant: str = "",
) -> Response[bytes]:
    """The response with every entry that *filters* and *name* let through."""
    snapshot = replica.refresher.current
    facets = snapshot.search.facets
    accepted = facets.parse(filters)

    def batches() -> Iterable[Sequence[int]]:
        if not name:
            return facets.batches(accepted)
        named = snapshot.index.batches(name)
        return (list(compress(batch, facets.are_accepted(batch, accepted))) for batch in named)

    async def content() -> Content:
        return Content(lambda: _WRITERS[format](snapshot.catalogue, batches()))

    content_type = media_type + ("; charset=utf-8" if media_type.startswith("text/") else "")
    return await versioned_response(
        request, replica, snapshot, content, content_type=content_type.encode(), variant=variant
    )


def _links(request: SearchRequest, version: str, total: int) -> Headers:
    """References to the other pages, if there are any; fewer where they are long, so that proxies take the head.

    They are relative to the request's URL (RFC 8288, section 3.2), which only its client knows: a proxy may have changed it.
    """
    offset, limit = request.offset, request.limit
    last = max(0, total - 1) // limit * limit
    pages = {"first": 0, "prev": min(max(0, offset - limit), last), "next": offset + limit, "last": last}
    if offset == 0:
        del pages["prev"]
    if offset + limit >= total:
        del pages["next"]
    if "prev" not in pages and "next" not in pages:
        return []
    query = {
        "q": request.query,
        **request.filters,
        "in": request.scope.value,
        "sort": request.sort.value,
        "limit": limit,
    }
    kept = {name: value for name, value in query.items() if value}
    links = {
        rel: f'<?{urlencode(kept | {"offset": to, "version": version}, doseq=True)}>; rel="{rel}"'
        for rel, to in pages.items()
    }
    for rel in ("last", "first", "prev", "next"):
        if len(", ".join(links.values())) > LINK_LIMIT:
            links.pop(rel, None)
    return [(b"link", ", ".join(links.values()).encode())] if links else []


def _as_ndjson(catalogue: Catalogue, batches: Iterable[Sequence[int]]) -> Iterator[bytes]:
    return (b"".join([catalogue.encoded(position) + b"\n" for position in run]) for run in catalogue.runs(batches))


def _as_csv(catalogue: Catalogue, batches: Iterable[Sequence[int]]) -> Iterator[bytes]:
    yield to_csv([[field.encode_name for field in msgspec.structs.fields(Entry)]]).encode()
    for run in catalogue.runs(batches):
        yield to_csv(msgspec.structs.astuple(catalogue[position]) for position in run).encode()


_WRITERS: dict[Format, Callable[[Catalogue, Iterable[Sequence[int]]], Iterator[bytes]]] = {
    "json": Catalogue.select_in_pieces,
    "ndjson": _as_ndjson,
    "csv": _as_csv,
}


def _as_changes(since: str, before: Snapshot, now: Snapshot, found: ChangedPositions) -> Iterator[bytes]:
    """A ChangesView, cut from the bytes of both catalogues."""
    yield b'{"since":"%b","version":"%b","added":' % (since.encode(), now.version.encode())
    yield from now.catalogue.select_in_pieces([found.added])
    yield b',"removed":'
    yield from before.catalogue.select_in_pieces([found.removed])
    separator = b',"changed":['
    for first, second in found.changed:
        pair = (separator, before.catalogue.encoded(first), now.catalogue.encoded(second))
        yield b'%b{"before":%b,"after":%b}' % pair
        separator = b","
    yield b"]}" if found.changed else b',"changed":[]}'
