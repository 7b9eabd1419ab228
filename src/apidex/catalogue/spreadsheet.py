"""Tables as CSV, for spreadsheets. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = tuple("=+-@\t\r＝＋－＠")
"""What a cell begins with that a spreadsheet takes for a formula, which may start programs."""


def to_csv(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return *rows* below a line of *heads*. What could be a formula begins with an apostrophe."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(heads)
    for row in rows:
        lines.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
