"""A catalogue for a command that runs no service: fetched and read once, with progress on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from apidex import event_loop
from apidex.catalogue import formats, starter
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.formats import Parsed
from apidex.errors import UpstreamError
from apidex.replication.upstream import Fetched, open_upstream
from apidex.replication.validators import NO_VALIDATORS
from apidex.settings import Settings


def fetch(settings: Settings) -> Fetched:
    """The upstream's answer. Raises UpstreamError or SettingsError."""

    async def ask() -> Fetched:
        async with open_upstream(settings.upstream, settings.upstream_timeout, settings.upstream_limit) as upstream:
            answer = await upstream.fetch(NO_VALIDATORS)
            assert isinstance(answer, Fetched)  # noqa: S101 - without validators there is nothing to be the same as
            return answer

    with progress("Fetching the catalogue"):
        fetched: Fetched = event_loop.run(ask)
    return fetched


def read(settings: Settings, body: bytes) -> Parsed:
    """The catalogue of an upstream's answer. Raises CatalogueError."""
    with progress("Reading it"):
        return formats.parse(body, None if settings.upstream_format == "auto" else settings.upstream_format)


def to_search(settings: Settings) -> Catalogue:
    """The upstream's catalogue, or the starter catalogue where there is no network, and says so.

    Raises ApidexError where an upstream that was named gives none.
    """
    try:
        return read(settings, fetch(settings).body).catalogue
    except UpstreamError as error:
        if settings.upstream != Settings().upstream:
            raise
        catalogue = starter.load()[0].catalogue
        print(f"apidex: {error}; searched are the {len(catalogue)} APIs that Apidex brings along", file=sys.stderr)
        return catalogue


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on, and leave no trace of it."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
