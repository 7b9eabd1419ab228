"""Tables as CSV, for spreadsheets. Pure."""

import csv
import io
from collections.abc import Iterable

_FORMULA = tuple("=+-@\t\r＝＋－＠")
"""The characters with which a cell begins that a spreadsheet reads as a formula, which may start programs."""


def to_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return a line for each of *rows*. A cell that could be a formula begins with an apostrophe."""
    text = io.StringIO()
    csv.writer(text).writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
