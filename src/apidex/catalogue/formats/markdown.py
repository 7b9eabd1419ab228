"""The format `markdown`: a README with tables of APIs, such as that of public-apis/public-apis.

    ### Animals
    API | Description | Auth | HTTPS | CORS
    |---|---|---|---|---|
    | [Cat Facts](https://…) | Daily cat facts | No | Yes | No |

Columns are found by their heads, in any order. A table has entries when one of its columns is for names, and two others are known
or all are. The category is a column, or the heading above the table. Tables before `## Index` have no entries (most are
advertisements).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeGuard

from apidex.catalogue.formats.fields import places_of_fields
from apidex.catalogue.formats.markup import Inline, has_space_in_link, read_inline
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row

NAME = "markdown"

_CELL_BORDER = re.compile(r"(?<!\\)\|")
_MOST_CELLS = 64
"""Cells of a row that are read. What follows is one cell."""

_HEADING = re.compile(r"#{1,6}[ \t]+(.*)")
_URL = re.compile(r"https?://[^\s|<>]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Table:
    """The head of a table of entries: its category, its columns, and where each field stands."""

    category: str
    heads: list[str]
    places: dict[str, int]


def recognises(document: object) -> TypeGuard[str]:
    """Whether *document* is a text with at least one table of entries."""
    return isinstance(document, str) and any(_is_table_of_entries(head) for head in _heads(document))


def seen(document: str) -> str:
    """The columns of the first table, and what is missing; empty for a text without tables."""
    head = next(_heads(document), [])[:20]
    if not head:
        return ""
    lacks = "another one that is known" if "name" in places_of_fields(head) else "one for names, such as API or Name"
    return f"its table has the columns {', '.join(text[:40] for text in head)}; missing is {lacks}"


def rows(document: str, report: Report) -> Iterator[Row]:
    """The rows of all tables of entries. Rows of other tables go to *report* as ignored."""
    for number, line, table in _lines_of_tables(document):
        if table:
            yield _row(number, _cells(line), table)
        else:
            report.ignored.add(number, read_inline(next(iter(_cells(line)), "")).text, "not in a table of entries")


def auths(document: str) -> Iterator[str]:
    """The cells of the columns for authentication."""
    for _, line, table in _lines_of_tables(document):
        place = table.places.get("auth") if table else None
        if place is not None:
            cells = _cells(line, place + 2)
            if place < len(cells):
                yield _read_word(cells[place])


def _lines_of_tables(document: str) -> Iterator[tuple[int, str, _Table | None]]:
    """The number of each row of a table, its line, and the head if the table has entries."""
    lines = _lines(document)
    index = next((number for number, line in enumerate(lines) if line.strip().lower() == "## index"), 0)
    category, table, is_table, is_delimiter = "", None, False, False
    lines.append("")
    for number, (line, following) in enumerate(pairwise(lines), start=1):
        was_delimiter, is_delimiter = is_delimiter, _is_delimiter(following)
        if line.startswith("#"):
            category, table, is_table = _category(line), None, False
        elif is_delimiter and (not is_table or _is_table_of_entries(_head(line))):
            head, is_table = _head(line), True
            is_entries = number > index and _is_table_of_entries(head)
            table = _Table(category, head, places_of_fields(head)) if is_entries else None
        elif "|" not in line:
            is_table = is_table and line.strip() != ""
        elif not was_delimiter and (is_table or line.lstrip().startswith(("|", "["))):
            yield number, line, table


def _category(line: str) -> str:
    heading = _HEADING.match(line)
    return read_inline(heading[1].rstrip("# \t")).text if heading else ""


def _heads(document: str) -> Iterator[list[str]]:
    """The heads of all tables."""
    previous = ""
    for line in _lines(document):
        if _is_delimiter(line) and "|" in previous and not _is_delimiter(previous):
            yield _head(previous)
        previous = line


def _head(line: str) -> list[str]:
    return [read_inline(cell).text for cell in _cells(line)]


def _is_table_of_entries(head: list[str]) -> bool:
    places = places_of_fields(head)
    return "name" in places and (len(places) >= 3 or len(places) == len([text for text in head if text]))


def _lines(document: str) -> list[str]:
    """The lines of a text. Only line feeds separate them: a name may have U+2028 and the like."""
    return document.replace("\r\n", "\n").split("\n")


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


@lru_cache(1024)
def _read_word(cell: str) -> str:
    """The text of a cell that many rows share, such as Yes."""
    return _read(cell).text


def _row(number: int, cells: list[str], table: _Table) -> Row:
    said = {field: cells[place] for field, place in table.places.items() if place < len(cells)}
    name = _read(said.get("name", ""))
    link = (_url(_read(said["link"])) if "link" in said else "") or name.link or _link_beside(cells)
    row = Row(
        number,
        name.name,
        _read(said["description"]).text if "description" in said else None,
        _read_word(said.get("auth", "")),
        _read_word(said.get("https", "")),
        _read_word(said.get("cors", "")),
        link,
        _read_word(said.get("category", "")) or table.category,
        _read(said.get("provider", "")).text,
    )
    if len(cells) != len(table.heads):
        row.repair("", f"{len(cells)} cells", f"{len(table.heads)} cells", _other_width(cells, table.heads))
    if any(map(has_space_in_link, cells)):
        spaced = next(filter(has_space_in_link, cells))
        row.repair("link", spaced, link, "a space in its link was left out")
    return row


def _other_width(cells: list[str], heads: list[str]) -> str:
    if surplus := cells[len(heads) :]:
        return f"it has {len(cells)} cells, not {len(heads)}; left out: {', '.join(map(repr, surplus))}"
    return f"it has {len(cells)} cells, not {len(heads)}: no {' and no '.join(heads[len(cells) :])} cell"


def _url(inline: Inline) -> str:
    """The link in a cell for links, or else its text if that can be one."""
    found = inline.link or ((url := _URL.search(inline.text)) and url[0])
    return found or (inline.text if "." in inline.text and " " not in inline.text else "")


def _link_beside(cells: list[str]) -> str:
    """The first link in any cell."""
    inlines = [_read(cell) for cell in cells if "](" in cell or "http" in cell]
    return next((inline.link or inline.text for inline in inlines if inline.link or _URL.fullmatch(inline.text)), "")
