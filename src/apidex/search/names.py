"""Finding every name that contains a string. Pure, and without an await: a search cannot be interrupted.

All names stand in one byte string, each behind a line feed; a vectorised substring scan (stringzilla) walks it from hit to
hit. A name holds no control character, so a hit can never reach over a line feed, and the UTF-8 of a query matches only
whole characters.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, islice

from stringzilla import Str

from apidex.catalogue.catalogue import Numbers


class Draft:
    """The text and the starts of an index in the making."""

    def __init__(self) -> None:
        self.text, self.starts = bytearray(), array("Q", [0])

    def add(self, names: Iterable[str]) -> None:
        """Put *names* behind those that are there."""
        lines = [b"\n%b" % name.encode() for name in names]
        self.starts.extend(islice(accumulate(map(len, lines), initial=len(self.text)), 1, None))
        self.text += b"".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The names of one catalogue, ready to be searched."""

    text: Str
    starts: Numbers

    @classmethod
    def build(cls, names: Iterable[str]) -> "Index":
        """Return the index of *names*, whose positions are what searches give back."""
        draft = Draft()
        draft.add(names)
        return cls(Str(bytes(draft.text)), draft.starts)

    def find(self, name: str, begin: int = 0, most: int | None = None) -> list[int]:
        """The positions of all names that contain *name*, case-sensitive, in order. None is left out, at any length.

        A search can be had in parts: from position *begin* on, and no more than *most*.
        """
        needle, find, starts = name.encode(), self.text.find, self.starts
        positions: list[int] = []
        at = find(needle, starts[begin])
        while at >= 0 and len(positions) != most:
            behind = bisect_right(starts, at)
            positions.append(behind - 1)
            at = find(needle, starts[behind])
        return positions
