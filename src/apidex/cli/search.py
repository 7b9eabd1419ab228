"""`apidex search WORD…`: as the page does it, on the upstream's catalogue or by a service that runs."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from apidex.catalogue.entry import Entry
from apidex.cli.source import progress, to_search
from apidex.errors import ServiceError, SettingsError
from apidex.http.responses import Problem, name_from_path
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex
from apidex.search.ranking import Sort
from apidex.search.results import HitView, SearchRequest, SearchView, answer
from apidex.settings import Settings

T = TypeVar("T")

MOST = 100
"""The most hits that can be shown at once, as over HTTP."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for, and how it is to be shown. *asked* are the filters, by name; *url* is that of a service, or None."""

    text: str
    asked: Mapping[str, Sequence[str]]
    sort: str = Sort.RELEVANCE
    limit: int = 20
    url: str | None = None
    as_json: bool = False


def search(wish: Wish, settings: Settings) -> int:
    """Print the best hits; exit status 1 when there is none, even if another word may have been meant. Raises ApidexError."""
    if wish.text:
        _check(wish.text)
    elif not any(wish.asked.values()):
        raise SettingsError("WORD: nothing is asked for; allowed are words, or a filter such as --category Weather")
    if not 1 <= wish.limit <= MOST:
        raise SettingsError(f"--limit: {wish.limit} is not allowed; allowed is a whole number from 1 to {MOST}")
    body = _asked(wish.url, wish) if wish.url is not None else _looked(wish, settings)
    found = _decoded(body, SearchView, wish.url)
    if wish.as_json:
        sys.stdout.write(body.decode() + "\n")
    else:
        _show(wish, found)
    return 0 if found.total else 1


def search_exactly(wish: Wish, settings: Settings) -> int:
    """Print every entry whose name contains the text, case-sensitive; exit status 1 when there is none. Raises ApidexError."""
    if any(wish.asked.values()):
        raise SettingsError("--exact: it goes with no filter; allowed are words, --url and --json")
    path = _check(wish.text)
    if not wish.text:
        raise SettingsError("WORD: it is empty; allowed are 1 to 256 characters")
    if wish.url is not None:
        body = _got(f"{wish.url.rstrip('/')}/{path.replace('.', '%2E')}", wish.url)
    else:
        catalogue = to_search(settings)
        body = catalogue.select(NameIndex.build(catalogue.names()).find(wish.text))
    entries = _decoded(body, list[Entry], wish.url)
    if wish.as_json:
        sys.stdout.write(body.decode() + "\n")
    elif entries:
        _table([HitView(entry, None, []) for entry in entries], len(entries))
    else:
        print(f"No API has {wish.text!r} in its name. Upper and lower case matter.", file=sys.stderr)
    return 0 if entries else 1


def _check(text: str) -> str:
    """*text* as a path. Raises SettingsError for one that nothing can be called."""
    try:
        path = quote(text, safe="")
        name_from_path(f"/{path}".encode())
    except Problem as problem:
        raise SettingsError(f"WORD: {problem}") from None
    except UnicodeEncodeError:
        raise SettingsError("WORD: it is no text in this terminal's encoding") from None
    return path


def _looked(wish: Wish, settings: Settings) -> bytes:
    catalogue = to_search(settings)
    searched = SearchIndex.build(catalogue)
    page = SearchRequest(wish.text, searched.facets.parse(wish.asked), Sort(wish.sort), 0, wish.limit)
    return msgspec.json.encode(answer(searched, catalogue.digest[:12], page))


def _asked(url: str, wish: Wish) -> bytes:
    asked = {"q": wish.text, **wish.asked, "sort": wish.sort, "limit": wish.limit}
    return _got(f"{url.rstrip('/')}/v1/search?{urlencode(asked, doseq=True)}", url)


def _got(address: str, url: str) -> bytes:
    """What a service answers. Raises SettingsError for what it calls a bad request, in its words."""
    try:
        with progress(f"Asking {url}"):
            response = httpx.get(address, timeout=10)
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


def _decoded(body: bytes, shape: type[T], url: str | None) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError:
        what = "list of entries" if shape is not SearchView else "page of hits"
        raise ServiceError(f"what answers at {url} is no Apidex: it gave no {what}") from None


def _show(wish: Wish, found: SearchView) -> None:
    meant = found.did_you_mean
    if found.total:
        _table(found.hits, found.total)
        return
    said = f"No API has {wish.text!r} in its name" if wish.text else "There is no API"
    filtered = " with these filters" if any(wish.asked.values()) else ""
    print(f"{said}{filtered}." + (f" Did you mean {meant.query!r}?" if meant else ""), file=sys.stderr)
    if meant:
        _table(meant.hits, meant.total, f" for {meant.query!r}")


def _table(hits: Sequence[HitView], total: int, what: str = "") -> None:
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
    console.print(Text(f"{total} found{what}{shown}", style="dim"))


def _name(hit: HitView) -> Text:
    name = Text(hit.entry.name)
    for start, end in hit.highlights:
        name.stylize("bold", start, end)
    return name
