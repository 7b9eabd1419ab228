"""`apidex get NAME`: an API by its whole name."""

from argparse import Namespace

from apidex.catalogue.entry import Entry
from apidex.cli.output import show, warn
from apidex.cli.search import check_word, filters_of, format_of, listing_of_entries
from apidex.cli.source import open_source
from apidex.search.ranking import Scope
from apidex.search.results import SearchRequest
from apidex.settings import Settings

_NEAR = 5
"""The number of names that are suggested if there is no API of the name."""


def run(options: Namespace, settings: Settings) -> int:
    """Print the API. Return 1 if there is none. Raises ApidexError."""
    entries = entries_of_name(options, settings)
    show(listing_of_entries(entries), format_of(options))
    return 0 if entries else 1


def entries_of_name(options: Namespace, settings: Settings) -> list[Entry]:
    """Return the APIs with the name in *options*; only those with the same spelling, if there are any.

    If there are none, print near names for people. Raises ApidexError.
    """
    name = " ".join(options.words)
    check_word(name, "NAME")
    _, page = open_source(options, settings).search(SearchRequest(name, filters_of(options), Scope.NAME, limit=100))
    same = [hit.entry for hit in page.hits if hit.rank == "exact"]
    if not same:
        hits = page.hits or (page.did_you_mean.hits if page.did_you_mean else [])
        near = ", ".join(dict.fromkeys(hit.entry.name for hit in hits[:_NEAR]))
        warn(f"no API is called {name!r}" + (f"; near it are: {near}" if near else ""))
    return [entry for entry in same if entry.name == name] or same
