"""The tools of `apidex mcp`: requests to the public API, whose arguments become parameters, and answers for a model.

The service checks the parameters, so that there is one wording of what is allowed. Nothing here knows the protocol.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import httpx
import msgspec

from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.catalogue.formats.row import kind_of
from apidex.cli.search import OFFERS
from apidex.cli.service import Service
from apidex.cli.source import CategoryList, SearchPage
from apidex.errors import ApidexError, ServiceError
from apidex.http.routes.search import SuggestionsView
from apidex.search.filters import FILTERS, MAX_FILTER_VALUES, Filter
from apidex.search.results import CorrectionKind, HitView
from apidex.terminal import printable

_NEAR = 5
"""The number of names that are suggested if there is no API of the name."""


class ToolError(ApidexError):
    """A request that is refused: a sentence for the model, which says what is wrong, then what is allowed."""


# --- answers


class Apis(msgspec.Struct):
    """APIs that were found."""

    apis: list[Entry]

    def text(self) -> str:
        """A line for each API, for applications that do not read structured content."""
        return "\n".join(map(_line, self.apis))


class Correction(Apis):
    """Another query, and the first APIs that it finds."""

    query: str
    total: int
    kind: CorrectionKind


class Found(Apis):
    """A page of what was found."""

    total: Annotated[int, msgspec.Meta(description="How many there are, on all pages")]
    next_offset: Annotated[int | None, msgspec.Meta(description="The offset of the next page, if there is one")]
    understood: Annotated[
        dict[str, str], msgspec.Meta(description="Filters that words of the query became, such as free")
    ]
    did_you_mean: Annotated[Correction | None, msgspec.Meta(description="Another query, if nothing was found")]
    catalogue: Annotated[str, msgspec.Meta(description="Its version, and whether it is only the starter catalogue")]

    def text(self) -> str:
        """The number of APIs, and a line for each."""
        filters = ", ".join(f"{name}={value}" for name, value in self.understood.items())
        lines = [f"{self.total} found{f' with {filters}' if filters else ''} in catalogue {self.catalogue}"]
        if self.next_offset is not None:
            lines[0] += f"; the next page has offset {self.next_offset}"
        other = self.did_you_mean
        if other:
            lines.append(f"{OFFERS[other.kind].format(other.query)} That finds {other.total}:")
        return "\n".join([*lines, *map(_line, other.apis if other else self.apis)])


class Categories(CategoryList):
    """All categories, in alphabetical order."""

    def text(self) -> str:
        """Each category with its number of APIs."""
        return "\n".join(f"{printable(each.name)}: {each.entries}" for each in self.categories)


def _line(entry: Entry) -> str:
    transport = "HTTPS" if entry.https else "no HTTPS"
    facts = [entry.category, f"auth {entry.auth or 'none'}", transport, f"CORS {entry.cors}", entry.provider]
    return printable(f"{entry.name} ({', '.join(filter(None, facts))}): {entry.description} {entry.link}".rstrip())


# --- tools

Given = Mapping[str, Sequence[str]]
"""The values of each argument that has any, as texts."""


class Tools:
    """What an AI application can ask of the *service* that *client* reaches. Each tool raises ToolError or ServiceError."""

    def __init__(self, client: httpx.AsyncClient, service: Service) -> None:
        self._client, self._service = client, service

    async def search(self, given: Given) -> Found:
        """Find public APIs by name, by purpose, and by filters. Hits by name come first, then the most relevant descriptions.

        Every filter must match; several values of one filter are alternatives. An API need not contain all words of the query. If
        nothing is found, use fewer words, or an empty query with a category.
        """
        page, catalogue = await self._search("query", given)
        following = page.offset + len(page.hits)
        next_offset = following if page.hits and following < page.total else None
        other = page.did_you_mean
        correction = Correction(_entries(other.hits), other.query, other.total, other.kind) if other else None
        return Found(_entries(page.hits), page.total, next_offset, page.understood, correction, catalogue)

    async def get(self, given: Given) -> Apis:
        """Look up an API by its whole name; case and spaces do not matter. Several APIs may have the same name."""
        page, _ = await self._search("name", given, {"in": ["name"], "limit": ["100"]})
        [name] = given["name"]
        same = [hit.entry for hit in page.hits if hit.rank == "exact"]
        if not same:
            raise ToolError(f"No API is called {name!r}. {_near(page)}")
        return Apis([entry for entry in same if entry.name == name] or same)

    async def categories(self, _: Given) -> Categories:
        """List the categories of the catalogue, with the number of APIs in each: what `search` takes as `category`."""
        found: Categories
        found, _version = await self._get("/v1/categories", Categories, {})
        return found

    async def names(self, typed: str) -> list[str]:
        """Names that fit what was typed so far."""
        found, _ = await self._get("/v1/suggest", SuggestionsView, {"q": [typed], "limit": ["20"]})
        return [each.name for each in found.suggestions]

    async def _search(self, argument: str, given: Given, further: Given | None = None) -> tuple[SearchPage, str]:
        """A page of hits for *given*. The value of *argument* is the query."""
        parameters = {"q" if name == argument else name: values for name, values in given.items()}
        try:
            return await self._get("/v1/search", SearchPage, parameters | dict(further or {}))
        except ToolError as error:
            raise ToolError(re.sub(r"^(The parameter )?q\b", rf"\1{argument}", str(error))) from None

    async def _get(self, path: str, shape: Any, parameters: Given) -> tuple[Any, str]:  # noqa: ANN401 - a type and its value
        """Return the service's answer as *shape*, and the version of its catalogue. Raises ToolError and ServiceError."""
        try:
            response, body = await self._service.ask(self._client, path, parameters)
        except httpx.InvalidURL:
            raise ToolError("The arguments are too long; 65,536 bytes are allowed.") from None
        except ServiceError as error:
            text = str(error)
            raise ServiceError(f"{text[0].upper()}{text[1:]}.") from None
        try:
            if response.is_error:
                raise ToolError(msgspec.json.decode(body)["detail"])
            version = response.headers["catalogue-version"]
            answer = msgspec.json.decode(body, type=shape)
        except (ValueError, KeyError, TypeError, msgspec.DecodeError):
            raise ServiceError(f"The service at {self._service.shown} is not Apidex.") from None
        if "detail=bundled" in response.headers.get("cache-status", ""):
            version += " (only the starter catalogue; the upstream's could not be fetched)"
        return answer, version


def _entries(hits: Sequence[HitView]) -> list[Entry]:
    return [hit.entry for hit in hits]


def _near(page: SearchPage) -> str:
    """What to ask for instead of the name that *page* was searched for."""
    correction = page.did_you_mean
    is_misspelled = correction is not None and correction.kind == "spelling"
    hits = correction.hits if correction and is_misspelled else page.hits
    names = ", ".join(dict.fromkeys(hit.entry.name for hit in hits[:_NEAR]))
    if not names:
        return "Use the tool `search` with a part of the name or a category."
    return f"Near it are: {names}." if is_misspelled else f"Names with these words: {names}."


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: the method that it calls, and the JSON Schema of its arguments."""

    call: Callable[[Tools, Given], Awaitable[Any]]
    properties: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...] = ()

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        properties, required = dict(self.properties), list(self.required)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    @property
    def output_schema(self) -> dict[str, Any]:
        """The JSON Schema of its answer."""
        shape = get_type_hints(self.call)["return"]
        _, shapes = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
        return {**shapes.pop(shape.__name__), "$defs": shapes}

    def read(self, arguments: Mapping[str, Any]) -> Given:
        """The values of *arguments* as texts. Raises ToolError for an argument that the tool does not have, or that it needs."""
        for name in arguments:
            if name not in self.properties:
                allowed = f"allowed are {', '.join(self.properties)}" if self.properties else "none is allowed"
                raise ToolError(f"There is no argument {name!r}; {allowed}.")
        given = {name: texts for name, value in arguments.items() if (texts := _texts(name, value))}
        for name in self.required:
            if name not in given:
                raise ToolError(f"The argument {name} is missing; allowed is: {self.properties[name]['description']}.")
        return given


def _texts(name: str, value: object) -> list[str]:
    """The *value* of an argument, or those of a list, as a query has them; null and empty texts say nothing."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        if isinstance(each, dict | list):
            raise ToolError(f"{name}: {kind_of(each)} is not allowed here; allowed are strings, numbers and booleans.")
    return [_text(each) for each in values if each not in (None, "")]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _filter_schema(declared: Filter) -> dict[str, Any]:
    if declared.is_flag:
        return {"type": "boolean", "description": declared.description}
    item = {"type": "string"} | ({"enum": list(declared.values)} if declared.values else {})
    values = {"type": "array", "items": item, "maxItems": MAX_FILTER_VALUES}
    return {"anyOf": [values, item], "description": declared.description}


def _integer_schema(low: int, high: int, default: int, description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default, "description": description}


_QUERY = "A name, or what the API is for: `open weather`, `send sms`; empty for every API that the filters accept"
_SEARCH_PROPERTIES = {
    "query": {"type": "string", "maxLength": NAME_LIMIT, "default": "", "description": _QUERY},
    **{each.name: _filter_schema(each) for each in FILTERS.values()},
    "limit": _integer_schema(1, 100, 20, "The most APIs to answer at once"),
    "offset": _integer_schema(0, 10**9, 0, "How many to leave out before the first"),
}
_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_LIMIT, "description": "The whole name of an API"}

TOOLS = {
    "search": Tool(Tools.search, _SEARCH_PROPERTIES),
    "get": Tool(Tools.get, {"name": _NAME}, required=("name",)),
    "categories": Tool(Tools.categories, {}),
}
