"""From the rows of a document to a catalogue, and the report of repaired, rejected and ignored rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec

from apidex.catalogue.catalogue import Catalogue, CatalogueSink
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats.row import Repair, Row, Spellings, row_of, spellings, text_of
from apidex.errors import CatalogueError, EntryError
from apidex.terminal import counted


class RowIssue(msgspec.Struct, frozen=True):
    """Why a row was repaired, rejected or ignored. *row* is the line of a text, or the position in a list from 1 on.

    Each of its *repairs* is a part of the *reason*.
    """

    row: int
    name: str
    reason: str
    repairs: list[Repair] = []


@dataclass(slots=True)
class RowIssues:
    """How many rows had an issue of one sort, and the first of these issues."""

    KEPT: ClassVar = 200
    """The number of issues that are kept; further ones are only counted."""

    total: int = 0
    first: list[RowIssue] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str, repairs: Sequence[Repair] = ()) -> None:
        """Count a row, and keep its issue while there is room."""
        self.total += 1
        if len(self.first) < self.KEPT:
            shown = reason if len(reason) <= 200 else f"{reason[:200]}…"
            self.first.append(RowIssue(row, name[:80], shown, list(repairs)))


@dataclass(slots=True)
class Report:
    """What one parse did: rows = entries + rejected, and some of the entries were repaired.

    Ignored rows are outside the tables of entries, and are not among *rows*.
    """

    format: str = ""
    rows: int = 0
    repaired: RowIssues = field(default_factory=RowIssues)
    rejected: RowIssues = field(default_factory=RowIssues)
    ignored: RowIssues = field(default_factory=RowIssues)

    def accept(self, row: int, entry: Entry) -> None:
        """Receive an entry and its row. This class keeps neither."""


class Format(Protocol):
    """A module that reads one upstream format."""

    NAME: str

    def recognises(self, document: object, /) -> bool:
        """Whether *document* has this format."""

    def rows(self, document: Any, report: Report, /) -> Iterator[Row | Entry]:  # noqa: ANN401 - what `recognises` accepts
        """The rows of a recognised document, or entries where nothing is to be normalised but the spelling of the authentication.

        Rows outside the tables of entries go to the report as ignored.
        """

    def auths(self, document: Any, /) -> Iterable[object]:  # noqa: ANN401 - what `recognises` accepts
        """What the rows say of authentication, in any order, as they say it."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A catalogue, and the report of how it was read."""

    catalogue: Catalogue
    report: Report


def read_rows(source: Format, document: object, sink: CatalogueSink | None, report: Report) -> Parsed:
    """Read *document* into *sink*, and fill in the *report*.

    Raises CatalogueError when there are no entries, or more rows are rejected than accepted.
    """
    report.format, chosen = source.NAME, spellings(source.auths(document))
    return Parsed(Catalogue.of(_entries(report, source.rows(document, report), chosen), sink), report)


def _entries(report: Report, rows: Iterator[Row | Entry], chosen: Spellings) -> Iterator[Entry]:
    for item in rows:
        report.rows += 1
        if isinstance(item, Entry) and item.auth not in chosen:
            report.accept(report.rows, item)
            yield item
            continue
        row = row_of(report.rows, item) if isinstance(item, Entry) else item
        try:
            entry = row.to_entry(chosen)
        except EntryError as error:
            report.rejected.add(row.place, text_of(row.name), str(error))
            continue
        if row.repairs:
            reason = "; ".join([each.reason for each in row.repairs])
            report.repaired.add(row.place, entry.name, reason, row.repairs)
        report.accept(row.place, entry)
        yield entry
    if report.rejected.total * 2 > report.rows:
        first = report.rejected.first[0]
        count = f"{report.rejected.total} of {counted(report.rows, 'row')} cannot be read"
        raise CatalogueError("unreadable", f"{count}; the first is row {first.row}: {first.reason}")
