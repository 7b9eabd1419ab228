"""What reading an upstream answer came to, row by row where a row was not plain."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from apidex.catalogue.catalogue import Catalogue, Entry, Paper, check, without_controls
from apidex.errors import CatalogueError, EntryError

CORS_WORDS = frozenset({"yes", "no", "unknown"})


class Remark(msgspec.Struct, frozen=True):
    """Why one row was repaired, rejected or ignored. *row* is a line of a text, or a place in a list from 1 on."""

    row: int
    name: str
    reason: str


REMARKS_KEPT = 200
"""A report keeps this many remarks of each sort, and counts the others."""


@dataclass(slots=True)
class Remarks:
    """How many rows there were of one sort, and the first of them."""

    total: int = 0
    first: list[Remark] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str) -> None:
        """Count a row, and keep what there is to say of it as long as there is room."""
        self.total += 1
        if len(self.first) < REMARKS_KEPT:
            self.first.append(Remark(row, name[:80], reason if len(reason) <= 200 else f"{reason[:200]}…"))


@dataclass(slots=True)
class Report:
    """The account of one parse: rows = entries + rejected, and some of the entries were repaired.

    Ignored rows stood where no entries are looked for, and are not among *rows*.
    """

    format: str
    rows: int = 0
    repaired: Remarks = field(default_factory=Remarks)
    rejected: Remarks = field(default_factory=Remarks)
    ignored: Remarks = field(default_factory=Remarks)


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
    mended: list[str] = field(default_factory=list)
    wrong: str = ""

    def clean(self) -> Entry:
        """The entry that the row stands for. Raises EntryError with the reason when it stands for none."""
        if self.wrong:
            raise EntryError(self.wrong)
        name = without_controls(self.name)
        if name != self.name:
            self.mended.append("control characters in the name became spaces")
        if not self.link:
            self.mended.append("it has no link")
        cors = self.cors.strip().lower()
        if cors not in CORS_WORDS:
            self.mended.append(f"CORS {self.cors.strip()!r} became 'unknown'")
            cors = "unknown"
        return check(
            Entry(
                name=name,
                description=without_controls(self.description),
                auth=without_controls(self.auth),
                https=self.https,
                cors=cors,
                link=without_controls(self.link),
                category=without_controls(self.category),
            )
        )


@dataclass(frozen=True, slots=True)
class Parsed:
    """A catalogue, and the report of how it was read."""

    catalogue: Catalogue
    report: Report


def parsed(report: Report, rows: Iterator[Row], paper: Paper | None = None) -> Parsed:
    """Make the catalogue of *rows*, on *paper*. Raises CatalogueError when none, or fewer than half of them, can be read."""
    entries = _entries(report, rows)
    try:
        catalogue = Catalogue.of(entries, paper)
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
            entry = row.clean()
        except EntryError as error:
            report.rejected.add(row.place, row.name, str(error))
            continue
        if row.mended:
            report.repaired.add(row.place, entry.name, "; ".join(row.mended))
        yield entry
