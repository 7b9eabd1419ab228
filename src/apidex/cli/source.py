"""A catalogue for a command without a replica: fetched and read once, with progress on a terminal."""

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
from apidex.settings import DEFAULT_UPSTREAM, Settings


def fetch(settings: Settings) -> Fetched:
    """Return the upstream's answer. Raises UpstreamError or SettingsError."""

    async def ask() -> Fetched:
        async with open_upstream(settings.upstream, settings.upstream_timeout, settings.upstream_limit) as upstream:
            answer = await upstream.fetch(NO_VALIDATORS)
            assert isinstance(answer, Fetched)  # noqa: S101 - a 304 needs a validator
            return answer

    with progress("Fetching the catalogue"):
        fetched: Fetched = event_loop.run(ask)
    return fetched


def read(settings: Settings, body: bytes) -> Parsed:
    """Return the catalogue of an upstream's answer. Raises CatalogueError."""
    with progress("Reading the catalogue"):
        return formats.parse(body, None if settings.upstream_format == "auto" else settings.upstream_format)


def load_catalogue(settings: Settings) -> Catalogue:
    """Return the upstream's catalogue; the starter catalogue, with a message, where the default upstream cannot be reached.

    Raises ApidexError.
    """
    try:
        return read(settings, fetch(settings).body).catalogue
    except UpstreamError as error:
        if settings.upstream != DEFAULT_UPSTREAM:
            raise
        catalogue = starter.load()[0].catalogue
        print(f"apidex: {error}; searching the {len(catalogue)} APIs of the starter catalogue", file=sys.stderr)
        return catalogue


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show *text* on a terminal meanwhile, and remove it afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
