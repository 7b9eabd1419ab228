"""An index in which folded names are found without a scan, for catalogues that are too large for one. Pure.

Every place of the text of all names begins a suffix. The suffixes stand in alphabetical order, so that those that begin with a
query are neighbours, and binary search finds them. A suffix is one number: the entry, how far into its name it begins, and
whether a word begins there. Entries are numbered in the order that is the same for all queries, shorter names first, then
alphabetical, so that the best hits have the smallest numbers, and numpy ranks hundreds of thousands of them in milliseconds.

numpy takes a tenth of a second to import. Only what builds or uses such an index imports this module.
"""

import ctypes
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.search.filters import Facet, FacetIndex, Filters
from apidex.search.names import NameIndex
from apidex.search.ranking import EveryName, FoldedNames, Matches, Rank, Sort
from apidex.search.text import fold, query_terms

Numbers = NDArray[Any]

_CHUNK = 2**20
"""Suffixes that are converted at a time."""

_NARROW = 32
"""Suffixes are sorted where entries are as many times more. Where there are more suffixes, a table of all entries is quicker."""

_BEGINS_NAME = 3
"""The bits of a suffix's number below the entry's, for a whole name: it begins behind a line feed, and a word begins with it."""

_FEW = 16
"""Up to so many entries, each is looked at whether it has another word of the query."""

# --- building


class SuffixArrays(NamedTuple):
    """What `build` returns beside the suffixes; see SortedNames."""

    positions: Numbers
    name_ranks: Numbers
    first_spellings: Numbers


def bits_of(flags: ByteBuffer) -> bytes:
    """A bit for each of *flags*, the lowest of a byte first."""
    return np.packbits(np.frombuffer(flags, np.bool_), bitorder="little").tobytes()


def item_size(starts: IntArray) -> int:
    """Bytes of a suffix's number, where the entries of a text begin at *starts*."""
    return 4 if (len(starts) - 2).bit_length() + shift_of(starts) <= 32 else 8


def shift_of(starts: IntArray) -> int:
    """How many bits of a suffix's number follow the entry: how far into the name, and a flag."""
    return int(np.diff(np.asarray(starts)).max()).bit_length() + 1


def build(
    text: ByteBuffer, starts: IntArray, word_starts: ByteBuffer, names: NameIndex, out: memoryview
) -> SuffixArrays:
    """Fill *out* with the suffixes of *text* without its last byte, `item_size` bytes for each."""
    letters, first = np.frombuffer(text, np.uint8)[:-1], np.asarray(starts).astype(np.int64)
    sizes = np.diff(first)
    entries, count, shift = _EntryAt(letters), len(sizes), shift_of(starts)
    suffixes = np.frombuffer(out, np.uint32 if out.nbytes == 4 * len(letters) else np.uint64)
    places = suffixes.view(np.int32)[: len(letters)]
    _sort_suffixes(letters, places)
    by_name = entries.of(places[:count])  # a line feed is the smallest byte
    is_same = _equal_to_previous(letters, first, by_name)
    by_name = by_name[np.lexsort((by_name, np.cumsum(~is_same)))]
    places[:count] = first[by_name]
    positions = by_name[np.argsort(sizes[by_name], kind="stable")]
    numbers = _inverse(positions).astype(suffixes.dtype)
    flags = np.frombuffer(word_starts, np.uint8)
    for begin in reversed(range(0, len(places), _CHUNK)):  # from the end, as numbers may be wider than places
        place = places[begin : begin + _CHUNK].copy()
        entry = entries.of(place)
        flag = flags[place >> 3] >> (place & 7) & 1
        number = numbers[entry] << shift | (place - first[entry] << 1 | flag).astype(suffixes.dtype)
        suffixes[begin : begin + len(place)] = number
    return SuffixArrays(
        positions.astype(np.uint32),
        _inverse(by_name).astype(np.uint32),
        _first_spellings(names, by_name, is_same),
    )


def sorted_names(folded: FoldedNames, names: NameIndex, flags: ByteBuffer) -> "SortedNames":
    """Index *folded*, the folded form of *names*, in memory of this process. *flags* are its word starts."""
    size, letters, bits = item_size(folded.starts), memoryview(folded.text), bits_of(flags)
    out = memoryview(bytearray(size * (len(letters) - 1))).cast("I" if size == 4 else "Q")
    arrays = build(letters, folded.starts, bits, names, out)
    return SortedNames(folded.text, Bits(bits), folded.starts, letters, out, *(each.data for each in arrays))


def _sort_suffixes(letters: Numbers, out: Numbers) -> None:
    """Write the beginning of each suffix to *out*, in alphabetical order, without memory beside it."""
    from pydivsufsort.dll import libdivsufsort  # its own function returns an array that would have to be copied

    pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (letters, out)]
    if status := libdivsufsort.divsufsort(*pointers, len(letters)):
        raise RuntimeError(f"the suffixes of the names cannot be sorted: divsufsort returned {status}")


class _EntryAt:
    """Tells the entry at each place of a text in which a line feed begins each: a bit for each place, and how many are before."""

    def __init__(self, letters: Numbers) -> None:
        bits = np.packbits(letters == ord("\n"), bitorder="little")
        self._words = np.concatenate([bits, np.zeros(-len(bits) % 8, np.uint8)]).view(np.uint64)
        counts = np.bitwise_count(self._words).astype(np.int32)
        self._before = np.cumsum(counts, dtype=np.int32) - counts

    def of(self, places: Numbers) -> Numbers:
        """The position of the entry at each of *places*."""
        block = places >> 6
        through = self._words[block] << (63 - (places & 63)).astype(np.uint64)
        result: Numbers = self._before[block] + np.bitwise_count(through).astype(np.int32) - 1
        return result


def _equal_to_previous(letters: Numbers, first: Numbers, by_name: Numbers) -> NDArray[np.bool_]:
    """Whether each name in this order equals the one before it. Compares from the end: neighbours begin alike."""
    sizes, ends = np.diff(first)[by_name], first[1:][by_name]
    result = np.zeros(len(by_name), np.bool_)
    left = np.flatnonzero(sizes[1:] == sizes[:-1]) + 1
    back = 1
    while len(left):
        is_whole = sizes[left] == back  # the line feed is all that is left
        result[left[is_whole]] = True
        left = left[~is_whole]
        left = left[letters[ends[left] - back] == letters[ends[left - 1] - back]]
        back += 1
    return result


def _first_spellings(names: NameIndex, by_name: Numbers, is_same: NDArray[np.bool_]) -> Numbers:
    """For each position 1, but 0 where an entry before it has the same name, exactly spelled."""
    result, seen = np.ones(len(by_name), np.uint8), set[bytes]()
    for place in np.flatnonzero(is_same | np.append(is_same[1:], False)).tolist():
        if not is_same[place]:
            seen.clear()
        position = int(by_name[place])
        name = names.encoded(position)
        result[position] = name not in seen
        seen.add(name)
    return result


def _inverse(permutation: Numbers) -> Numbers:
    result = np.empty_like(permutation)
    result[permutation] = np.arange(len(permutation), dtype=permutation.dtype)
    return result


# --- searching

_NONE = np.zeros(0, np.uint32)


class Bits:
    """Flags of one bit each, as `bits_of` returns them."""

    def __init__(self, data: ByteBuffer) -> None:
        self.data = data

    def __getitem__(self, place: int) -> int:
        return self.data[place >> 3] >> (place & 7) & 1


@dataclass(frozen=True, slots=True, eq=False)
class SortedNames(FoldedNames):
    """Folded names with an index.

    *suffixes* are the numbers of all suffixes, in alphabetical order. *positions* are those of the entries in the order of their
    numbers. For each position, *name_ranks* has its place in the alphabetical order of all names, and *first_spellings* a 0 where
    an entry of the same name and more relevance is before it.
    """

    word_starts: Bits
    letters: memoryview
    suffixes: IntArray
    positions: IntArray
    name_ranks: IntArray
    first_spellings: ByteBuffer
    shift: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", shift_of(self.starts))

    @property
    def size(self) -> int:
        """As `FoldedNames.size`."""
        parts = (self.letters, self.word_starts.data, self.starts, self.suffixes, self.positions, self.name_ranks)
        return sum(memoryview(part).nbytes for part in parts) + len(self)

    def range_of(self, needle: bytes) -> tuple[int, int]:
        """The first and the last plus one of the suffixes that begin with *needle*."""
        text, starts, positions, suffixes = self.letters, self.starts, self.positions, self.suffixes
        size, shift, mask = len(needle), self.shift, (1 << self.shift) - 1

        def beginning(suffix: int) -> bytes:
            place = starts[positions[suffix >> shift]] + ((suffix & mask) >> 1)
            return text[place : place + size].tobytes()

        count = len(suffixes)
        first = bisect_left(suffixes, needle, key=beginning)
        step = 8
        while first + step < count and beginning(suffixes[first + step]) == needle:
            step *= 8
        return first, bisect_right(suffixes, needle, first, min(first + step, count), key=beginning)

    def containing(self, needle: bytes, most: int) -> list[int] | None:
        """The positions of the names that contain *needle*, in order; None where it occurs more than *most* times."""
        first, end = self.range_of(needle)
        if end - first > most:
            return None
        positions, shift = self.positions, self.shift
        return sorted({positions[suffix >> shift] for suffix in self.suffixes[first:end]})

    def breadth(self, query: str) -> int:
        """As `FoldedNames.breadth`."""
        needles = dict.fromkeys([fold(query), *query_terms(query)])
        return sum(len(self._suffixes(needle.encode())) for needle in needles) if any(needles) else len(self)

    def matches(self, query: str) -> Matches:
        """As `FoldedNames.matches`."""
        needle = fold(query).encode()
        if not needle:
            return EveryName(self, range(0 if query.strip() else len(self)))
        groups = self._by_rank(self._suffixes(needle))
        terms = query_terms(query)
        if len(terms) > 1 or fold(query) != terms[0]:
            groups.append(self._without(self._with_all_words(terms), groups))
        positions = np.asarray(self.positions)
        ranks = (Rank.PREFIX, Rank.WORD, Rank.INSIDE, Rank.WORDS)
        found = [(rank, positions[group]) for rank, group in zip(ranks, groups, strict=False) if len(group)]
        return _SortedMatches(self, len(needle), found)

    def _suffixes(self, needle: bytes) -> Numbers:
        """The numbers of all suffixes that begin with *needle*."""
        first, end = self.range_of(needle)
        return np.asarray(self.suffixes)[first:end]

    def _by_rank(self, suffixes: Numbers) -> list[Numbers]:
        """The numbers of the entries that have *suffixes*: at the beginning of the name, of a word, and inside, each sorted."""
        lower_bits = (1 << self.shift) - 1
        if self._are_few(suffixes):
            ranks = 2 - (suffixes & 1) - (suffixes & lower_bits == _BEGINS_NAME)
            keys = np.sort(suffixes >> self.shift << 2 | ranks)
            best = keys[np.flatnonzero(np.diff(keys >> 2, prepend=~keys[:1] >> 2))]
            return [best[best & 3 == rank] >> 2 for rank in range(3)]
        words = suffixes[suffixes & 1 == 1]
        names = words[words & lower_bits == _BEGINS_NAME]
        ranked = np.full(len(self), 3, np.uint8)
        for rank, some in ((2, suffixes), (1, words), (0, names)):
            ranked[some >> self.shift] = rank
        return [np.flatnonzero(ranked == rank) for rank in range(3)]

    def _are_few(self, suffixes: Numbers) -> bool:
        """Whether to sort *suffixes* is quicker than a table of all entries."""
        return len(suffixes) * _NARROW < len(self)

    def _with_all_words(self, terms: Sequence[str]) -> Numbers:
        """The numbers of the entries in whose name each of *terms* begins a word, sorted."""
        rarest, *others = sorted(((self._suffixes(term.encode()), term.encode()) for term in terms), key=_width)
        found = self._beginning_words(rarest[0])
        found = np.unique(found) if self._are_few(found) else np.flatnonzero(self._table([found]))
        for suffixes, term in others:
            if len(found) <= _FEW:
                found = found[[self._begins_word(self.positions[entry], term) for entry in found.tolist()]]
            else:
                found = found[self._table([self._beginning_words(suffixes)])[found]]
        return found

    def _beginning_words(self, suffixes: Numbers) -> Numbers:
        """The numbers of the entries in which one of *suffixes* begins a word, some of them more than once."""
        found: Numbers = suffixes[suffixes & 1 == 1] >> self.shift
        return found

    def _without(self, entries: Numbers, groups: Sequence[Numbers]) -> Numbers:
        """The *entries* that are in none of *groups*."""
        return entries[~self._table(groups)[entries]] if len(entries) else entries

    def _table(self, groups: Sequence[Numbers]) -> NDArray[np.bool_]:
        """For each number of an entry, or position, whether it is in one of *groups*."""
        table = np.zeros(len(self), np.bool_)
        for group in groups:
            table[group] = True
        return table

    def by_name(self, positions: Sequence[int]) -> Sequence[int]:
        """As `FoldedNames.by_name`."""
        ranks = np.asarray(self.name_ranks)[np.asarray(positions, np.uint32)]
        return self.with_name_ranks(np.flatnonzero(self._table([ranks]))).data

    def with_name_ranks(self, ranks: Numbers) -> Numbers:
        """The positions with these *ranks* in the alphabetical order of names, which is that of the line feeds before them."""
        result: Numbers = np.asarray(self.positions)[np.asarray(self.suffixes)[ranks] >> self.shift]
        return result


def _width(suffixes_and_term: tuple[Numbers, bytes]) -> int:
    return len(suffixes_and_term[0])


@dataclass(frozen=True, slots=True)
class _SortedMatches:
    """The positions of each rank, best first. Names that begin with the query are exact if they have its *size* in bytes."""

    names: SortedNames
    size: int
    groups: list[tuple[Rank, Numbers]]

    def __len__(self) -> int:
        return sum(len(group) for _, group in self.groups)

    def facets(self, index: FacetIndex, filters: Filters) -> dict[str, list[Facet]]:
        """As `Matches.facets`."""
        return index.facets(self._positions().data, filters)

    def accepted(self, index: FacetIndex, filters: Filters) -> "_SortedMatches":
        """As `Matches.accepted`."""
        return self._kept(lambda group: np.asarray(index.are_accepted(group.data, filters)))

    def _positions(self) -> Numbers:
        return np.concatenate([_NONE, *(group for _, group in self.groups)])

    def _kept(self, is_kept: Callable[[Numbers], NDArray[np.bool_]]) -> "_SortedMatches":
        return replace(self, groups=[(rank, group[is_kept(group)]) for rank, group in self.groups])

    def best(self, limit: int, spelling: Callable[[int], str]) -> list[tuple[int, Rank | None]]:  # noqa: ARG002
        """As `Matches.best`."""
        is_first = np.asarray(self.names.first_spellings)
        return self._kept(lambda group: is_first[group] != 0).page(Sort.RELEVANCE, 0, limit)

    def page(self, sort: Sort, offset: int, limit: int | None) -> list[tuple[int, Rank | None]]:
        """As `Matches.page`."""
        end = len(self) if limit is None else min(offset + limit, len(self))
        if offset >= end:
            return []
        if sort is Sort.RELEVANCE:
            return list(self._by_relevance(offset, end))
        positions = self._positions()
        keys = positions if sort is Sort.CATALOGUE else np.asarray(self.names.name_ranks)[positions]
        places = np.argpartition(keys, (offset, end - 1))[offset:end]
        places = places[np.argsort(keys[places])]
        ranks = np.repeat(np.arange(len(self.groups)), [len(group) for _, group in self.groups])[places]
        pairs = zip(ranks.tolist(), positions[places].tolist(), strict=True)
        return [self._with_rank(self.groups[rank][0], position) for rank, position in pairs]

    def _by_relevance(self, offset: int, end: int) -> Iterator[tuple[int, Rank | None]]:
        for rank, group in self.groups:
            for position in group[max(0, offset) : max(0, end)].tolist():
                yield self._with_rank(rank, position)
            offset, end = offset - len(group), end - len(group)

    def _with_rank(self, rank: Rank, position: int) -> tuple[int, Rank | None]:
        starts = self.names.starts
        is_exact = rank is Rank.PREFIX and starts[position + 1] - starts[position] - 1 == self.size
        return position, Rank.EXACT if is_exact else rank


_VERIFIED = 2000
"""The most places of a folded query at which names are compared as they are spelled. Twice as many take as long as a scan."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedNames(NameIndex):
    """The names as they are spelled: those that contain a string are among those that contain it when both are folded."""

    folded: SortedNames

    def find(self, name: str, start: int = 0, limit: int | None = None) -> list[int]:
        """As `NameIndex.find`."""
        needle = fold(name).encode()
        candidates = self.folded.containing(needle, _VERIFIED) if needle else None
        if candidates is None:
            return NameIndex.find(self, name, start, limit)
        spelled, find, starts = name.encode(), self.text.find, self.starts
        found = (each for each in candidates if each >= start and find(spelled, starts[each], starts[each + 1]) >= 0)
        return list(islice(found, limit))
