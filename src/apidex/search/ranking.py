"""Names that match a query as people type it, and the order of hits. Pure, and without an await.

Names are compared in folded form (`text`). All folded names stand in one byte string, as in `names`, with a flag for each byte
that begins a word. Nothing here is a Python object for each name.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate, chain, compress, groupby, islice
from typing import Protocol

from stringzilla import Str

from apidex.catalogue.buffers import IntArray
from apidex.search.descriptions import RelevantEntries
from apidex.search.filters import Facet, FacetIndex, Filters
from apidex.search.text import composed, fold, fold_batch, highlighted, query_terms, to_ranges


class Rank(StrEnum):
    """How well an entry matches, best first; all but `about` by its name. `words`: each query word begins a word of the name."""

    EXACT = "exact"
    PREFIX = "prefix"
    WORD = "word"
    INSIDE = "inside"
    WORDS = "words"
    ABOUT = "about"


class Scope(StrEnum):
    """Where a query is searched: in names, in all texts of an entry, or in names first and then in all texts."""

    NAME = "name"
    ABOUT = "about"
    ALL = "all"


class Sort(StrEnum):
    """Best first, by folded name, or in catalogue order."""

    RELEVANCE = "relevance"
    NAME = "name"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry's position in the catalogue, its rank, and what matches: half-open ranges of code points."""

    position: int
    rank: Rank | None
    highlights: list[tuple[int, int]]
    description_highlights: list[tuple[int, int]] = field(default_factory=list)


class Matches(Protocol):
    """The entries that match a query, each with its rank. Immutable."""

    def __len__(self) -> int: ...

    def flags(self) -> Sequence[int] | None:
        """For each position, whether its entry matches; None if few match."""

    def followed_by(self, found: RelevantEntries) -> "Matches":
        """These matches, followed by the entries *found* that are not among them, with the rank `about`."""

    def facets(self, index: FacetIndex, filters: Filters) -> dict[str, list[Facet]]:
        """The facets: each counts the matches that all other *filters* accept."""

    def accepted(self, index: FacetIndex, filters: Filters) -> "Matches":
        """The matches that *filters* accept."""

    def page(self, sort: Sort, offset: int, limit: int | None) -> list[tuple[int, Rank | None]]:
        """Position and rank of at most *limit* matches in the order of *sort*, from *offset* on. A blank query has no rank."""

    def best(self, limit: int, spelling: Callable[[int], str]) -> list[tuple[int, Rank | None]]:
        """As a `page` by relevance, with only the first match of each name; *spelling* returns the name at a position."""


RANKS = list(Rank)
EXACT, PREFIX, WORD, INSIDE, WORDS, ABOUT = range(len(Rank))
"""The number of each of RANKS."""

_POSITION_BITS, _LENGTH_BITS = 40, 20
_POSITION_MASK = (1 << _POSITION_BITS) - 1


class Flags(Protocol):
    """A flag for each byte of a text."""

    def __getitem__(self, place: int, /) -> int: ...


class FoldedNamesBuilder:
    """The arrays of FoldedNames while names are added."""

    def __init__(self) -> None:
        self._text, self.word_starts, self._starts = bytearray(), bytearray(), array("Q")

    def add(self, names: Sequence[str]) -> None:
        """Append *names*."""
        lines, flags, sizes = fold_batch(names)
        self._starts.extend(accumulate(sizes[:-1], initial=len(self._text)))
        self._text += lines
        self.word_starts += flags

    def finish(self) -> "FoldedNames":
        """Return all names added. The builder must not be used again."""
        self._starts.append(len(self._text))
        self._text += b"\n"
        return FoldedNames(Str(self._text), self.word_starts, self._starts)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedNames:
    """The folded names of a catalogue.

    The name at position *i* is `text[starts[i] + 1:starts[i + 1]]`, and `word_starts` is not 0 where a word begins.
    """

    text: Str
    word_starts: Flags
    starts: IntArray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return 2 * int(self.text.nbytes) + 8 * len(self)

    def exactly(self, positions: Iterable[int]) -> Matches:
        """The names at *positions*, as names that are the query."""
        return ListedMatches(self, [self.sort_key(EXACT, position) for position in positions])

    def without_letters(self) -> list[int]:
        """The positions of the names whose folded form is empty, such as `∞`."""
        starts = self.starts
        return [position for position in range(len(self)) if starts[position + 1] == starts[position] + 1]

    def matches(self, query: str) -> Matches:
        """Every name that matches *query*; all for a blank one."""
        needle, terms = fold(query), query_terms(query)
        if not needle:
            return EveryName(self, range(0 if query.strip() else len(self)))
        keys = {position: self.sort_key(rank, position) for position, rank in self._ranked(needle.encode())}
        if terms != [needle]:
            for position in self._with_all_terms(terms):
                keys.setdefault(position, self.sort_key(WORDS, position))
        return ListedMatches(self, list(keys.values()))

    def finds(self, query: str) -> bool:
        """Whether any name matches *query*."""
        return len(self.matches(query)) > 0

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
            return (EXACT if end - start == len(needle) else PREFIX), first
        place = first
        while place >= 0:
            if self.word_starts[place]:
                return WORD, place
            place = self.text.find(needle, place + 1, end)
        return INSIDE, first

    def _with_all_terms(self, terms: Sequence[str]) -> Iterator[int]:
        """Every position in whose name each of *terms* begins a word."""
        rarest, *others = sorted((term.encode() for term in terms), key=self.text.count)
        for position, rank in self._ranked(rarest):
            if rank <= WORD and all(self._begins_word(position, term) for term in others):
                yield position

    def _begins_word(self, position: int, term: bytes) -> bool:
        """Whether a word of a name begins with *term*."""
        first = self.text.find(term, self.starts[position], self.starts[position + 1])
        return first >= 0 and self._best_place(position, term, first)[0] <= WORD

    def sort_key(self, rank: int, position: int) -> int:
        """A number that sorts a name by its rank, its length and its position."""
        length = self.starts[position + 1] - self.starts[position]
        return (rank << _LENGTH_BITS | length) << _POSITION_BITS | position

    def folded(self, position: int) -> bytes:
        """The folded name at *position*."""
        return bytes(self.text[self.starts[position] + 1 : self.starts[position + 1]])

    def hit(self, query: str, position: int, rank: Rank | None, name: str) -> Hit:
        """Return the hit of *query* on the *name* at *position*, as it is spelled."""
        if rank is None:
            return Hit(position, None, [])
        if not self.folded(position):  # it is the query
            return Hit(position, rank, [(0, len(name))])
        needles = query_terms(query) if rank is Rank.WORDS else [fold(query)]
        return Hit(position, rank, self._highlights(position, name, needles))

    def _highlights(self, position: int, name: str, needles: Iterable[str]) -> list[tuple[int, int]]:
        """The best places of *needles* in *name*, as ranges of its code points."""
        folded = self.folded(position)
        start, end = self.starts[position] + 1, self.starts[position + 1]
        marked = list[tuple[int, int]]()
        for needle in needles:
            _, place = self._best_place(position, needle.encode(), self.text.find(needle.encode(), start, end))
            before = len(folded[: place - start].decode())
            marked.extend(highlighted(name, before, before + len(needle)))
        return to_ranges(sorted(marked))

    def by_name(self, positions: Sequence[int], offset: int, end: int | None) -> Sequence[int]:
        """From *offset* to *end*, the *positions*, given in catalogue order, sorted by their folded names."""
        return sorted(positions, key=self.folded)[offset:end]


@dataclass(frozen=True, slots=True)
class EveryName:
    """The matches of a blank query: the entries at *positions*, without ranks."""

    names: FoldedNames
    positions: Sequence[int]

    def __len__(self) -> int:
        return len(self.positions)

    def flags(self) -> None:
        """As `Matches.flags`: the query is blank."""

    def followed_by(self, found: RelevantEntries) -> "EveryName":  # noqa: ARG002
        """As `Matches.followed_by`: the query is blank."""
        return self

    def facets(self, index: FacetIndex, filters: Filters) -> dict[str, list[Facet]]:
        """As `Matches.facets`."""
        return index.facets(self.positions, filters)

    def accepted(self, index: FacetIndex, filters: Filters) -> "EveryName":
        """As `Matches.accepted`."""
        return replace(self, positions=index.positions(filters)) if self.positions else self

    def page(self, sort: Sort, offset: int, limit: int | None) -> list[tuple[int, Rank | None]]:
        """As `Matches.page`."""
        end = end_of_page(offset, limit)
        by_name = sort is Sort.NAME
        shown = self.names.by_name(self.positions, offset, end) if by_name else self.positions[offset:end]
        return [(position, None) for position in shown]

    def best(self, limit: int, spelling: Callable[[int], str]) -> list[tuple[int, Rank | None]]:  # noqa: ARG002
        """None: the query is blank."""
        return []


@dataclass(frozen=True, slots=True)
class ListedMatches:
    """Matches as numbers that sort: rank, length of the folded name in bytes (or relevance, see `RelevantEntries`), position."""

    names: FoldedNames
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def flags(self) -> None:
        """As `Matches.flags`: they are few in a catalogue that is scanned."""

    def followed_by(self, found: RelevantEntries) -> Matches:
        """As `Matches.followed_by`."""
        own = set(self._positions())
        pairs = zip(map(int, found.positions), map(int, found.relevance()), strict=True)  # numpy's have 32 bits
        others = (
            (ABOUT << _LENGTH_BITS | relevance) << _POSITION_BITS | at for at, relevance in pairs if at not in own
        )
        return replace(self, numbers=[*self.numbers, *others])

    def facets(self, index: FacetIndex, filters: Filters) -> dict[str, list[Facet]]:
        """As `Matches.facets`."""
        return index.facets(self._positions(), filters)

    def accepted(self, index: FacetIndex, filters: Filters) -> "ListedMatches":
        """As `Matches.accepted`."""
        return replace(self, numbers=list(compress(self.numbers, index.are_accepted(self._positions(), filters))))

    def _positions(self) -> list[int]:
        return [number & _POSITION_MASK for number in self.numbers]

    def page(self, sort: Sort, offset: int, limit: int | None) -> list[tuple[int, Rank | None]]:
        """As `Matches.page`."""
        return [_with_rank(number) for number in islice(self._ordered(sort), offset, end_of_page(offset, limit))]

    def _ordered(self, sort: Sort) -> Iterator[int]:
        if sort is Sort.RELEVANCE:
            groups = groupby(sorted(self.numbers), key=lambda number: number >> _POSITION_BITS)
            return chain.from_iterable(sorted(group, key=self._folded) for _, group in groups)
        in_catalogue_order = sorted(self.numbers, key=_POSITION_MASK.__and__)
        return iter(in_catalogue_order if sort is Sort.CATALOGUE else sorted(in_catalogue_order, key=self._folded))

    def _folded(self, number: int) -> bytes:
        return self.names.folded(number & _POSITION_MASK)

    def best(self, limit: int, spelling: Callable[[int], str]) -> list[tuple[int, Rank | None]]:
        """As `Matches.best`."""
        best: dict[str, int] = {}
        for number in self._ordered(Sort.RELEVANCE):
            best.setdefault(composed(spelling(number & _POSITION_MASK)), number)
            if len(best) == limit:
                break
        return [_with_rank(number) for number in best.values()]


def _with_rank(number: int) -> tuple[int, Rank | None]:
    return number & _POSITION_MASK, RANKS[number >> _POSITION_BITS + _LENGTH_BITS]


def end_of_page(offset: int, limit: int | None) -> int | None:
    """Where a page ends that begins at *offset* and has at most *limit* hits."""
    return None if limit is None else offset + limit
