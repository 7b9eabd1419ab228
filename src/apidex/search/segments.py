"""Inverts the words of many entries for `descriptions`, a segment at a time, and merges the segments. Pure.

This is single-pass in-memory indexing (Heinz and Zobel, 2003): all words of a segment are sorted by numpy, which needs no object
for a word, and the merge sorts only the distinct words of each segment. numpy takes a tenth of a second to import, so that only a
builder of a large index imports this module.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apidex.catalogue.buffers import ByteBuffer
from apidex.search.arrays import Numbers
from apidex.search.description_arrays import DescriptionArrays, signatures_of
from apidex.search.descriptions import block_starts_of
from apidex.search.words import DESCRIPTIONS, DOMAIN, FIELDS, MAX_LENGTH, MAX_PARTS, TF_BITS, TF_MASK

_DENSE_SHARE = 8
"""A word is dense if more than one entry in this many has it. The postings of a dense word are two bits for each entry."""

_LINE_FEED = ord("\n")

_SEPARATOR = ord(" ")
"""Bytes up to this one are between words."""

_PADDING = b" " * 8
"""A block of 8 bytes can begin at the last byte of a word."""

_MAX_ROUNDS = 32
"""Words that are equal in this many blocks of 8 bytes are compared one by one."""

_BLOCK = 2**17
"""Letters or postings that are processed in one step."""

_MASKS = np.array([(2**64 - 1) << 8 * (8 - size) & (2**64 - 1) for size in range(9)], np.uint64)
"""The bits of the first bytes of a block."""


class Segment(NamedTuple):
    """The distinct words of some entries, in the order of bytes: their letters, sizes, and numbers of postings; all postings."""

    letters: memoryview
    sizes: memoryview
    counts: memoryview
    postings: memoryview
    lengths: memoryview


class Words:
    """The words at *starts* in *letters*, which end with _PADDING, with their *sizes* in bytes."""

    def __init__(self, letters: ByteBuffer, starts: Numbers, sizes: Numbers) -> None:
        self.letters = np.frombuffer(letters, np.uint8)
        self._blocks = np.ndarray((len(letters) - 7,), "<u8", letters, strides=(1,))
        self.starts, self.sizes = starts, sizes

    def block(self, number: int, words: Any = slice(None)) -> Numbers:  # noqa: ANN401 - an index of arrays
        """The block of 8 bytes with this *number* of each of *words*, as integers in the order of bytes; 0 after the end."""
        left = np.clip(self.sizes[words] - 8 * number, 0, 8)
        starts = np.minimum(self.starts[words] + 8 * number, len(self._blocks) - 1)
        blocks: Numbers = self._blocks[starts].byteswap() & _MASKS.take(left)
        return blocks

    def text(self, word: int) -> bytes:
        """One word."""
        return self.letters[self.starts[word] :][: self.sizes[word]].tobytes()

    def sorted(self) -> tuple[Numbers, NDArray[np.bool_]]:
        """All words in the order of bytes, equal ones in any order, and whether each differs from the one before."""
        keys = self.block(0)
        order = np.argsort(keys).astype(np.uint32)
        is_first, left = _is_first(keys.take(order)), np.arange(len(order), dtype=np.uint32)
        del keys
        for number in count(1):
            firsts = np.flatnonzero(is_first.take(left))
            longest = np.maximum.reduceat(self.sizes.take(order.take(left)), firsts) if len(left) else firsts
            counts = np.diff(firsts, append=len(left))
            left = left.compress(np.repeat((counts > 1) & (longest > 8 * number), counts))
            if not len(left):
                break
            words, groups = order.take(left), np.cumsum(is_first.take(left))
            blocks = self.block(number, words) if number < _MAX_ROUNDS else self._remaining(words, number)
            keys = groups << 32 | np.unique(blocks, return_inverse=True)[1]
            by_key = np.argsort(keys)
            order[left] = words.take(by_key)
            is_first[left] |= _is_first(keys.take(by_key))
            if number == _MAX_ROUNDS:
                break
        return order, is_first

    def _remaining(self, words: Numbers, number: int) -> Numbers:
        """A number for each of *words*, in the order of their bytes from a block on."""
        texts = [self.text(word)[8 * number :] for word in words.tolist()]
        numbers = {text: place for place, text in enumerate(sorted(set(texts)))}
        return np.array([numbers[text] for text in texts])


def _is_first(keys: Numbers) -> NDArray[np.bool_]:
    """Whether each of *keys* differs from the one before."""
    is_first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    return is_first


def invert(texts: Sequence[ByteBuffer], position: int) -> Segment:
    """Return the segment of entries, the first of which has this *position*.

    For each of FIELDS, *texts* has one text for each entry, with a zero byte after each. Words are separated by spaces, and
    folded, except for the upper case of the first list.
    """
    words, places, described = _words_of(texts)
    order, is_first = words.sorted()
    keys = np.empty(len(order), np.int64)
    bits = len(described).bit_length() + TF_BITS
    keys[order] = np.cumsum(is_first) - 1 << bits
    keys |= places
    keys.sort()
    keys = keys.compress(_is_first(keys)) >> TF_BITS
    firsts = np.flatnonzero(_is_first(keys))
    fields_less_one = np.diff(firsts, append=len(keys)) - 1
    keys = keys.take(firsts)
    postings = ((keys & (1 << bits - TF_BITS) - 1) + position << TF_BITS | fields_less_one).astype(np.uint32)
    distinct = order.compress(is_first)
    sizes = words.sizes.take(distinct)
    return Segment(
        _gathered(words.letters, words.starts.take(distinct), sizes).data,
        sizes.astype(np.uint32).data,
        np.bincount(keys >> bits - TF_BITS, minlength=len(distinct)).astype(np.uint32).data,
        postings.data,
        np.minimum(described, MAX_LENGTH).astype(np.uint8).data,
    )


def _words_of(texts: Sequence[ByteBuffer]) -> tuple[Words, Numbers, Numbers]:
    """All words of *texts*, with the place of each: an entry and, in the last bits, a field; the words of each description."""
    names = bytes(texts[0])
    letters = b"".join([names.lower(), *texts[1:], _PADDING])
    is_letter = np.frombuffer(letters, np.uint8) > _SEPARATOR
    edges = np.flatnonzero(np.diff(is_letter, prepend=False))  # the last byte is a separator
    starts, ends = edges[::2].copy(), edges[1::2].copy()
    text_ends = np.flatnonzero(np.frombuffer(letters, np.uint8) == 0)
    counts = np.diff(np.searchsorted(starts, text_ends), prepend=0)
    entries = len(text_ends) // len(FIELDS)
    field_and_place = np.add.outer(np.array(FIELDS), np.arange(entries) << TF_BITS).ravel()
    places = np.repeat(field_and_place, counts)
    of_names = int(np.searchsorted(starts, len(names)))
    parts = _parts(names, starts[:of_names], ends[:of_names])
    starts, ends, places = (
        np.concatenate(each)
        for each in zip((starts, ends, places), *((part[0], part[1], places[part[2]]) for part in parts), strict=True)
    )
    described = counts[DESCRIPTIONS * entries : (DESCRIPTIONS + 1) * entries]
    return Words(letters, starts, ends - starts), places, described


def _parts(names: bytes, starts: Numbers, ends: Numbers) -> Iterator[tuple[Numbers, Numbers, Numbers]]:
    """The runs of up to MAX_PARTS parts of words in *names*: where they start and end, and the number of the word of each."""
    letters = np.frombuffer(names, np.uint8)
    upper, lower, digit = (letters - ord(first) < size for first, size in (("A", 26), ("a", 26), ("0", 10)))
    letter = upper | lower
    begins = np.zeros(len(letters), np.bool_)
    begins[1:] = (lower[:-1] & upper[1:]) | (letter[:-1] & digit[1:]) | (digit[:-1] & letter[1:])
    begins[1:-1] |= upper[:-2] & upper[1:-1] & lower[2:]  # the P of JSONPlaceholder
    cuts = np.flatnonzero(begins)
    words = np.searchsorted(starts, cuts, "right") - 1
    words = words[_is_first(words)]
    first, last = np.sort(np.concatenate([starts[words], cuts])), np.sort(np.concatenate([cuts, ends[words]]))
    word = np.searchsorted(starts, first, "right") - 1
    for more in range(min(MAX_PARTS, len(first))):
        is_run = word[: len(word) - more] == word[more:]
        yield first[: len(first) - more][is_run], last[more:][is_run], word[more:][is_run]


def _gathered(items: Numbers, starts: Numbers, sizes: Numbers) -> Numbers:
    """The runs of *sizes* consecutive *items* from each of *starts* on."""
    bounds = np.cumsum(np.append(0, sizes), dtype=np.int64)
    gathered = np.empty(bounds[-1], items.dtype)
    for begin, end in _blocks(bounds):
        shifts = starts[begin:end] - bounds[begin:end]
        places = np.arange(bounds[begin], bounds[end]) + np.repeat(shifts, sizes[begin:end])
        gathered[bounds[begin] : bounds[end]] = items.take(places)
    return gathered


def _blocks(bounds: Numbers) -> Iterator[tuple[int, int]]:
    """Ranges of the runs between *bounds*. A range has at most _BLOCK items, or one run."""
    begin = 0
    while begin < len(bounds) - 1:
        end = max(begin + 1, int(np.searchsorted(bounds, bounds[begin] + _BLOCK, "right")) - 1)
        yield begin, end
        begin = end


def merge(segments: list[bytearray]) -> DescriptionArrays:
    """The index of *segments*: each field of Segment, joined for segments that follow one another. Empties the list."""
    letters, *arrays, lengths = segments
    segments.clear()
    sizes, counts, postings = (np.frombuffer(each, np.uint32) for each in arrays)
    del arrays
    order, is_first, terms = _merged(letters, sizes)
    del letters
    word_starts = _starts(sizes.take(order.compress(is_first)) + 1)
    block_starts, signatures = block_starts_of(word_starts.data), _signatures(terms, word_starts)
    del sizes, word_starts
    frequencies = np.add.reduceat(counts.take(order), np.flatnonzero(is_first), dtype=np.uint32)
    is_dense = frequencies > len(lengths) // _DENSE_SHARE
    numbers = np.cumsum(is_first, dtype=np.uint32) - np.uint32(1)
    dense = np.flatnonzero(is_dense).astype(np.uint32)
    starts, runs = _starts(counts)[:-1], order.compress(~is_dense.take(numbers))
    runs_of_dense = [order[slice(*np.searchsorted(numbers, (word, word + 1)))] for word in dense]
    del order, is_first, numbers
    planes = [_planes(_gathered(postings, starts[own], counts[own]), len(lengths)) for own in runs_of_dense]
    return DescriptionArrays(
        terms.data,
        block_starts,
        _starts(np.where(is_dense, 0, frequencies)).data,
        _gathered(postings, starts.take(runs), counts.take(runs)).data,
        lengths,
        signatures.data,
        dense.data,
        frequencies.take(dense).data,
        b"".join(planes),
    )


def _merged(letters: bytearray, sizes: Numbers) -> tuple[Numbers, NDArray[np.bool_], Numbers]:
    """The order of the words of all segments, whether each differs from the one before, and the distinct words as text.

    Equal words are in the order of their segments, and so of the positions in their postings.
    """
    letters += _PADDING
    words = Words(letters, _starts(sizes)[:-1], sizes)
    order, is_first = words.sorted()
    order = np.sort(np.cumsum(is_first, dtype=np.uint64) << 32 | order.astype(np.uint64)).astype(np.uint32)
    distinct = order.compress(is_first)
    sizes = sizes.take(distinct) + 1
    terms = _gathered(words.letters, words.starts.take(distinct), sizes)
    terms[np.cumsum(sizes, dtype=np.int64) - 1] = _LINE_FEED
    return order, is_first, terms


def _starts(sizes: Numbers) -> Numbers:
    """Where each of consecutive runs of *sizes* items starts, and where the last one ends."""
    starts = np.zeros(len(sizes) + 1, np.uint32)
    np.cumsum(sizes, out=starts[1:])
    return starts


def _planes(postings: Numbers, entries: int) -> bytes:
    """The low and then the high bit of the number of fields of each entry that have the word with these *postings*.

    A number of fields fits into two bits: no word is in all four, because only domains are in the last, and in no other.
    """
    fields = np.zeros(entries, np.uint8)
    fields[postings >> TF_BITS] = (postings & TF_MASK) + 1
    return b"".join(np.packbits(fields >> bit & 1).tobytes() for bit in range(TF_BITS))


def _signatures(terms: Numbers, starts: Numbers) -> Numbers:
    """The signature of each word; none for the domains, which come first."""
    bounds = starts[np.count_nonzero(terms[starts[:-1]] == ord(DOMAIN)) :].astype(np.int64)
    signatures = np.empty(len(bounds) - 1, np.uint32)
    for begin, end in _blocks(bounds):
        words = terms[bounds[begin] : bounds[end]]
        signatures[begin:end] = signatures_of(words, bounds[begin:end] - bounds[begin])
    return signatures
