"""`apidex search NAME`: on the upstream's catalogue, or by a service that runs."""

import sys
from urllib.parse import quote

import httpx
import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from apidex.answers import Problem, name_of
from apidex.catalogue import Entry
from apidex.commands.source import fetch, progress, read
from apidex.errors import SettingsError, UpstreamError
from apidex.index import Index
from apidex.settings import Settings


def search(name: str, settings: Settings, *, url: str | None, as_json: bool) -> int:
    """Print every entry whose name contains *name*; exit status 1 when there is none. Raises ApidexError."""
    try:
        path = quote(name, safe="")
        name_of(f"/{path}".encode())
    except Problem as problem:
        raise SettingsError(f"NAME: {problem}") from None
    except UnicodeEncodeError:
        raise SettingsError("NAME: it is no text in this terminal's encoding") from None
    if not name:
        raise SettingsError("NAME: it is empty; allowed are 1 to 256 characters")
    answer = _ask(url, path.replace(".", "%2E")) if url else _look(name, settings)
    entries = msgspec.json.decode(answer, type=list[Entry])
    if as_json:
        sys.stdout.write(answer.decode() + "\n")
    else:
        _show(name, entries)
    return 0 if entries else 1


def _look(name: str, settings: Settings) -> bytes:
    catalogue = read(settings, fetch(settings).body).catalogue
    return catalogue.select(Index.build(catalogue.names()).find(name))


def _ask(url: str, path: str) -> bytes:
    try:
        with progress(f"Asking {url}"):
            response = httpx.get(f"{url.rstrip('/')}/{path}", timeout=10)
            response.raise_for_status()
            msgspec.json.decode(response.content, type=list[Entry])
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise SettingsError(
            f"--url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000"
        ) from None
    except httpx.HTTPError as error:
        raise UpstreamError("service", f"the service at {url} gave no answer: {error}") from None
    except msgspec.DecodeError:
        raise UpstreamError("service", f"what answers at {url} is no Apidex: it gave no list of entries") from None
    return response.content


def _show(name: str, entries: list[Entry]) -> None:
    if not entries:
        print(f"No API has {name!r} in its name. Upper and lower case matter.", file=sys.stderr)
        return
    console = Console(highlight=False)
    table = Table(
        "Name",
        Column("What it is, and where", overflow="fold"),
        "Auth",
        "HTTPS",
        "CORS",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for entry in entries:
        what = Text(entry.description).append(f"\n{entry.link}", style="dim")
        table.add_row(Text(entry.name), what, Text(entry.auth or "none"), "yes" if entry.https else "no", entry.cors)
    console.print(table)
    console.print(f"{len(entries)} found" if len(entries) != 1 else "1 found", style="dim")
