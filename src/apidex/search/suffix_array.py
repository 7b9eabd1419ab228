"""Builds the suffixes of all folded names, in alphabetical order, for `sorted_names`. Pure.

Every place of the text of all names begins a suffix, and every suffix is one number: the entry, how far into its name it begins,
and whether a word begins there. Entries are numbered in an order that is the same for all queries: shorter names first, then
alphabetical, then by position. numpy takes a tenth of a second to import, so that only what builds or uses such an index imports
this module.
"""

import ctypes
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.search.arrays import Numbers
from apidex.search.names import NameIndex

_CHUNK = 2**16
"""Suffixes that are converted in one step."""


class SuffixArrays(NamedTuple):
    """The arrays that `build` returns besides the suffixes, as in `sorted_names.SortedNames`."""

    positions: Numbers
    name_ranks: Numbers
    first_spellings: memoryview
    key_numbers: Numbers


def bits_of(flags: ByteBuffer) -> memoryview:
    """A bit for each of *flags*, the lowest of a byte first."""
    return np.packbits(np.frombuffer(flags, np.bool_), bitorder="little").data


def item_size(starts: IntArray) -> int:
    """Bytes of a suffix's number, where the entries of a text begin at *starts*."""
    return 4 if (len(starts) - 2).bit_length() + shift_of(starts) <= 32 else 8


def shift_of(starts: IntArray) -> int:
    """The number of bits of a suffix's number below the entry: the distance from the start of the name, and a flag."""
    return int(np.diff(np.asarray(starts)).max()).bit_length() + 1


def build(
    text: ByteBuffer,
    starts: IntArray,
    word_starts: ByteBuffer,
    names: NameIndex,
    key_numbers: IntArray,
    out: memoryview,
) -> SuffixArrays:
    """Fill *out* with the suffixes of *text* without its last byte, `item_size` bytes for each.

    *names* are the names in their original spelling, and *key_numbers* the numbers of their facet keys. Raises MemoryError for a
    text of more than 2 GiB, whose places are larger than libdivsufsort's numbers.
    """
    if len(text) > 2**31:
        raise MemoryError(f"the folded names have {len(text)} bytes; at most {2**31} are allowed")
    letters, first = np.frombuffer(text, np.uint8)[:-1], np.asarray(starts).astype(np.int32)
    sizes = np.diff(first)
    blocks, count, shift = _Blocks(letters, word_starts), len(sizes), shift_of(starts)
    suffixes = np.frombuffer(out, np.uint32 if out.nbytes == 4 * len(letters) else np.uint64)
    places = suffixes.view(np.int32)[: len(letters)]
    _sort_suffixes(letters, places)
    by_name = blocks.entries_and_flags(places[:count])[0]  # a line feed is the smallest byte
    is_same = _equal_to_previous(letters, first, by_name)
    by_name = np.sort(np.cumsum(~is_same, dtype=np.uint64) << 32 | by_name.astype(np.uint64)).astype(np.uint32)
    places[:count] = first[by_name]
    positions = by_name[np.argsort(sizes[by_name], kind="stable")]
    # modulo the size of a number: 2 * place is 2 * (distance from the start of the name) + 2 * start
    bases = (_inverse(positions).astype(suffixes.dtype) << shift) - 2 * first[:-1].astype(suffixes.dtype)
    for begin in reversed(range(0, len(places), _CHUNK)):  # from the end, because numbers may be wider than places
        place = places[begin : begin + _CHUNK].copy()
        entry, flag = blocks.entries_and_flags(place)
        suffixes[begin : begin + len(place)] = bases.take(entry) + (place.view(np.uint32) << 1 | flag)
    return SuffixArrays(
        positions,
        _inverse(by_name),
        bits_of(_first_spellings(names, by_name, is_same)[positions].data),
        np.asarray(key_numbers)[positions],
    )


def _sort_suffixes(letters: Numbers, out: Numbers) -> None:
    """Write the beginning of each suffix to *out*, in alphabetical order, without more memory."""
    from pydivsufsort.dll import libdivsufsort  # its own function returns an array that would have to be copied

    pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (letters, out)]
    if status := libdivsufsort.divsufsort(*pointers, len(letters)):
        raise RuntimeError(f"the suffixes of the names cannot be sorted: divsufsort returned {status}")


class _Blocks:
    """Finds what is at each place of a text in which each entry begins with a line feed.

    For each block of 16 bytes of the text, one integer has the number of line feeds before it, 16 bits for its line feeds, and 16
    bits for its *word_starts*: reading one integer takes a third of the time of reading three.
    """

    def __init__(self, letters: Numbers, word_starts: ByteBuffer) -> None:
        begins, words = (np.zeros(-(-len(letters) // 16), "<u2") for _ in range(2))
        of_letters = np.packbits(letters == ord("\n"), bitorder="little")
        begins.view(np.uint8)[: len(of_letters)] = of_letters
        words.view(np.uint8)[: len(of_letters)] = np.frombuffer(word_starts, np.uint8)[: len(of_letters)]
        counts = np.bitwise_count(begins)
        before = np.cumsum(counts, dtype=np.uint64) - counts
        self._blocks = before << 32 | begins.astype(np.uint64) << 16 | words

    def entries_and_flags(self, places: Numbers) -> tuple[Numbers, Numbers]:
        """The position of the entry at each of *places*, and 1 for those where a word begins."""
        block, bit = self._blocks.take(places >> 4), (places & 15).astype(np.uint8)
        entries = (block >> 32).view(np.int64) + np.bitwise_count(block & _THROUGH.take(bit)) - 1
        return entries, (block >> bit).astype(np.uint8) & 1


_THROUGH = np.array([(2 << bit) - 1 << 16 for bit in range(16)], np.uint64)
"""The masks of the line feeds of a block up to each one."""


def _equal_to_previous(letters: Numbers, first: Numbers, by_name: Numbers) -> NDArray[np.bool_]:
    """Whether each name in this order equals the previous one. Compares from the end: neighbours have equal beginnings."""
    sizes, ends = np.diff(first)[by_name], first[1:][by_name]
    result = np.zeros(len(by_name), np.bool_)
    left = np.flatnonzero(sizes[1:] == sizes[:-1]) + 1
    back = 1
    while len(left):
        is_whole = sizes[left] == back  # only the line feed is left
        result[left[is_whole]] = True
        left = left[~is_whole]
        left = left[letters[ends[left] - back] == letters[ends[left - 1] - back]]
        back += 1
    return result


def _first_spellings(names: NameIndex, by_name: Numbers, is_same: NDArray[np.bool_]) -> Numbers:
    """Whether no earlier entry has exactly the same name, for each position."""
    result, seen = np.ones(len(by_name), np.bool_), set[bytes]()
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
