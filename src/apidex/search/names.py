"""Every name that contains a string. Pure, and without an await: a search cannot be interrupted.

All names stand in one byte string, each after a line feed; a vectorised substring scan (stringzilla) goes from hit to hit. A name
has no control characters, so that a hit cannot cross a line feed, and the UTF-8 of a query matches whole characters only. Names
and queries are compared in NFC, so that both spellings of é are equal.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from stringzilla import Str

from apidex.catalogue.buffers import IntArray
from apidex.search.text import composed, line_sizes

_BATCH = 100
"""Names of a long result that are found in one step."""


class NameIndexBuilder:
    """The text and the starts of a NameIndex while names are added."""

    def __init__(self) -> None:
        self._text, self._starts = bytearray(), array("Q", [0])

    def add(self, names: Iterable[str]) -> None:
        """Append *names*."""
        lines = composed("\n".join(["", *names])).encode()  # no letter is composed with a line feed
        self._starts.extend(islice(accumulate(line_sizes(lines), initial=len(self._text)), 1, None))
        self._text += lines

    def finish(self) -> "NameIndex":
        """Return the index of all names added. The builder must not be used again."""
        return NameIndex(Str(self._text), self._starts)


@dataclass(frozen=True, slots=True, eq=False)
class NameIndex:
    """The names of one catalogue. The name at position *i* is `text[starts[i] + 1:starts[i + 1]]`."""

    text: Str
    starts: IntArray

    @classmethod
    def build(cls, names: Iterable[str]) -> "NameIndex":
        """Return the index of *names*, in which searches find positions."""
        builder = NameIndexBuilder()
        builder.add(names)
        return builder.finish()

    def encoded(self, position: int) -> bytes:
        """The UTF-8 of the name at *position*."""
        return bytes(self.text[self.starts[position] + 1 : self.starts[position + 1]])

    def find(self, name: str, start: int = 0, limit: int | None = None) -> list[int]:
        """The positions of the names that contain *name*, case-sensitive, in order: from *start* on, at most *limit*."""
        needle, find, starts = composed(name).encode(), self.text.find, self.starts
        positions: list[int] = []
        at = find(needle, starts[start])
        while at >= 0 and len(positions) != limit:
            following = bisect_right(starts, at)
            positions.append(following - 1)
            at = find(needle, starts[following])
        return positions

    def batches(self, name: str) -> Iterator[list[int]]:
        """The result of `find`, in batches of a few positions."""
        begin, end = 0, len(self.starts) - 1
        while begin < end and (positions := self.find(name, begin, _BATCH)):
            yield positions
            begin = positions[-1] + 1
