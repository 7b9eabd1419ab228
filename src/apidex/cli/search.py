"""`apidex search WORD…`: the search of the page, in the upstream's catalogue or by a running service."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from apidex.catalogue.entry import Entry
from apidex.cli.source import load_catalogue, progress
from apidex.errors import ServiceError, SettingsError
from apidex.http.paths import name_from_path
from apidex.http.problem_details import Problem
from apidex.search.filters import FILTERS
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex
from apidex.search.ranking import Sort
from apidex.search.results import HitView, SearchRequest, SearchView, answer
from apidex.settings import Settings

T = TypeVar("T")

MAX_LIMIT = 100
"""The most hits on a page, as over HTTP."""

Filters = Mapping[str, Sequence[str]]


def run(options: Namespace, settings: Settings) -> int:
    """Print what was found. Return 1 if nothing was, even if there is a correction. Raises ApidexError."""
    text, filters = " ".join(options.words), _filters(options)
    if options.exact:
        return _search_exact(text, filters, options, settings)
    return _search(text, filters, options, settings)


def _filters(options: Namespace) -> Filters:
    given = {name: getattr(options, name) for name in FILTERS}
    return {name: [str(value).lower()] if isinstance(value, bool) else value or [] for name, value in given.items()}


def _search(text: str, filters: Filters, options: Namespace, settings: Settings) -> int:
    if text:
        _path(text)
    elif not any(filters.values()):
        raise SettingsError("WORD: missing; allowed are words, or a filter such as --category Weather")
    limit = options.limit
    if not 1 <= limit <= MAX_LIMIT:
        raise SettingsError(f"--limit: {limit} is not allowed; allowed is a whole number from 1 to {MAX_LIMIT}")
    if options.url is not None:
        query = urlencode({"q": text, **filters, "sort": options.sort, "limit": limit}, doseq=True)
        body = _get(options.url, f"v1/search?{query}")
    else:
        catalogue = load_catalogue(settings)
        index = SearchIndex.build(catalogue)
        request = SearchRequest(text, filters, Sort(options.sort), limit)
        body = msgspec.json.encode(answer(index, catalogue.digest[:12], request))
    found = _decode(body, SearchView, "a page of hits", options.url)
    if options.json:
        sys.stdout.write(body.decode() + "\n")
    else:
        _print(text, filters, found)
    return 0 if found.total else 1


def _search_exact(text: str, filters: Filters, options: Namespace, settings: Settings) -> int:
    """Find every entry whose name contains *text*, case-sensitive, as `GET /{name}` does."""
    if any(filters.values()):
        raise SettingsError("--exact: filters are not allowed; allowed are words, --url and --json")
    path = _path(text)
    if not text:
        raise SettingsError("WORD: empty; allowed are 1 to 256 characters")
    if options.url is not None:
        body = _get(options.url, path.replace(".", "%2E"))
    else:
        catalogue = load_catalogue(settings)
        body = catalogue.select(NameIndex.build(catalogue.names()).find(text))
    entries = _decode(body, list[Entry], "a list of entries", options.url)
    if options.json:
        sys.stdout.write(body.decode() + "\n")
    elif entries:
        _print_table([HitView(entry, None, []) for entry in entries], len(entries))
    else:
        print(f"No API has {text!r} in its name. Upper and lower case matter.", file=sys.stderr)
    return 0 if entries else 1


def _path(text: str) -> str:
    """Return *text* as a path. Raises SettingsError for a text that cannot be a name."""
    try:
        path = quote(text, safe="")
        name_from_path(f"/{path}".encode())
    except Problem as problem:
        raise SettingsError(f"WORD: {problem}") from None
    except UnicodeEncodeError:
        raise SettingsError("WORD: not valid in this terminal's encoding; allowed is text") from None
    return path


def _get(url: str, path: str) -> bytes:
    """Return a service's answer. Raises SettingsError, with the service's own words, for a bad request."""
    try:
        with progress(f"Asking {url}"):
            response = httpx.get(f"{url.rstrip('/')}/{path}", timeout=10)
            if response.status_code == httpx.codes.BAD_REQUEST:
                raise SettingsError(_detail(response))
            response.raise_for_status()
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise SettingsError(
            f"--url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000"
        ) from None
    except httpx.HTTPError as error:
        raise ServiceError(f"the service at {url} gave no answer: {error}") from None
    return response.content


def _detail(response: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return str(problem.get("detail", "the service calls it a bad request")).rstrip(".")


def _decode(body: bytes, shape: type[T], what: str, url: str | None) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError:
        raise ServiceError(f"the service at {url} is not Apidex: its answer is not {what}") from None


def _print(text: str, filters: Filters, found: SearchView) -> None:
    correction = found.did_you_mean
    if found.total:
        _print_table(found.hits, found.total)
        return
    message = f"No API has {text!r} in its name" if text else "There is no API"
    filtered = " with these filters" if any(filters.values()) else ""
    question = f" Did you mean {correction.query!r}?" if correction else ""
    print(f"{message}{filtered}.{question}", file=sys.stderr)
    if correction:
        _print_table(correction.hits, correction.total, f" for {correction.query!r}")


def _print_table(hits: Sequence[HitView], total: int, suffix: str = "") -> None:
    console = Console(highlight=False)
    table = Table(
        "Name",
        Column("What it is, and where", overflow="fold"),
        *("Category", "Auth", "HTTPS", "CORS"),
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for hit in hits:
        entry, about = hit.entry, Text(hit.entry.description).append(f"\n{hit.entry.link}", style="dim")
        facts = [entry.category, entry.auth or "none", "yes" if entry.https else "no", entry.cors]
        table.add_row(_name(hit), about, *map(Text, facts))
    console.print(table)
    shown = f"; the first {len(hits)} are shown (--limit)" if len(hits) < total else ""
    console.print(Text(f"{total} found{suffix}{shown}", style="dim"))


def _name(hit: HitView) -> Text:
    name = Text(hit.entry.name)
    for start, end in hit.highlights:
        name.stylize("bold", start, end)
    return name
