"""Searching the folded names of a large catalogue by their suffixes (`suffix_array`). Pure.

The suffixes that begin with a query are neighbours, and binary search finds them. numpy ranks, counts and filters hundreds of
thousands of them in milliseconds: fewer are sorted by the numbers of their entries, which are in the order of hits; for many, a
table holds the best rank of each entry. A few hits are processed as in a small catalogue, without numpy.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.search.arrays import Numbers, chunks, places_of, set_items, take_in_chunks
from apidex.search.descriptions import RelevantEntries
from apidex.search.facet_columns import FacetColumns
from apidex.search.filters import Facet, FacetIndex, Filters
from apidex.search.memo import memoized
from apidex.search.names import NameIndex
from apidex.search.ranking import (
    ABOUT,
    EXACT,
    INSIDE,
    PREFIX,
    RANKS,
    WORD,
    WORDS,
    EveryName,
    FoldedNames,
    ListedMatches,
    Matches,
    Rank,
    Sort,
)
from apidex.search.suffix_array import bits_of, build, item_size, shift_of
from apidex.search.text import FOLDED_LIMIT, MOST_FOLDED, composed, fold, query_terms

_NARROW = 32
"""Suffixes are sorted if there are this many times more entries. Otherwise a table of all entries is faster."""

_BEGINS_NAME = 3
"""The low bits of a suffix's number for a whole name: it begins after a line feed, and a word begins there."""

_FEW = 64
"""So few suffixes or entries are processed one by one, because a call of numpy costs as much as several of them."""

_MOST_WORDS = 64
"""For so many words of queries, a bit for each entry is held: while a second word is typed, each request has the first."""

_VERIFIED = 2000
"""The largest number of places of a folded query at which the original names are compared. Twice as many take as long as a
scan."""

MAX_SCANNED = 2**20
"""Names of this many bytes or fewer in all are scanned for an exact string.

A scan of 50,000 names takes no longer than a search of their suffixes.
"""

_BLOCK, _HEAD = 2**12, 16
"""Of so many suffixes, so many bytes of the first one are held as an object."""

_NO_MATCH = len(RANKS)
"""The number of a rank in arrays, where an exact name has PREFIX: exact names come first, because shorter names do."""

_NONE = np.zeros(0, np.uint32)


class Bits:
    """Flags of one bit each, as `bits_of` returns them."""

    def __init__(self, data: ByteBuffer) -> None:
        self.data = data

    def __getitem__(self, place: int) -> int:
        return self.data[place >> 3] >> (place & 7) & 1

    def take(self, places: Numbers) -> NDArray[np.bool_]:
        """The flags at *places*."""
        found: NDArray[np.bool_] = np.asarray(self.data).take(places >> 3) & (1 << (places & 7)) != 0
        return found

    def first(self, count: int) -> NDArray[np.uint8]:
        """The first *count* flags, each as 0 or 1."""
        return np.unpackbits(np.asarray(self.data), count=count, bitorder="little")


@dataclass(frozen=True, slots=True, eq=False)
class SortedNames(FoldedNames):
    """Folded names with an index.

    *suffixes* are the numbers of all suffixes, in alphabetical order. For each number of an entry, *positions* has its position,
    *first_spellings* is 0 if an entry earlier in the catalogue has the same name, and *key_numbers* the number of its facet key.
    For each position, *name_ranks* has its place in the alphabetical order of all names.
    """

    word_starts: Bits
    suffixes: IntArray
    positions: IntArray
    name_ranks: IntArray
    first_spellings: Bits
    key_numbers: IntArray
    letters: memoryview = field(init=False)
    shift: int = field(init=False)
    heads: list[bytes] = field(init=False)
    ranges: dict[bytes, tuple[int, int]] = field(init=False, default_factory=dict)
    words: dict[bytes, Bits] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "letters", memoryview(self.text))
        object.__setattr__(self, "shift", shift_of(self.starts))
        object.__setattr__(self, "heads", [*map(self._beginning_of(_HEAD), self.suffixes[::_BLOCK])])

    @property
    def size(self) -> int:
        """As `FoldedNames.size`."""
        flags = self.word_starts.data, self.first_spellings.data
        parts = self.letters, self.starts, self.suffixes, self.positions, self.name_ranks, self.key_numbers, *flags
        return sum(memoryview(part).nbytes for part in parts)

    def range_of(self, needle: bytes) -> tuple[int, int]:
        """The half-open range of the suffixes that begin with *needle*."""
        return memoized(self.ranges, needle, self._find)

    def _find(self, needle: bytes) -> tuple[int, int]:
        head, beginning = needle[:_HEAD], self._beginning_of(len(needle))
        low, high = self.ranges.get(needle[:-1], (0, len(self.suffixes)))
        low = max(low, (bisect_left(self.heads, head) - 1) * _BLOCK)
        high = min(bisect_right(self.heads, head + b"\xff") * _BLOCK, high)
        first = bisect_left(self.suffixes, needle, low, high, key=beginning)
        return first, bisect_right(self.suffixes, needle, first, high, key=beginning)

    def _beginning_of(self, size: int) -> Callable[[int], bytes]:
        """A function that returns the first *size* bytes of a suffix."""
        text, starts, positions, shift, mask = self.letters, self.starts, self.positions, self.shift, self._lower_bits

        def beginning(suffix: int) -> bytes:
            place = starts[positions[suffix >> shift]] + ((suffix & mask) >> 1)
            return text[place : place + size].tobytes()

        return beginning

    def containing(self, needle: bytes, most: int) -> list[int] | None:
        """The positions of the names that contain *needle*, in order; None if it occurs more than *most* times."""
        first, end = self.range_of(needle)
        if end - first > most:
            return None
        positions, shift = self.positions, self.shift
        return sorted({positions[suffix >> shift] for suffix in self.suffixes[first:end]})

    def exactly(self, positions: Iterable[int]) -> Matches:
        """As `FoldedNames.exactly`."""
        return _FewMatches(self, [self.sort_key(EXACT, position) for position in positions])

    def without_letters(self) -> list[int]:
        """As `FoldedNames.without_letters`."""
        found: list[int] = np.flatnonzero(np.diff(np.asarray(self.starts)) == 1).tolist()
        return found

    def matches(self, query: str) -> Matches:
        """As `FoldedNames.matches`."""
        needle, terms = fold(query), query_terms(query)
        if not needle:
            return EveryName(self, range(0 if query.strip() else len(self)))
        suffixes = self._suffixes(needle.encode())
        words = self._with_all_words(terms) if terms != [needle] else _NONE
        if len(suffixes) <= _FEW and len(words) <= _FEW:
            return self._few(len(needle.encode()), suffixes.tolist(), words.tolist())
        if self._are_few(suffixes) and self._are_few(words):
            entries, ranks = self._by_relevance(suffixes)
            others = words.compress(~self.table(entries).take(words))
            ranks = np.concatenate([ranks, np.full(len(others), WORDS, ranks.dtype)])
            entries = np.concatenate([entries, others])
            return _ArrayMatches(_SortedEntries(self, len(needle.encode()), entries, ranks))
        ranks = self._rank_of_each(suffixes)
        ranks[words.compress(ranks.take(words) == _NO_MATCH)] = WORDS
        return _ArrayMatches(_RankTable(self, len(needle.encode()), ranks))

    def finds(self, query: str) -> bool:
        """As `FoldedNames.finds`."""
        needle, terms = fold(query), query_terms(query)
        if not needle:
            return not query.strip()
        is_part = len(self._suffixes(needle.encode())) > 0
        return is_part or (terms != [needle] and len(self._with_all_words(terms)) > 0)

    def _suffixes(self, needle: bytes) -> Numbers:
        """The numbers of all suffixes that begin with *needle*."""
        first, end = self.range_of(needle)
        return np.asarray(self.suffixes)[first:end]

    def _few(self, size: int, suffixes: Sequence[int], words: Sequence[int]) -> Matches:
        """The entries of *suffixes*, found by a query of *size* bytes, and the entries *words*, which have its words."""
        ranks = dict.fromkeys(words, WORDS)
        for suffix in suffixes:
            entry, rank = suffix >> self.shift, self._ranks(suffix)
            ranks[entry] = min(rank, ranks.get(entry, rank))
        found = [(self.positions[entry], rank) for entry, rank in ranks.items()]
        return _FewMatches(self, [self.sort_key(self._exact(size, *row), row[0]) for row in found])

    def _ranks(self, suffixes: Any) -> Any:  # noqa: ANN401 - a number, or an array of them
        """The rank of each of *suffixes*."""
        return INSIDE - (suffixes & 1) - (suffixes & self._lower_bits == _BEGINS_NAME)

    def _exact(self, size: int, position: int, rank: int) -> int:
        """*rank*, or EXACT if the name at *position* begins with a query of *size* bytes, and has no more."""
        return EXACT if rank == PREFIX and self.starts[position + 1] - self.starts[position] - 1 == size else rank

    def _by_relevance(self, suffixes: Numbers) -> tuple[Numbers, Numbers]:
        """The entries of *suffixes*, best first, and their ranks."""
        keys = np.sort(suffixes >> self.shift << 2 | self._ranks(suffixes))
        best = keys.compress(np.diff(keys >> 2, prepend=~keys[:1] >> 2) != 0)
        best = best.take(np.argsort(best & 3, kind="stable"))
        return best >> 2, best & 3

    def _rank_of_each(self, suffixes: Numbers) -> NDArray[np.uint8]:
        """For each entry, its best rank by one of *suffixes*."""
        ranks, words = np.full(len(self), _NO_MATCH, np.uint8), [_NONE.astype(suffixes.dtype)]
        for chunk in chunks(len(suffixes)):
            some = suffixes[chunk]
            set_items(ranks, some >> self.shift, INSIDE)
            words.append(some.compress(some & 1 == 1))
        begin_words = np.concatenate(words)
        set_items(ranks, begin_words >> self.shift, WORD)
        set_items(ranks, begin_words.compress(begin_words & self._lower_bits == _BEGINS_NAME) >> self.shift, PREFIX)
        return ranks

    @property
    def _lower_bits(self) -> int:
        """The mask of the bits of a suffix's number below the entry."""
        return (1 << self.shift) - 1

    def _are_few(self, suffixes: Numbers) -> bool:
        """Whether sorting *suffixes* is faster than a table of all entries."""
        return len(suffixes) * _NARROW < len(self)

    def _with_all_words(self, terms: Sequence[str]) -> Numbers:
        """The numbers of the entries in whose name each of *terms* begins a word, sorted."""
        rarest, *others = sorted((term.encode() for term in terms), key=self._count)
        found = self._beginning_words(rarest)
        for term in others:
            if len(found) <= _FEW:
                found = found[[self._begins_word(self.positions[entry], term) for entry in found.tolist()]]
            else:
                found = found.compress(memoized(self.words, term, self._word_flags, _MOST_WORDS).take(found))
        return _distinct(found) if self._are_few(found) else np.flatnonzero(self.table(found))

    def _count(self, needle: bytes) -> int:
        """How many suffixes begin with *needle*."""
        first, end = self.range_of(needle)
        return end - first

    def _word_flags(self, term: bytes) -> Bits:
        """For the number of each entry whether a word of its name begins with *term*."""
        return Bits(bits_of(self.table(self._beginning_words(term)).data))

    def _beginning_words(self, term: bytes) -> Numbers:
        """The numbers of the entries in whose name a word begins with *term*; some occur more than once."""
        suffixes = self._suffixes(term)
        found: Numbers = suffixes.compress(suffixes & 1 == 1) >> self.shift
        return found

    def table(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For the number or position of each entry whether it is one of *numbers*."""
        table = np.zeros(len(self), np.bool_)
        set_items(table, numbers, True)
        return table

    def by_name(self, positions: Sequence[int], offset: int, end: int | None) -> Sequence[int]:
        """As `FoldedNames.by_name`."""
        ordered: Iterable[Numbers] = map(self.positions_of, self.in_order(Sort.NAME))
        if len(positions) < len(self):
            is_wanted = self.table(np.asarray(positions, np.uint32))
            ordered = (some.compress(is_wanted.take(some)) for some in ordered)
        found: list[int] = _page_of(ordered, offset, len(self) if end is None else end).tolist()
        return found

    def in_order(self, sort: Sort) -> Iterator[Numbers]:
        """All entries by name, which is the order of the line feeds before names, or in catalogue order. Some in each step."""
        by_name = np.asarray(self.suffixes)[: len(self)]
        for some in chunks(len(self)):
            yield by_name[some] >> self.shift if sort is Sort.NAME else self.entries_at(some)

    def positions_of(self, entries: Numbers) -> Numbers:
        """The positions of the entries with these numbers."""
        positions: Numbers = np.asarray(self.positions).take(entries)
        return positions

    def entries_at(self, positions: Numbers | slice) -> Numbers:
        """The numbers of the entries at *positions*."""
        entries: Numbers = np.asarray(self.suffixes)[np.asarray(self.name_ranks)[positions]] >> self.shift
        return entries

    def rows(self, size: int, positions: Numbers, ranks: Numbers) -> list[tuple[int, Rank | None]]:
        """Each of *positions* with its rank, found by a query of *size* bytes."""
        pairs = zip(positions.tolist(), ranks.tolist(), strict=True)
        return [(position, RANKS[self._exact(size, position, rank)]) for position, rank in pairs]


def _distinct(numbers: Numbers) -> Numbers:
    """*numbers* without repetitions, sorted. `np.unique` hashes them, which takes 20 times as long."""
    ordered = np.sort(numbers)
    result: Numbers = ordered.compress(np.diff(ordered, prepend=ordered[:1] + 1) != 0)
    return result


class _FewMatches(ListedMatches):
    """Matches that are processed one by one, if the entries that follow them are few, too."""

    __slots__ = ()
    names: SortedNames

    def followed_by(self, found: RelevantEntries) -> Matches:
        """As `Matches.followed_by`."""
        return super().followed_by(found) if len(found.positions) <= _FEW else self._as_arrays().followed_by(found)

    def _as_arrays(self) -> "_ArrayMatches":
        """These matches, with exact names marked as such."""
        rows = self.page(Sort.RELEVANCE, 0, None)
        positions = np.array([position for position, _ in rows], np.uint32)
        ranks = np.array([RANKS.index(rank) for _, rank in rows if rank], np.uint8)
        return _ArrayMatches(_SortedEntries(self.names, 0, self.names.entries_at(positions), ranks))


@dataclass(frozen=True, slots=True)
class _SortedEntries:
    """*entries* whose names match, best first, and their *ranks*. *size* is that of the query, in bytes."""

    names: SortedNames
    size: int
    entries: Numbers
    ranks: Numbers

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def _positions(self) -> Numbers:
        return self.names.positions_of(self.entries)

    def flags(self) -> None:
        """As `Matches.flags`."""

    def has(self, positions: Numbers) -> NDArray[np.bool_]:
        """For each of *positions* whether the entry there is among these."""
        return self.names.table(self._positions).take(positions)

    def key_counts(self, columns: FacetColumns) -> Numbers:
        """How many have the facet key of each number."""
        return columns.counted(np.asarray(self.names.key_numbers).take(self.entries))

    def accepted(self, is_accepted: NDArray[np.bool_]) -> "_SortedEntries":
        """Those with an accepted facet key; *is_accepted* has a flag for each key."""
        return self._kept(is_accepted.take(np.asarray(self.names.key_numbers).take(self.entries)))

    def with_distinct_names(self) -> "_SortedEntries":
        """Those that are the first of their name in the order of hits."""
        return self._kept(self.names.first_spellings.take(self.entries))

    def _kept(self, is_kept: Numbers) -> "_SortedEntries":
        return replace(self, entries=self.entries.compress(is_kept), ranks=self.ranks.compress(is_kept))

    def page(self, offset: int, end: int) -> list[tuple[int, Rank | None]]:
        """The position and the rank of each, best first, from *offset* to *end*."""
        return self.names.rows(self.size, self.names.positions_of(self.entries[offset:end]), self.ranks[offset:end])

    def page_with(self, others: Numbers, sort: Sort, offset: int, end: int) -> list[tuple[int, Rank | None]]:
        """As `page`, together with the entries at the positions *others*, by name or in catalogue order."""
        positions = np.concatenate([self._positions, others])
        ranks = np.concatenate([self.ranks, np.full(len(others), ABOUT, np.uint8)])
        keys = positions if sort is Sort.CATALOGUE else np.asarray(self.names.name_ranks).take(positions)
        places = _smallest(keys, offset, end)
        return self.names.rows(self.size, positions[places], ranks[places])


@dataclass(frozen=True, eq=False)
class _RankTable:
    """As `_SortedEntries`, but *ranks* has the rank of every entry of the catalogue: faster for many matches."""

    names: SortedNames
    size: int
    ranks: NDArray[np.uint8]

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_match))

    @cached_property
    def _is_match(self) -> NDArray[np.bool_]:
        is_match: NDArray[np.bool_] = self.ranks != _NO_MATCH
        return is_match

    def flags(self) -> Sequence[int]:
        """As `Matches.flags`."""
        return self._by_position.data

    def has(self, positions: Numbers) -> NDArray[np.bool_]:
        """As `_SortedEntries.has`."""
        if len(positions) * _NARROW < len(self.ranks):
            return self._is_match.take(self.names.entries_at(positions))
        return self._by_position.take(positions)

    @cached_property
    def _by_position(self) -> NDArray[np.bool_]:
        """For each position whether the entry there matches."""
        most_match = 2 * len(self) > len(self.ranks)
        flags = np.full(len(self.ranks), most_match)
        set_items(flags, self.names.positions_of(places_of(self._is_match != most_match)), not most_match)
        return flags

    def key_counts(self, columns: FacetColumns) -> Numbers:
        """As `_SortedEntries.key_counts`. Of matches and other entries, the fewer ones are counted."""
        keys = np.asarray(self.names.key_numbers)
        if 2 * len(self) > len(keys):
            return columns.all_counts - columns.counted(keys.compress(~self._is_match))
        return columns.counted(keys.compress(self._is_match))

    def accepted(self, is_accepted: NDArray[np.bool_]) -> "_RankTable":
        """As `_SortedEntries.accepted`."""
        return self._without(~is_accepted, np.asarray(self.names.key_numbers))

    def with_distinct_names(self) -> "_RankTable":
        """As `_SortedEntries.with_distinct_names`."""
        return self._without(np.array([True, False]), self.names.first_spellings.first(len(self.ranks)))

    def _without(self, is_left_out: NDArray[np.bool_], numbers: Numbers) -> "_RankTable":
        """Those whose number is not left out. _NO_MATCH is the highest rank, and a maximum is faster than a choice."""
        return replace(self, ranks=np.maximum(self.ranks, take_in_chunks(is_left_out * np.uint8(_NO_MATCH), numbers)))

    def page(self, offset: int, end: int) -> list[tuple[int, Rank | None]]:
        """As `_SortedEntries.page`."""
        ordered = (np.flatnonzero(self.ranks == rank) for rank in range(PREFIX, _NO_MATCH))
        return self._rows(ordered, offset, end)

    def page_with(self, others: Numbers, sort: Sort, offset: int, end: int) -> list[tuple[int, Rank | None]]:
        """As `_SortedEntries.page_with`."""
        is_other = self.names.table(others)
        every = ((entries, self.names.positions_of(entries)) for entries in self.names.in_order(sort))
        ordered = (entries.compress(self._is_match.take(entries) | is_other.take(at)) for entries, at in every)
        return self._rows(ordered, offset, end)

    def _rows(self, ordered: Iterable[Numbers], offset: int, end: int) -> list[tuple[int, Rank | None]]:
        entries = _page_of(ordered, offset, end)
        ranks = np.minimum(self.ranks.take(entries), ABOUT)  # others have no rank
        return self.names.rows(self.size, self.names.positions_of(entries), ranks)


@dataclass(frozen=True, slots=True)
class _ArrayMatches:
    """The *named* matches, followed by the entries at *positions*, by relevance and then by name."""

    named: _SortedEntries | _RankTable
    positions: Numbers = field(default_factory=lambda: _NONE)
    relevance: Callable[[], Numbers] = lambda: _NONE

    def __len__(self) -> int:
        return len(self.named) + len(self.positions)

    def flags(self) -> Sequence[int] | None:
        """As `Matches.flags`, of those that are named."""
        return self.named.flags()

    def followed_by(self, found: RelevantEntries) -> "_ArrayMatches":
        """As `Matches.followed_by`; the entries that were added before are left out."""
        positions = np.asarray(found.positions, np.uint32)
        is_other = ~self.named.has(positions)
        return _ArrayMatches(
            self.named, positions.compress(is_other), lambda: np.asarray(found.relevance(), np.int64).compress(is_other)
        )

    def facets(self, index: FacetIndex, filters: Filters) -> dict[str, list[Facet]]:
        """As `Matches.facets`."""
        columns = FacetColumns.of(index)
        others = columns.counted(np.asarray(index.key_numbers).take(self.positions))
        return columns.facets_of(self.named.key_counts(columns) + others, filters)

    def accepted(self, index: FacetIndex, filters: Filters) -> "_ArrayMatches":
        """As `Matches.accepted`."""
        is_accepted = FacetColumns.of(index).accepted_keys(filters)
        is_kept = is_accepted.take(np.asarray(index.key_numbers).take(self.positions))
        named, positions = self.named.accepted(is_accepted), self.positions.compress(is_kept)
        return _ArrayMatches(named, positions, lambda: self.relevance().compress(is_kept))

    def page(self, sort: Sort, offset: int, limit: int | None) -> list[tuple[int, Rank | None]]:
        """As `Matches.page`."""
        end, ahead = len(self) if limit is None else min(offset + limit, len(self)), len(self.named)
        if sort is not Sort.RELEVANCE:
            return self.named.page_with(self.positions, sort, offset, end)
        rows = self.named.page(offset, end) if offset < ahead else []
        others = self._most_relevant(max(0, offset - ahead), end - ahead)
        return [*rows, *((position, Rank.ABOUT) for position in others)]

    def _most_relevant(self, start: int, end: int) -> list[int]:
        """The *positions* from *start* to *end*, in their order."""
        if start >= end:
            return []
        relevance = self.relevance()
        best = np.flatnonzero(relevance <= np.partition(relevance, end - 1)[end - 1])
        positions = self.positions.take(best)
        keys = relevance.take(best) << 32 | np.asarray(self.named.names.name_ranks).take(positions)
        found: list[int] = positions[_smallest(keys, start, end)].tolist()
        return found

    def best(self, limit: int, spelling: Callable[[int], str]) -> list[tuple[int, Rank | None]]:  # noqa: ARG002
        """As `Matches.best`, of names."""
        return self.named.with_distinct_names().page(0, limit)


def _page_of(ordered: Iterable[Numbers], offset: int, end: int) -> Numbers:
    """The items from *offset* to *end* of *ordered*, which is read only that far."""
    parts = list[Numbers]()
    for some in ordered:
        parts.append(some[max(0, offset) : max(0, end)])
        offset, end = offset - len(some), end - len(some)
        if end <= 0:
            break
    return np.concatenate(parts)


def _smallest(keys: Numbers, start: int, end: int) -> Numbers:
    """The indices of the *keys* from *start* to *end* in sorted order."""
    if start >= end:
        return _NONE
    places = np.argpartition(keys, (start, end - 1))[start:end] if end < len(keys) else np.argsort(keys)[start:]
    ordered: Numbers = places[np.argsort(keys[places])]
    return ordered


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedNames(NameIndex):
    """Searches names in their original spelling: a name that contains a string also contains it when both are folded.

    The folded form of a few names may be *cut*; they are always compared. If it is that of many, all names are scanned.
    """

    folded: SortedNames
    cut: list[int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = np.diff(np.asarray(self.folded.starts))
        object.__setattr__(self, "cut", np.flatnonzero(sizes > FOLDED_LIMIT - MOST_FOLDED).tolist())

    def find(self, name: str, start: int = 0, limit: int | None = None) -> list[int]:
        """As `NameIndex.find`."""
        needle = fold(name).encode()
        candidates = self.folded.containing(needle, _VERIFIED) if needle and len(self.cut) <= _VERIFIED else None
        if candidates is None:
            return NameIndex.find(self, name, start, limit)
        if self.cut:
            candidates = sorted({*candidates, *self.cut})
        spelled, find, starts = composed(name).encode(), self.text.find, self.starts
        found = (each for each in candidates if each >= start and find(spelled, starts[each], starts[each + 1]) >= 0)
        return list(islice(found, limit))


def index_names(folded: FoldedNames, names: NameIndex, flags: ByteBuffer, key_numbers: IntArray) -> SortedNames:
    """Index *folded*, the folded form of *names*, in memory of this process. *flags* are its word starts."""
    size, letters, bits = item_size(folded.starts), memoryview(folded.text), bits_of(flags)
    out = memoryview(bytearray(size * (len(letters) - 1))).cast("I" if size == 4 else "Q")
    arrays = build(letters, folded.starts, bits, names, key_numbers, out)
    return SortedNames(
        folded.text,
        Bits(bits),
        folded.starts,
        out,
        arrays.positions.data,
        arrays.name_ranks.data,
        Bits(arrays.first_spellings),
        arrays.key_numbers.data,
    )
