"""`apidex categories`: every category, and how many APIs it has."""

from argparse import Namespace

import msgspec

from apidex.cli.output import Listing, show
from apidex.cli.search import format_of
from apidex.cli.source import open_source
from apidex.settings import Settings


def run(options: Namespace, settings: Settings) -> int:
    """Print them. Raises ApidexError."""
    body, found = open_source(options, settings).categories()
    items = [msgspec.structs.asdict(category) for category in found.categories]
    show(Listing(items, {"name": "NAME", "entries": "APIS"}, body, "name"), format_of(options))
    return 0
