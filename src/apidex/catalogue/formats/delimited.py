"""The formats `csv` and `tsv`: a header line, and a row for each API, with commas, semicolons, pipes or tabs between cells.

    name,description,auth,link
    Cat Facts,"Facts, daily",none,https://…

`table` lists the known header cells. A cell may be quoted (RFC 4180); a quotation mark that is never closed costs one row.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeGuard

from apidex.catalogue.formats.blocks import lines_of
from apidex.catalogue.formats.markup import Inline, plain_text, read_link
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row
from apidex.catalogue.formats.table import Table, missing

_LINES_BEFORE = 10
"""Lines among which the header is searched: titles and comments may precede it."""

_MOST_LINES = 10_000
"""The largest number of lines of a row. More would take too much memory where a quotation mark is not closed."""

_Line = tuple[int, str]


_ESCAPE = "Write a cell that contains the character between cells in quotation marks"


@dataclass(slots=True)
class Delimited:
    """The format *NAME*, with one of *delimiters* between cells."""

    NAME: str
    delimiters: str

    def recognises(self, document: object) -> TypeGuard[str]:
        """Whether *document* is a text with the header of a table of entries in one of its first lines."""
        return isinstance(document, str) and self._head(document) is not None

    def rows(self, document: str, report: Report) -> Iterator[Row]:  # noqa: ARG002 - one signature for every format
        """A row for each record after the header."""
        for number, cells, table in self._records(document):
            row = table.row(number, cells, _read, _ESCAPE)
            row.description = plain_text(row.description) if isinstance(row.description, str) else None
            yield row

    def auths(self, document: str) -> Iterator[str]:
        """The cells of the column for authentication."""
        for _, cells, table in self._records(document):
            place = table.places.get("auth", len(cells))
            yield from cells[place : place + 1]

    def seen(self, document: str) -> str:
        """The columns of the first line, and what is missing, for an error; empty for a text without columns."""
        line = next(filter(str.strip, islice(lines_of(document), _LINES_BEFORE)), "")
        heads = max((_cells(line, delimiter) for delimiter in self.delimiters), key=len)
        return missing(heads) if len(heads) > 1 else ""

    def _head(self, document: str) -> tuple[int, str, Table] | None:
        """The line number, the delimiter and the table of the header."""
        for number, line in enumerate(islice(lines_of(document), _LINES_BEFORE), start=1):
            for delimiter in self.delimiters:
                table = Table.of(_cells(line, delimiter)) if delimiter in line else None
                if table:
                    return number, delimiter, table
        return None

    def _records(self, document: str) -> Iterator[tuple[int, list[str], Table]]:
        if head := self._head(document):
            start, delimiter, table = head
            numbered = islice(enumerate(lines_of(document), start=1), start, None)
            for number, cells in _split(numbered, delimiter):
                while len(cells) > len(table.heads) and not cells[-1]:
                    cells.pop()
                if any(cells):
                    yield number, cells, table


CSV, TSV = Delimited("csv", ",;|"), Delimited("tsv", "\t")


def _read(cell: str) -> Inline:
    return read_link(cell) or Inline(cell)


def _split(lines: Iterator[_Line], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of each record."""
    quotation, ahead, unclosed_until = _quotation(delimiter), deque[_Line](), 0

    def following() -> _Line | None:
        return ahead.popleft() if ahead else next(lines, None)

    while line := following():
        number, text = line
        if '"' not in text:
            yield number, [cell.strip() for cell in text.split(delimiter)]
            continue
        record, state = [line], quotation(text)
        # a cell that begins within an earlier one that stays open would stay open, too: no line is examined more than twice
        while state == "open" and number >= unclosed_until and len(record) < _MOST_LINES and (line := following()):
            record.append(line)
            state = quotation(f'"{line[1]}') if '"' in line[1] else state
        if state == "closed":
            yield number, _parsed([each for _, each in record], delimiter)
            continue
        unclosed_until = max(unclosed_until, record[-1][0])
        ahead.extendleft(reversed(record[1:]))
        yield number, _cells(text, delimiter)


def _quotation(delimiter: str) -> Callable[[str], Literal["open", "closed", "malformed"]]:
    """How a line ends: within a quoted cell, or not. In a malformed line, text follows a quoted cell. Takes linear time."""
    border = re.escape(delimiter)
    plain, quoted = rf'(?! *")[^{border}]*+', r' *"(?:[^"]|"")*+'
    line = re.compile(rf'(?:(?:{plain}|{quoted}" *){border})*+(?:{plain}|{quoted}" *|({quoted}))')

    def quotation(text: str) -> Literal["open", "closed", "malformed"]:
        match = line.fullmatch(text)
        return "malformed" if match is None else "closed" if match[1] is None else "open"

    return quotation


def _parsed(record: list[str], delimiter: str) -> list[str]:
    lines = [f"{line}\n" for line in record]
    try:
        return [cell.strip() for cell in next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))]
    except csv.Error:  # such as a cell that is too long
        return _cells("\n".join(record), delimiter)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line, ignoring quotation marks around them."""
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]
