"""`apidex search WORD…`: the search of the page, in the upstream's catalogue or by a running service."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, urlencode

import httpx
import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from apidex.catalogue.entry import Entry
from apidex.cli.output import print_line, progress
from apidex.cli.source import load
from apidex.errors import ServiceError, SettingsError
from apidex.http.paths import name_from_path
from apidex.http.problem_details import Problem
from apidex.http_client import new_client
from apidex.search.filters import FILTERS
from apidex.search.ranking import Sort
from apidex.search.results import CorrectionView, HitView, SearchRequest, answer
from apidex.settings import Settings
from apidex.terminal import printable

MAX_LIMIT = 100
"""The most hits on a page, as over HTTP."""

Filters = Mapping[str, Sequence[str]]


class _Results(msgspec.Struct):
    """What is printed of `/v1/search`."""

    total: int
    hits: list[HitView]
    did_you_mean: CorrectionView | None = None


def run(options: Namespace, settings: Settings) -> int:
    """Print what was found. Return 1 if nothing was, even if there is a correction. Raises ApidexError."""
    text, filters = " ".join(options.words), _filters(options)
    path, as_of = _path(text, filters, options), ""
    if options.url is not None:
        body = _get(options.url, path, options.timeout)
    else:
        timeout = timedelta(seconds=options.timeout)
        loaded = load(replace(settings, upstream_timeout=timeout), offline=options.offline, refresh=options.refresh)
        built, as_of = loaded.built, f", as of {loaded.as_of}"
        catalogue = built.parsed.catalogue
        if options.exact:
            body = catalogue.select(built.index.find(text))
        else:
            request = SearchRequest(text, filters, Sort(options.sort), options.limit)
            body = msgspec.json.encode(answer(built.search, catalogue.digest[:12], request))
    found = _decode(body, options.exact, options.url)
    if options.json:
        print_line(body.decode())
    else:
        _print(found, text, filters, options.exact, as_of)
    return 0 if found.total else 1


def _filters(options: Namespace) -> Filters:
    given = {name: getattr(options, name) for name in FILTERS}
    return {name: [str(value).lower()] if isinstance(value, bool) else value or [] for name, value in given.items()}


def _path(text: str, filters: Filters, options: Namespace) -> str:
    """Return what a service is asked for. Raises SettingsError for options that are not allowed."""
    limit, is_filtered = options.limit, any(filters.values())
    if options.exact and is_filtered:
        raise SettingsError("--exact: filters are not allowed; allowed are words, --url and --json")
    if options.exact and not text:
        raise SettingsError("WORD: empty; allowed are 1 to 256 characters")
    if not text and not is_filtered:
        raise SettingsError("WORD: missing; allowed are words, or a filter such as --category Weather")
    if not (options.exact or 1 <= limit <= MAX_LIMIT):
        raise SettingsError(f"--limit: {limit} is not allowed; allowed is a whole number from 1 to {MAX_LIMIT}")
    try:
        path = quote(text, safe="")
        if text:
            name_from_path(f"/{path}".encode())
    except Problem as problem:
        raise SettingsError(f"WORD: {problem}") from None
    except UnicodeEncodeError:
        raise SettingsError("WORD: not valid in this terminal's encoding; allowed is text") from None
    if options.exact:
        return path.replace(".", "%2E")
    return "v1/search?" + urlencode({"q": text, **filters, "sort": options.sort, "limit": limit}, doseq=True)


def _get(url: str, path: str, timeout: float) -> bytes:
    """Return a service's answer. Raises SettingsError, with the service's own words, for a bad request."""
    try:
        with progress(f"Asking {url}"), new_client(httpx.Client, timeout=timeout) as client:
            response = client.get(f"{url.rstrip('/')}/{path}")
            if response.status_code == httpx.codes.BAD_REQUEST:
                raise SettingsError(_detail(response))
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise SettingsError(
            f"--url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000"
        ) from None
    except httpx.HTTPError as error:
        raise ServiceError(f"the service at {url} gave no answer: {error}") from None
    if not response.is_success:
        raise ServiceError(f"the service at {url} answered {response.status_code} {response.reason_phrase}".rstrip())
    return response.content


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return "the service calls it a bad request"


def _decode(body: bytes, exact: bool, url: str | None) -> _Results:
    try:
        if not exact:
            return msgspec.json.decode(body, type=_Results)
        entries = msgspec.json.decode(body, type=list[Entry])
        return _Results(len(entries), [HitView(entry, None, []) for entry in entries])
    except msgspec.DecodeError:
        what = "a list of entries" if exact else "a page of hits"
        raise ServiceError(f"the service at {url} is not Apidex: its answer is not {what}") from None


def _print(found: _Results, text: str, filters: Filters, exact: bool, as_of: str) -> None:
    if found.total:
        _print_table(found.hits, found.total, as_of)
        return
    message = f"No API has {text!r} in its name" if text else "There is no API"
    message += " with these filters." if any(filters.values()) else "."
    correction = found.did_you_mean
    if exact:
        message += " Upper and lower case matter."
    elif correction:
        message += f" Did you mean {correction.query!r}?"
    print(printable(message), file=sys.stderr)
    if correction:
        _print_table(correction.hits, correction.total, as_of, f" for {correction.query!r}")


def _print_table(hits: Sequence[HitView], total: int, as_of: str, suffix: str = "") -> None:
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
        entry = hit.entry
        about = Text(printable(entry.description)).append(f"\n{printable(entry.link)}", style="dim")
        facts = [
            " · ".join(filter(None, (entry.provider, entry.category))),
            entry.auth or "none",
            "yes" if entry.https else "no",
            entry.cors,
        ]
        table.add_row(_name(hit), about, *map(Text, map(printable, facts)))
    console.print(table)
    shown = f"; the first {len(hits)} are shown (--limit)" if len(hits) < total else ""
    console.print(Text(f"{total} found{suffix}{shown}{as_of}", style="dim"))


def _name(hit: HitView) -> Text:
    name = Text(printable(hit.entry.name))
    for start, end in hit.highlights if len(name) == len(hit.entry.name) else ():
        name.stylize("bold", start, end)
    return name
