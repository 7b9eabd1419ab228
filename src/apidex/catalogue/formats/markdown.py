"""The format `markdown`: a README with tables of APIs, such as that of public-apis/public-apis.

    ### Animals
    API | Description | Auth | HTTPS | CORS
    |---|---|---|---|---|
    | [Cat Facts](https://…) | Daily cat facts | No | Yes | No |

HTML tables are read too. `table` says which tables have entries; if none has, two known columns are enough. The category is a
column, or the heading above the table. Tables before `## Index` are ignored (most are advertisements), unless there are no tables
after it.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from typing import NamedTuple, TypeGuard

from apidex.catalogue.formats.blocks import Headings, lines_of, visible
from apidex.catalogue.formats.html_table import HtmlTable, opens_table
from apidex.catalogue.formats.markup import Inline, has_space_in_link, read_inline
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import WORD_LIMIT, Row
from apidex.catalogue.formats.table import Table, missing

NAME = "markdown"

_ESCAPE = "Write \\| for a | inside a cell"
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_MOST_CELLS = 64
"""Cells of a row that are read. What follows is one cell."""

_COLUMNS, _FEWEST_COLUMNS = 3, 2
"""The number of known columns of a table of entries, and the number in documents where no table has that many."""

_HEAD_LIMIT = 256
"""Characters of a header that are read."""

_INDEX = re.compile(r"^## index[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


_BOLD = re.compile(r"(?:\*\*|__)[^*_\[\]<>]{1,200}(?:\*\*|__)|<(b|strong)>[^*\[\]<>]{1,200}</\1>", re.IGNORECASE)
"""The only text of a row that is a heading of the rows below it, such as `| **Animals** | | |`."""


class _Line(NamedTuple):
    """A header or a row of a table: its number, its content as a line or as cells, and its table if that has entries."""

    number: int
    source: str | list[str]
    table: Table | None
    is_head: bool = False

    def cells(self, most: int = _MOST_CELLS) -> list[str]:
        """Its first cells, without spaces around them."""
        return _cells(self.source, most) if isinstance(self.source, str) else self.source


def recognises(document: object) -> TypeGuard[str]:
    """Whether *document* is a text with at least one table of entries."""
    return isinstance(document, str) and _has_table(visible(document), _FEWEST_COLUMNS)


def seen(document: str) -> str:
    """The columns of the first table, and what is missing; empty for a text without tables."""
    heads = (_texts(line.cells()) for line in _lines_of_tables(visible(document)) if line.is_head)
    head = next(filter(any, heads), None)
    return missing(head) if head else ""


def rows(document: str, report: Report) -> Iterator[Row]:
    """The rows of all tables of entries. Rows of other tables go to *report* as ignored."""
    original = table = None
    for line in _lines_of_entries(document):
        if line.is_head:
            continue
        cells = line.cells()
        if line.table is not original:
            original = table = line.table
        if table is None:
            name = read_inline(next(iter(cells), "")).text
            report.ignored.add(line.number, name, "not in a table of entries")
        elif _BOLD.fullmatch("".join(cells)):
            table = replace(table, category=read_inline("".join(cells)).text)
            report.ignored.add(line.number, table.category, "a heading of the rows below it")
        else:
            yield _row(line.number, cells, table, "" if line.source is cells else _ESCAPE)


def auths(document: str) -> Iterator[str]:
    """The cells of the columns for authentication."""
    for line in _lines_of_entries(document):
        if line.table and not line.is_head and "auth" in line.table.places:
            place = line.table.places["auth"]
            cells = line.cells(place + 2)
            if place < len(cells) and len(cells[place]) <= WORD_LIMIT:
                yield line.table.word(cells[place], _read)


def _lines_of_entries(document: str) -> Iterator[_Line]:
    text = visible(document)
    least = _COLUMNS if _has_table(text, _COLUMNS) else _FEWEST_COLUMNS
    index = _INDEX.search(text)
    has_index = index is not None and _has_table(text[index.end() :], least)
    return _lines_of_tables(text, text.count("\n", 0, index.start()) + 1 if index and has_index else 0, least)


def _has_table(text: str, least: int) -> bool:
    return any(line.table for line in _lines_of_tables(text, least=least))


def _lines_of_tables(text: str, index: int = 0, least: int = _FEWEST_COLUMNS) -> Iterator[_Line]:
    """The headers and rows of all tables. Those above line *index*, or with fewer than *least* known columns, have no entries."""
    headings, html = Headings(), HtmlTable()
    html.is_open = False
    table, is_table, is_delimiter, is_first = None, False, False, False
    for number, (line, following) in enumerate(pairwise(chain(lines_of(text), ("",))), start=1):
        was_delimiter, is_delimiter = is_delimiter, _is_delimiter(following)
        if not line.startswith("|") and headings.take(line, following):
            table, is_table, html.is_open = None, False, False
        elif is_delimiter and (not is_table or Table.of(_texts(_cells(line)), least=least)):
            table = Table.of(_texts(_cells(line)), headings.current, least) if number > index else None
            is_table, html.is_open = True, False
            yield _Line(number, line, table, is_head=True)
        elif html.is_open or opens_table(line):
            if not html.is_open:
                html, is_first, is_table = HtmlTable(), True, False
            for cells in html.rows_ending_in(line):
                if is_first:
                    table = Table.of(_texts(cells), headings.current, least) if number > index else None
                if is_first or table:  # other HTML tables are for the layout
                    yield _Line(number, cells, table, is_first)
                is_first = False
        elif "|" not in line:
            is_table = is_table and line.strip() != ""
        elif not was_delimiter and (is_table or line.lstrip().startswith(("|", "["))):
            yield _Line(number, line, table)


def _texts(cells: list[str]) -> list[str]:
    return [read_inline(cell[:_HEAD_LIMIT]).text for cell in cells]


def _is_delimiter(line: str) -> bool:
    """Whether a line separates the head of a table from its rows, `|:---|---|`. Takes linear time."""
    return "-" in line and "|" in line and not line.strip("|:- \t")


def _cells(line: str, most: int = _MOST_CELLS) -> list[str]:
    """The cells of a row, without spaces around them; *most*, and what follows as one more."""
    line = line.strip()
    cells = _CELL_BORDER.split(line, maxsplit=most) if "\\" in line else line.split("|", most)
    return [*map(str.strip, cells[not cells[0] : len(cells) - (len(cells) > 1 and not cells[-1])])]


def _read(cell: str) -> Inline:
    return read_inline(cell.replace("\\|", "|") if "\\" in cell else cell)


def _row(number: int, cells: list[str], table: Table, escape: str) -> Row:
    row = table.row(number, cells, _read, escape)
    if any(map(has_space_in_link, cells)):
        spaced = next(filter(has_space_in_link, cells))
        row.repair("link", spaced, row.link, "a space in its link was left out")
    return row
