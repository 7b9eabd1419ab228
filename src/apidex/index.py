"""Finding every name that contains a string. Pure, and without an await: a search cannot be interrupted.

All names stand in one byte string, each behind a line feed; a vectorised substring scan (stringzilla) walks it from hit to
hit. A name holds no control character, so a hit can never reach over a line feed, and the UTF-8 of a query matches only
whole characters.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from stringzilla import Str


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The names of one catalogue, ready to be searched."""

    text: Str
    starts: "array[int]"

    @classmethod
    def build(cls, names: Sequence[str]) -> "Index":
        """Return the index of *names*, whose positions are what searches give back."""
        encoded = [name.encode() for name in names]
        starts = array("Q", accumulate((len(name) + 1 for name in encoded), initial=0))
        return cls(Str(b"\n".join([b"", *encoded])), starts)

    def find(self, name: str) -> list[int]:
        """The positions of all names that contain *name*, case-sensitive, in order. None is left out, at any length."""
        needle, find, starts = name.encode(), self.text.find, self.starts
        positions: list[int] = []
        at = find(needle)
        while at >= 0:
            behind = bisect_right(starts, at)
            positions.append(behind - 1)
            at = find(needle, starts[behind])
        return positions
