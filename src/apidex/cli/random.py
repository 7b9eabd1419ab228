"""`apidex random`: one random API."""

import secrets
from argparse import Namespace

from apidex.cli.output import say, show
from apidex.cli.search import filters_of, format_of, listing_of_entries
from apidex.cli.source import open_source
from apidex.search.ranking import Sort
from apidex.search.results import SearchRequest
from apidex.settings import Settings


def run(options: Namespace, settings: Settings) -> int:
    """Print it. Return 1 if no API passes the filters. Raises ApidexError."""
    source, filters = open_source(options, settings), filters_of(options)
    _, page = source.search(SearchRequest("", filters, sort=Sort.CATALOGUE, limit=1))
    if not page.total:
        say("There is no API with these filters.")
        return 1
    _, page = source.search(
        SearchRequest("", filters, sort=Sort.CATALOGUE, limit=1, offset=secrets.randbelow(page.total))
    )
    show(listing_of_entries([hit.entry for hit in page.hits]), format_of(options))
    return 0
