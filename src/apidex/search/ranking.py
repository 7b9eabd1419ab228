"""Names that match a query as people type it, and their order. Pure, and without an await.

Names are compared in folded form (`text`). All folded names stand in one byte string, as in `names`, with a flag for each byte
that begins a word. Nothing here is a Python object for each name.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, chain, groupby

from stringzilla import Str

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.search.text import fold, fold_batch, highlighted, query_terms, to_ranges


class Rank(StrEnum):
    """How well a name fits, best first. `words`: each word of the query begins a word of the name, in any order."""

    EXACT = "exact"
    PREFIX = "prefix"
    WORD = "word"
    INSIDE = "inside"
    WORDS = "words"


class Sort(StrEnum):
    """Best first, by folded name, or in catalogue order."""

    RELEVANCE = "relevance"
    NAME = "name"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry's position in the catalogue, the rank of its name, and what matches: half-open ranges of its code points."""

    position: int
    rank: Rank | None
    highlights: list[tuple[int, int]]


_RANKS = list(Rank)
_EXACT, _PREFIX, _WORD, _INSIDE, _WORDS = range(len(Rank))
_POSITION_BITS, _LENGTH_BITS = 40, 20

POSITION_MASK = (1 << _POSITION_BITS) - 1
"""A match is one number that sorts by relevance: rank, length of the folded name in bytes, position."""


class FoldedNamesBuilder:
    """The arrays of FoldedNames while names are added."""

    def __init__(self) -> None:
        self._text, self._word_starts, self._starts = bytearray(), bytearray(), array("Q")

    def add(self, names: Sequence[str]) -> None:
        """Append *names*."""
        lines, flags, sizes = fold_batch(names)
        self._starts.extend(accumulate(sizes[:-1], initial=len(self._text)))
        self._text += lines
        self._word_starts += flags

    def finish(self) -> "FoldedNames":
        """Return all names added. The builder must not be used again."""
        self._starts.append(len(self._text))
        self._text += b"\n"
        return FoldedNames(Str(self._text), self._word_starts, self._starts)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedNames:
    """The folded names of a catalogue.

    The name at position *i* is `text[starts[i] + 1:starts[i + 1]]`, and `word_starts` is not 0 where a word begins.
    """

    text: Str
    word_starts: ByteBuffer
    starts: IntArray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def matches(self, query: str) -> Sequence[int]:
        """A number for each name that matches *query*; for a blank query every position, as a range."""
        needle = fold(query).encode()
        if not needle:
            return [] if query.strip() else range(len(self))
        keys = {position: self._sort_key(rank, position) for position, rank in self._ranked(needle)}
        terms = query_terms(query)
        if len(terms) > 1 or fold(query) != terms[0]:
            for position in self._with_all_terms(terms):
                keys.setdefault(position, self._sort_key(_WORDS, position))
        return list(keys.values())

    def _ranked(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Every position whose folded name contains *needle*, with its rank's number."""
        find, starts = self.text.find, self.starts
        at = find(needle)
        while at >= 0:
            position = bisect_right(starts, at) - 1
            yield position, self._best_place(position, needle, at)[0]
            at = find(needle, starts[position + 1])

    def _best_place(self, position: int, needle: bytes, first: int) -> tuple[int, int]:
        """The number of the best rank that *needle* has in a name, and the place of that. *first* is its first place."""
        start, end = self.starts[position] + 1, self.starts[position + 1]
        if first == start:
            return (_EXACT if end - start == len(needle) else _PREFIX), first
        place = first
        while place >= 0:
            if self.word_starts[place]:
                return _WORD, place
            place = self.text.find(needle, place + 1, end)
        return _INSIDE, first

    def _with_all_terms(self, terms: Sequence[str]) -> Iterator[int]:
        """Every position in whose name each of *terms* begins a word."""
        rarest, *others = sorted((term.encode() for term in terms), key=self.text.count)
        for position, rank in self._ranked(rarest):
            if rank <= _WORD and all(self._begins_word(position, term) for term in others):
                yield position

    def _begins_word(self, position: int, term: bytes) -> bool:
        """Whether a word of a name begins with *term*."""
        first = self.text.find(term, self.starts[position], self.starts[position + 1])
        return first >= 0 and self._best_place(position, term, first)[0] <= _WORD

    def _sort_key(self, rank: int, position: int) -> int:
        length = self.starts[position + 1] - self.starts[position]
        return (rank << _LENGTH_BITS | length) << _POSITION_BITS | position

    def ordered(self, matches: Sequence[int], sort: Sort) -> Iterator[int]:
        """The *matches* in the order of *sort*."""
        if isinstance(matches, range) and sort is not Sort.NAME:
            return iter(matches)
        if sort is Sort.RELEVANCE:
            groups = groupby(sorted(matches), key=lambda key: key >> _POSITION_BITS)
            return chain.from_iterable(sorted(group, key=self._folded) if rank else group for rank, group in groups)
        in_catalogue_order = sorted(matches, key=POSITION_MASK.__and__)
        return iter(in_catalogue_order if sort is Sort.CATALOGUE else sorted(in_catalogue_order, key=self._folded))

    def _folded(self, match: int) -> bytes:
        position = match & POSITION_MASK
        return bytes(self.text[self.starts[position] + 1 : self.starts[position + 1]])

    def hit(self, query: str, match: int, name: str) -> Hit:
        """Return the hit of *query* on a matching *name*, as it is spelled."""
        rank = _RANKS[match >> _POSITION_BITS + _LENGTH_BITS]
        needles = query_terms(query) if rank is Rank.WORDS else [fold(query)]
        return Hit(match & POSITION_MASK, rank, self._highlights(match, name, needles))

    def _highlights(self, match: int, name: str, needles: Iterable[str]) -> list[tuple[int, int]]:
        """The best places of *needles* in *name*, as ranges of its code points."""
        position, folded = match & POSITION_MASK, self._folded(match)
        start, end = self.starts[position] + 1, self.starts[position + 1]
        marked: set[int] = set()
        for needle in needles:
            _, place = self._best_place(position, needle.encode(), self.text.find(needle.encode(), start, end))
            before = len(folded[: place - start].decode())
            marked.update(highlighted(name, before, before + len(needle)))
        return to_ranges(sorted(marked))
