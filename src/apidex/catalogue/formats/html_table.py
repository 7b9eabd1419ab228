"""HTML tables in Markdown documents, read line by line. Pure."""

import re
from collections import deque
from collections.abc import Iterator

from apidex.catalogue.formats.row import WORD_LIMIT

_TAG = re.compile(r"<(/?)(table|tr|t[dh])\b([^<>]*)>", re.IGNORECASE)
_OPENING = re.compile(r"<table\b", re.IGNORECASE)
_UNFINISHED = re.compile(r"<(?:table|tr|t[dh])\b[^<>]{0,500}$", re.IGNORECASE)
_ROWSPAN = re.compile(r"\browspan\s*=\s*[\"']?(\d{1,5})", re.IGNORECASE)
_MOST_CELLS = 64
"""The largest number of cells of a row that are read."""

_MOST_SPANNING = 8
"""The largest number of cells of a row that are read for the rows below, too."""


def opens_table(line: str) -> bool:
    """Whether a table begins in *line*."""
    return "<" in line and bool(_OPENING.search(line))


class HtmlTable:
    """A table whose lines are being read."""

    def __init__(self) -> None:
        self.is_open = True
        self._unfinished = ""  # the beginning of a tag that ends on another line
        self._cells: deque[tuple[int, str]] = deque()  # the number of rows that each cell spans, and its text
        self._spanning: dict[int, tuple[int, str]] = {}  # the same of cells of earlier rows, by their column
        self._rows = 1
        self._texts: list[str] | None = None  # the text of the open cell

    def rows_ending_in(self, line: str) -> Iterator[list[str]]:
        """The cells, as Markdown with HTML, of each row that ends in the next *line*."""
        line = self._unfinished + line
        unfinished = _UNFINISHED.search(line)
        self._unfinished = f"{unfinished[0]} " if unfinished else ""
        line, at = line.removesuffix(self._unfinished[:-1]), 0
        for tag in _TAG.finditer(line):
            self._add(line[at : tag.start()])
            at, is_closing, name = tag.end(), bool(tag[1]), tag[2].lower()
            self._end_cell()
            if name in ("td", "th"):
                self._texts = None if is_closing or len(self._cells) >= _MOST_CELLS else []
                self._rows = int(rows[1]) if (rows := _ROWSPAN.search(tag[3])) else 1
                continue
            if self._cells:
                yield self._row()
            self.is_open = not (is_closing and name == "table")
        self._add(line[at:] + " ")

    def _row(self) -> list[str]:
        """The texts of the row that ends here, with those of cells above that span it."""
        texts, above, self._spanning = list[str](), self._spanning, {}
        while self._cells or len(texts) in above:
            rows, text = above[len(texts)] if len(texts) in above else self._cells.popleft()
            if rows > 1:  # texts that many rows share are read for each of them, so they must be short and few
                is_kept = len(text) <= WORD_LIMIT and len(self._spanning) < _MOST_SPANNING
                self._spanning[len(texts)] = rows - 1, text if is_kept else ""
            texts.append(text)
        return texts

    def _add(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)

    def _end_cell(self) -> None:
        if self._texts is not None:
            self._cells.append((self._rows, "".join(self._texts).strip()))
            self._texts = None
