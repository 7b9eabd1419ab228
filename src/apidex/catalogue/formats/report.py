"""What reading an upstream answer came to, row by row where a row was not plain."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from apidex.catalogue.catalogue import Catalogue, CatalogueSink
from apidex.catalogue.entry import Entry, check, replace_controls
from apidex.errors import CatalogueError, EntryError

CORS_WORDS = frozenset({"yes", "no", "unknown"})


class RowIssue(msgspec.Struct, frozen=True):
    """Why one row was repaired, rejected or ignored. *row* is a line of a text, or a place in a list from 1 on."""

    row: int
    name: str
    reason: str


MAX_ISSUES_KEPT = 200
"""A report keeps this many remarks of each sort, and counts the others."""


@dataclass(slots=True)
class RowIssues:
    """How many rows there were of one sort, and the first of them."""

    total: int = 0
    first: list[RowIssue] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str) -> None:
        """Count a row, and keep what there is to say of it as long as there is room."""
        self.total += 1
        if len(self.first) < MAX_ISSUES_KEPT:
            self.first.append(RowIssue(row, name[:80], reason if len(reason) <= 200 else f"{reason[:200]}…"))


@dataclass(slots=True)
class Report:
    """The account of one parse: rows = entries + rejected, and some of the entries were repaired.

    Ignored rows stood where no entries are looked for, and are not among *rows*.
    """

    format: str
    rows: int = 0
    repaired: RowIssues = field(default_factory=RowIssues)
    rejected: RowIssues = field(default_factory=RowIssues)
    ignored: RowIssues = field(default_factory=RowIssues)


@dataclass(slots=True)
class Row:
    """A row on its way to becoming an entry: its place, what it says, and what had to be mended so far."""

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
        """The entry that the row stands for. Raises EntryError with the reason when it stands for none."""
        if self.error:
            raise EntryError(self.error)
        name = replace_controls(self.name)
        if name != self.name:
            self.repairs.append("control characters in the name became spaces")
        if not self.link:
            self.repairs.append("it has no link")
        cors = self.cors.strip().lower()
        if cors not in CORS_WORDS:
            self.repairs.append(f"CORS {self.cors.strip()!r} became 'unknown'")
            cors = "unknown"
        return check(
            Entry(
                name=name,
                description=replace_controls(self.description),
                auth=replace_controls(self.auth),
                https=self.https,
                cors=cors,
                link=replace_controls(self.link),
                category=replace_controls(self.category),
            )
        )


@dataclass(frozen=True, slots=True)
class Parsed:
    """A catalogue, and the report of how it was read."""

    catalogue: Catalogue
    report: Report


def parsed(report: Report, rows: Iterator[Row], sink: CatalogueSink | None = None) -> Parsed:
    """Make the catalogue of *rows*, on *sink*. Raises CatalogueError when none, or fewer than half of them, can be read."""
    entries = _entries(report, rows)
    try:
        catalogue = Catalogue.of(entries, sink)
    except CatalogueError:
        _refuse_unreadable(report)
        raise
    _refuse_unreadable(report)
    return Parsed(catalogue, report)


def _refuse_unreadable(report: Report) -> None:
    if report.rejected.total * 2 > report.rows:
        first = report.rejected.first[0]
        raise CatalogueError(
            "unreadable",
            f"{report.rejected.total} of {report.rows} rows cannot be read; the first is row {first.row}: {first.reason}",
        )


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
