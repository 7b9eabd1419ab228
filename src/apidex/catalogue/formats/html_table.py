"""HTML tables in Markdown documents, read line by line. Pure."""

import re
from collections.abc import Iterator

_TAG = re.compile(r"<(/?)(table|tr|t[dh])\b[^<>]*>", re.IGNORECASE)
_OPENING = re.compile(r"<table\b", re.IGNORECASE)
_MOST_CELLS = 64
"""The largest number of cells of a row that are read."""


def opens_table(line: str) -> bool:
    """Whether a table begins in *line*."""
    return "<" in line and bool(_OPENING.search(line))


class HtmlTable:
    """A table whose lines are being read."""

    def __init__(self) -> None:
        self.is_open = True
        self._cells: list[str] = []
        self._texts: list[str] | None = None  # the text of the open cell

    def rows_ending_in(self, line: str) -> Iterator[list[str]]:
        """The cells, as Markdown with HTML, of each row that ends in the next *line*."""
        at = 0
        for tag in _TAG.finditer(line):
            self._add(line[at : tag.start()])
            at, is_closing, name = tag.end(), bool(tag[1]), tag[2].lower()
            self._end_cell()
            if name in ("td", "th"):
                self._texts = None if is_closing or len(self._cells) >= _MOST_CELLS else []
                continue
            if self._cells:
                yield self._cells
                self._cells = []
            self.is_open = not (is_closing and name == "table")
        self._add(line[at:] + " ")

    def _add(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)

    def _end_cell(self) -> None:
        if self._texts is not None:
            self._cells.append("".join(self._texts).strip())
            self._texts = None
