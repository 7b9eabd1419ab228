"""Entries as CSV, for spreadsheets. Pure."""

import csv
import io
from collections.abc import Iterable

import msgspec

from apidex.catalogue.entry import Entry

HEADS = [field.encode_name for field in msgspec.structs.fields(Entry)]

_FORMULA = tuple("=+-@\t\r＝＋－＠")
"""What a cell begins with that a spreadsheet takes for a formula, which may start programs."""


def to_csv(entries: Iterable[Entry]) -> str:
    """Return *entries* with a line of heads. What could be a formula begins with an apostrophe."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(HEADS)
    for entry in entries:
        rows.writerow(map(_cell, msgspec.structs.astuple(entry)))
    return text.getvalue()


def _cell(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
