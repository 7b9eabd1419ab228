"""The format `markdown`: the README of public-apis/public-apis, tables of five columns under `###` headings.

    ### Animals
    API | Description | Auth | HTTPS | CORS
    |---|---|---|---|---|
    | [Cat Facts](https://…) | Daily cat facts | No | Yes | No |

Tables with other columns, or before the first such heading after `## Index`, have no entries (most are advertisements).
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeGuard

from apidex.catalogue.formats.report import Report, Row

NAME = "markdown"

COLUMNS = ("api", "description", "auth", "https", "cors")

_CELL_BORDER = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_YES_OR_NO = {"yes": True, "no": False}


def recognises(document: object) -> TypeGuard[str]:
    """Whether *document* is a text with at least one table of the five columns."""
    return isinstance(document, str) and any(_is_head(a, b) for a, b in pairwise(_lines(document)))


def rows(document: str, report: Report) -> Iterator[Row]:
    """The rows of all tables of entries. Rows of other tables go to *report* as ignored."""
    lines = _lines(document)
    index = next((number for number, line in enumerate(lines) if line.strip().lower() == "## index"), 0)
    category, is_entries = "", False
    for number, line in enumerate(lines, start=1):
        following = lines[number] if number < len(lines) else ""
        if line.startswith("#"):
            category, is_entries = (line[4:].strip() if line.startswith("### ") else ""), False
        elif _is_delimiter(following):
            is_entries = number > index and category != "" and _is_head(line, following)
        elif _is_row(line):
            if is_entries:
                yield _row(number, _cells(line), category)
            else:
                report.ignored.add(number, _name_and_link(_cells(line)[0])[0], "not in a table of entries")


def _is_head(line: str, following: str) -> bool:
    return tuple(cell.lower() for cell in _cells(line)[:5]) == COLUMNS and _is_delimiter(following)


def _lines(document: str) -> list[str]:
    """The lines of a text. Only line feeds separate them: a name may have U+2028 and the like."""
    return document.replace("\r\n", "\n").split("\n")


def _is_delimiter(line: str) -> bool:
    """Whether a line separates the head of a table from its rows, `|:---|---|`. Takes linear time."""
    return "-" in line and "|" in line and not line.strip("|:- \t")


def _is_row(line: str) -> bool:
    stripped = line.lstrip()
    return (stripped.startswith("|") and not _is_delimiter(line)) or (stripped.startswith("[") and "|" in line)


def _cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in _CELL_BORDER.split(line.strip())]
    return cells[not cells[0] : len(cells) - (len(cells) > 1 and not cells[-1])]


def _unescape(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _name_and_link(cell: str) -> tuple[str, str]:
    border = cell.find("](", 2)
    if cell.startswith("[") and cell.endswith(")") and border > 0:
        return _unescape(cell[1:border]), cell[border + 2 : -1]
    return _unescape(cell), ""


def _row(place: int, cells: list[str], category: str) -> Row:
    name, link = _name_and_link(cells[0]) if cells else ("", "")
    row = Row(place, name, link=link, category=category)
    if len(cells) < len(COLUMNS) - 1:
        row.error = f"it has {len(cells)} cells, not {len(COLUMNS)}"
        return row
    if len(cells) < len(COLUMNS):
        row.repairs.append("it has no CORS cell; CORS became 'unknown'")
        cells = [*cells, "unknown"]
    elif surplus := cells[len(COLUMNS) :]:
        row.repairs.append(f"it has {len(cells)} cells, not {len(COLUMNS)}; left out: {', '.join(map(repr, surplus))}")
    _, description, auth, https, row.cors = cells[: len(COLUMNS)]
    row.description = _unescape(description)
    auth = auth.strip("`")
    row.auth = "" if auth.lower() in ("no", "none", "null") else auth
    row.https = _YES_OR_NO.get(https.lower(), False)
    if https.lower() not in _YES_OR_NO:
        row.repairs.append(f"HTTPS {https!r} became 'No'")
    return row
