"""`apidex mcp`: the catalogue as tools for an AI application, by the Model Context Protocol over standard input and output.

The tools use the public API, `/v1/search` and `/v1/categories`: of the service at a URL, or of a replica inside this process that
follows the upstream and listens on no port. So there is one search, and one wording of what is allowed.
"""

import inspect
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from inspect import cleandoc
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from apidex import __version__, event_loop, logs
from apidex.app import create_app
from apidex.catalogue.entry import NAME_LIMIT
from apidex.errors import SettingsError
from apidex.http_client import new_client
from apidex.search.filters import FILTERS, Filter
from apidex.settings import Settings
from apidex.urls import without_password

_INSTRUCTIONS = (
    "A catalogue of public web APIs: what each offers, where its documentation is, which authentication it wants, whether it is "
    "served over HTTPS, and whether web pages of other sites may call it (CORS). Use it to find an API for a task, rather than "
    "one from memory that may be gone. Names and descriptions are searched: describe the purpose of the API in a few words."
)
_FIRST_CATALOGUE = timedelta(seconds=10)
"""How long to wait for the upstream before the starter catalogue is used; people wait longer than probes."""

_READS_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_ABOUT_QUERY = "A name, or what the API is for: `open weather`, `send sms`; empty for every API that the filters accept"
_ABOUT_ENTRY = (
    "Each with API (its name), Description, Auth (empty for none), HTTPS, Cors, Link, Category and, if known, Provider"
)


def run(options: Namespace, settings: Settings) -> int:
    """Answer on standard output until standard input ends. Raises SettingsError for a `--url` that is not an HTTP URL."""
    url: str | None = options.url
    logs.configure(settings.log_format, settings.log_level, settings.served_by, stream=sys.stderr)
    if url is not None:
        _check(url)
    # A thread waits for input, and nothing but input wakes it. Ctrl-C ends the process itself: there is nothing to clean up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def main() -> None:
        async with _client(settings, url) as client:
            await mcp_server(Tools(client)).run_stdio_async()

    event_loop.run(main)
    return 0


def _check(url: str) -> None:
    try:
        parts, _ = urlsplit(url), httpx.URL(url)  # each finds errors that the other overlooks
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        text = f"--url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000"
        raise SettingsError(text)


@asynccontextmanager
async def _client(settings: Settings, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service at *url*, or of a replica in this process that does not listen on a port."""
    if url is not None:
        async with new_client(httpx.AsyncClient, base_url=url, timeout=10) as client:
            yield client
        return
    alone = replace(settings, redis_url="", startup_timeout=_FIRST_CATALOGUE)
    async with create_app(alone) as app:
        transport = httpx.ASGITransport(app=app.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://apidex") as client:
            yield client


class Apis(TypedDict):
    """APIs that were found."""

    apis: Annotated[list[dict[str, Any]], Field(description=_ABOUT_ENTRY)]


class Meant(Apis):
    """What may have been meant, and what that finds."""

    query: str


class Found(Apis):
    """A page of what was found."""

    total: Annotated[int, Field(description="How many there are, on all pages")]
    next_offset: Annotated[int | None, Field(description="The offset of the next page, if there is one")]
    understood: Annotated[dict[str, str], Field(description="Filters that words of the query became, such as free")]
    did_you_mean: Annotated[Meant | None, Field(description="Another query, if nothing was found")]
    catalogue: Annotated[str, Field(description="The version of the catalogue, and whether it is only the starter one")]


class Category(TypedDict):
    """A category, and how many APIs it has."""

    name: str
    entries: int


class Categories(TypedDict):
    """All categories, in alphabetical order."""

    categories: list[Category]


class Tools:
    """What an AI application can do with the catalogue that *client* asks. Each raises ToolError, which says what is allowed."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._where = without_password(str(client.base_url))

    async def search(
        self,
        query: Annotated[str, Field(description=_ABOUT_QUERY, max_length=NAME_LIMIT)] = "",
        limit: Annotated[int, Field(description="The most APIs to answer at once", ge=1, le=100)] = 20,
        offset: Annotated[int, Field(description="How many to leave out before the first", ge=0, le=10**9)] = 0,
        **filters: Any,  # noqa: ANN401 - declared in search.filters; see below
    ) -> Found:
        """Find public APIs by name, by purpose, and by filters. Hits by name come first, then the most relevant descriptions.

        Every filter must match; several values of one filter are alternatives. An API need not contain all words of the query. If
        nothing is found, use fewer words, or an empty query with a category.
        """
        given = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in filters.items()
            if value not in (None, [])
        }
        view, version = await self._get("/v1/search", q=query, limit=limit, offset=offset, **given)
        following = offset + len(view["hits"])
        meant = view["did_you_mean"]
        return {
            "apis": _entries(view),
            "total": view["total"],
            "next_offset": following if view["hits"] and following < view["total"] else None,
            "understood": view.get("understood", {}),  # services before 0.2.0 do not have it
            "did_you_mean": {"apis": _entries(meant), "query": meant["query"]} if meant else None,
            "catalogue": version,
        }

    async def get(
        self, name: Annotated[str, Field(description="The name of the API", min_length=1, max_length=NAME_LIMIT)]
    ) -> Apis:
        """Look up an API by its whole name; case and spaces do not matter. Several APIs may have the same name."""
        view, _ = await self._get("/v1/search", q=name, limit=100)
        same = [hit["entry"] for hit in view["hits"] if hit["rank"] == "exact"]
        if not same:
            near = _entries(view) or _entries(view["did_you_mean"] or {"hits": []})
            names = ", ".join(dict.fromkeys(entry["API"] for entry in near[:5]))
            hint = f"Near it are: {names}." if names else "Use the tool `search` with a part of the name or a category."
            raise ToolError(f"No API is called {name!r}. {hint}")
        return {"apis": [entry for entry in same if entry["API"] == name] or same}

    async def categories(self) -> Categories:
        """List the categories of the catalogue, with the number of APIs in each: what `search` takes as `category`."""
        view, _ = await self._get("/v1/categories")
        return {"categories": view["categories"]}

    async def _get(self, path: str, **parameters: Any) -> tuple[Any, str]:  # noqa: ANN401 - as many kinds as there are
        """Return the service's answer, and the version of its catalogue. Raises ToolError."""
        try:
            response = await self._client.get(path, params=parameters)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ToolError(f"The service at {self._where} gave no answer: {reason}") from None
        try:
            answer = response.json()
            if response.is_error:
                raise ToolError(answer["detail"])
            version = response.headers["catalogue-version"]
        except (ValueError, KeyError, TypeError):
            raise ToolError(f"The service at {self._where} is not Apidex.") from None
        bundled = "detail=bundled" in response.headers.get("cache-status", "")
        return (
            answer,
            f"{version} (only the starter catalogue; the upstream's could not be fetched)" if bundled else version,
        )


def _filter_parameter(declared: Filter) -> inspect.Parameter:
    kind: Any = bool | None if declared.is_flag else list[str]
    if declared.values and not declared.is_flag:
        kind = list[Literal[declared.values]]  # type: ignore[name-defined] # known at run time
    annotation = Annotated[kind, Field(description=declared.description)]
    default = None if declared.is_flag else list[str]()
    return inspect.Parameter(declared.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_filters(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of *function*, with a parameter for each filter in place of `**filters`, behind the query."""
    signature = inspect.signature(function)
    tool, query, *others, _ = signature.parameters.values()
    others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]
    return signature.replace(parameters=[tool, query, *map(_filter_parameter, FILTERS.values()), *others])


Tools.search.__signature__ = _with_filters(Tools.search)  # type: ignore[attr-defined]


def _entries(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [hit["entry"] for hit in view["hits"]]


def mcp_server(tools: Tools) -> MCPServer:
    """A server that offers *tools*."""
    offered = [_Tool.of(function) for function in (tools.search, tools.get, tools.categories)]
    return MCPServer("apidex", title="Apidex", version=__version__, instructions=_INSTRUCTIONS, tools=offered)


class _Tool(Tool):
    """A tool that refuses arguments which it does not have, where the SDK would drop them, and says so in a sentence."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """*function* as a tool, described by its docstring."""
        made = cls.from_function(function, description=cleandoc(function.__doc__ or ""), annotations=_READS_ONLY)
        arguments = made.fn_metadata.arg_model
        strict: Any = type(arguments.__name__, (arguments,), {"model_config": ConfigDict(extra="forbid")})
        made.fn_metadata.arg_model, made.parameters = strict, strict.model_json_schema()
        return made

    async def run(self, arguments: dict[str, Any], context: Any, convert_result: bool = False) -> Any:  # noqa: ANN401 - the SDK's
        """Call the function. Raises ToolError."""
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = [_sentence(each["loc"], each["msg"]) for each in error.__cause__.errors()]
            names = ", ".join(self.parameters["properties"]) or "none"
            raise ToolError(f"{' '.join(wrong)} The arguments of {self.name} are: {names}.") from error.__cause__


def _sentence(place: Sequence[int | str], wrong: str) -> str:
    return f"{'.'.join(map(str, place))}: {wrong}."
