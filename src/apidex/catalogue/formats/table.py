"""Rows of tables of every format: columns are found by their header cells, in any order. Pure.

A table has entries when one column holds names and, besides, one column holds links, two other columns are known, or all columns
are known. If no column is for names, the column of providers is used for them, or else that of links.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from apidex.catalogue.formats.fields import places_of_fields
from apidex.catalogue.formats.markup import URL, Inline
from apidex.catalogue.formats.row import WORD_LIMIT, Row
from apidex.terminal import counted

Read = Callable[[str], Inline]
"""Returns the plain text of a cell."""

_SHOWN_COLUMNS = 20
"""The most columns that an error or a repair names."""


@dataclass(frozen=True, slots=True)
class Table:
    """The header of a table of entries: its columns, the column of each field, and the category of rows without one."""

    heads: Sequence[str]
    places: dict[str, int]
    category: str = ""

    @classmethod
    def of(cls, heads: Sequence[str], category: str = "", least: int = 3) -> "Table | None":
        """Return the table with these *heads*; None if it has no entries, for example with fewer than *least* known columns."""
        places = _places(heads)
        known = len(set(places.values()))
        has_link = places.get("link", places.get("name")) != places.get("name")
        has_entries = "name" in places and (has_link or known >= least or known == sum(map(bool, heads)))
        return cls(heads, places, category) if has_entries else None

    @staticmethod
    def word(cell: str, read: Read) -> str:
        """The text of a cell, cached if many rows may share it, such as Yes."""
        return _cached_word(cell, read) if len(cell) <= WORD_LIMIT else read(cell).text

    def row(self, number: int, cells: Sequence[str], read: Read, escape: str = "") -> Row:
        """Return the row with these *cells*. *escape* says how a cell is written that contains the character between cells."""
        said = {field: cells[place] for field, place in self.places.items() if place < len(cells)}
        name = read(said.get("name", ""))
        link = (_url(read(said["link"])) if "link" in said else "") or name.link or _link_beside(cells, read)
        row = Row(
            number,
            name.name,
            read(said["description"]).text if "description" in said else None,
            self.word(said.get("auth", ""), read),
            self.word(said.get("https", ""), read),
            self.word(said.get("cors", ""), read),
            link,
            self.word(said.get("category", ""), read) or self.category,
            self.word(said.get("provider", ""), read),
        )
        if len(cells) != len(self.heads):
            before, after = counted(len(cells), "cell"), counted(len(self.heads), "cell")
            row.repair(
                "", before, after, f"it has {before}, its table {after}; {_other_width(cells, self.heads, escape)}"
            )
        return row


@lru_cache(1024)
def _cached_word(cell: str, read: Read) -> str:
    return read(cell).text


def missing(heads: Sequence[str]) -> str:
    """The columns that were found, and what is missing for a table of entries."""
    lacks = "another one that is known" if "name" in _places(heads) else "one for names, such as API or Name"
    return f"its table has the columns {', '.join(text[:40] for text in heads[:_SHOWN_COLUMNS])}; missing is {lacks}"


def _places(heads: Sequence[str]) -> dict[str, int]:
    places = places_of_fields(heads)
    if "name" not in places and len(places) >= 3:
        for field in ("provider", "link"):
            if field in places:
                places["name"] = places[field]
                break
    return places


def _other_width(cells: Sequence[str], heads: Sequence[str], escape: str) -> str:
    if len(cells) < len(heads):
        # each row of a table with a hundred thousand columns would take milliseconds otherwise
        return f"no {' and no '.join(heads[len(cells) : len(cells) + _SHOWN_COLUMNS])} cell"
    surplus = [cell for cell in cells[len(heads) :] if cell]
    ignored = f"ignored: {', '.join(map(repr, surplus))}"
    return f"{ignored}. {escape}" if surplus and escape else ignored if surplus else "the empty ones were ignored"


def _url(inline: Inline) -> str:
    """The link in a cell for links, or else its text if that can be a link."""
    found = inline.link or ((url := URL.search(inline.text)) and url[0])
    return found or (inline.text if "." in inline.text and " " not in inline.text else "")


def _link_beside(cells: Sequence[str], read: Read) -> str:
    """The first link in any cell."""
    inlines = [read(cell) for cell in cells if "](" in cell or "http" in cell]
    return next((inline.link or inline.text for inline in inlines if inline.link or URL.fullmatch(inline.text)), "")
