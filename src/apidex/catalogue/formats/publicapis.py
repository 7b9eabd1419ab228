"""The format `publicapis`: what api.publicapis.org/entries answered, `{"count": N, "entries": [{"API": …}, …]}`."""

from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import json_rows
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row

NAME = "publicapis"


def recognises(document: object) -> TypeGuard[dict[str, msgspec.Raw]]:
    """Whether *document* is an object with a list of entries; the old service had null for an empty list."""
    if not isinstance(document, dict) or "entries" not in document:
        return False
    return json_rows.first_byte(document["entries"]) in b"[n"


def rows(document: dict[str, msgspec.Raw], report: Report) -> Iterator[Row | Entry]:  # noqa: ARG001 - one signature for every format
    """The rows of the list, in order."""
    for place, raw in enumerate(json_rows.items_of(document["entries"]), start=1):
        yield json_rows.row(place, raw)


def auths(document: dict[str, msgspec.Raw]) -> Iterator[object]:
    """What each entry says of authentication."""
    return json_rows.auths(json_rows.items_of(document["entries"]))
