"""From the rows of a document to a catalogue, and the report of repaired, rejected and ignored rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from apidex.catalogue.catalogue import Catalogue, CatalogueSink
from apidex.catalogue.entry import Entry, check, replace_controls
from apidex.errors import CatalogueError, EntryError

CORS_WORDS = frozenset({"yes", "no", "unknown"})

MAX_ISSUES_KEPT = 200
"""A report keeps this many issues of each sort, and counts the others."""


class RowIssue(msgspec.Struct, frozen=True):
    """Why a row was repaired, rejected or ignored. *row* is the line of a text, or the position in a list from 1 on."""

    row: int
    name: str
    reason: str


@dataclass(slots=True)
class RowIssues:
    """How many rows had an issue of one sort, and the first of these issues."""

    total: int = 0
    first: list[RowIssue] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str) -> None:
        """Count a row, and keep its issue while there is room."""
        self.total += 1
        if len(self.first) < MAX_ISSUES_KEPT:
            self.first.append(RowIssue(row, name[:80], reason if len(reason) <= 200 else f"{reason[:200]}…"))


@dataclass(slots=True)
class Report:
    """What one parse did: rows = entries + rejected, and some of the entries were repaired.

    Ignored rows are outside the tables of entries, and are not among *rows*.
    """

    format: str
    rows: int = 0
    repaired: RowIssues = field(default_factory=RowIssues)
    rejected: RowIssues = field(default_factory=RowIssues)
    ignored: RowIssues = field(default_factory=RowIssues)


@dataclass(slots=True)
class Row:
    """A row before it becomes an entry: its place, its values, the repairs so far, and the error if it cannot be read."""

    place: int
    name: str
    description: str = ""
    auth: str = ""
    https: bool = False
    cors: str = "unknown"
    link: str = ""
    category: str = ""
    repairs: list[str] = field(default_factory=list)
    error: str = ""

    def to_entry(self) -> Entry:
        """Return the row's entry, repaired. Raises EntryError with the reason if it has none."""
        if self.error:
            raise EntryError(self.error)
        name, cors = replace_controls(self.name), self.cors.strip().lower()
        if name != self.name:
            self.repairs.append("control characters in the name became spaces")
        if not self.link:
            self.repairs.append("it has no link")
        if cors not in CORS_WORDS:
            self.repairs.append(f"CORS {self.cors.strip()!r} became 'unknown'")
            cors = "unknown"
        description, auth, link, category = map(
            replace_controls, (self.description, self.auth, self.link, self.category)
        )
        return check(Entry(name, description, auth, self.https, cors, link, category))


class Format(Protocol):
    """A module that reads one upstream format."""

    NAME: str

    def recognises(self, document: object, /) -> bool:
        """Whether *document* has this format."""
        ...

    def rows(self, document: Any, report: Report, /) -> Iterator[Row]:  # noqa: ANN401 - what `recognises` accepts
        """The rows of a recognised document. Rows outside the tables of entries go to the report as ignored."""
        ...


@dataclass(frozen=True, slots=True)
class Parsed:
    """A catalogue, and the report of how it was read."""

    catalogue: Catalogue
    report: Report


def read_rows(source: Format, document: object, sink: CatalogueSink | None = None) -> Parsed:
    """Read *document* into *sink*. Raises CatalogueError when there are no entries, or more rows are rejected than accepted."""
    report = Report(source.NAME)
    return Parsed(Catalogue.of(_entries(report, source.rows(document, report)), sink), report)


def _entries(report: Report, rows: Iterator[Row]) -> Iterator[Entry]:
    for row in rows:
        report.rows += 1
        try:
            entry = row.to_entry()
        except EntryError as error:
            report.rejected.add(row.place, row.name, str(error))
            continue
        if row.repairs:
            report.repaired.add(row.place, entry.name, "; ".join(row.repairs))
        yield entry
    if report.rejected.total * 2 > report.rows:
        first = report.rejected.first[0]
        count = f"{report.rejected.total} of {report.rows} rows cannot be read"
        raise CatalogueError("unreadable", f"{count}; the first is row {first.row}: {first.reason}")
