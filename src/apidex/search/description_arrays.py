"""The index of the descriptions of many entries, in arrays, with the same results as that of `descriptions`. Pure.

Words that most entries have take two bits for each entry, and words near to another one are selected by their letters.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.search.arrays import Numbers, places_of, set_items
from apidex.search.descriptions import (
    BLOCK,
    SCORE_BITS,
    DescriptionIndex,
    NamedFlags,
    RelevantEntries,
    Term,
    WeighedTerm,
    relevance_of,
)
from apidex.search.words import TF_BITS, TF_MASK

_MANY_POSTINGS = 2**9
"""If this many postings or more are read, numpy reads them."""

_NARROW = 16
"""Postings of several words are sorted if there are this many times more entries. Otherwise a table of all entries is faster."""

_SIZE_BITS = 5
_SIZES = (1 << _SIZE_BITS) - 1
_LETTERS = 32 - _SIZE_BITS
_LETTER_BITS = np.array(
    [0 if code == ord("\n") else 1 << _SIZE_BITS + code % _LETTERS for code in range(256)], np.uint32
)
"""The bit for each byte of a word: each letter has its own, which other bytes share."""

_NOT_ASCII = np.uint32(1 << _SIZE_BITS + 15)
"""The bit that no letter and no digit of ASCII has. All other bytes have it besides their own."""

_LETTER_BITS[128:] |= _NOT_ASCII
_OF_LETTERS = np.uint32(2**32 - 1 ^ _SIZES) & ~_NOT_ASCII


def _are_alike(signatures: Numbers, signature: Any, removed: int, added: int) -> NDArray[np.bool_]:  # noqa: ANN401
    """Whether *signature* can become each of *signatures* if so many bytes, at most, are *removed* and *added*."""
    longer = ((signatures - signature + np.uint32(removed)) & np.uint32(_SIZES)).astype(np.int64) - removed
    lost, gained = (np.bitwise_count(each & _OF_LETTERS) for each in (signature & ~signatures, signatures & ~signature))
    alike: NDArray[np.bool_] = (lost <= np.minimum(removed, added - longer)) & (
        gained <= np.minimum(added, removed + longer)
    )
    return alike


def signatures_of(words: Numbers, starts: Numbers) -> Numbers:
    """The signature of each of *words*, which are bytes from *starts* on, each word with a line feed after it.

    It has the bits of all letters of the word, the bit of letters beyond ASCII, and the last bits of its size in bytes.
    """
    sizes = np.diff(starts, append=len(words)) - 1
    letters: Numbers = np.bitwise_or.reduceat(_LETTER_BITS.take(words), starts)
    return letters | (sizes & _SIZES).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class DescriptionArrays(DescriptionIndex):
    """A DescriptionIndex that is read with numpy.

    *signatures* has the signature of each word that is not a domain. The words with the numbers in *dense* are so frequent that
    their postings are bits for all entries, in *planes*: the low bits, and then the high bits, of how many fields have it.
    *frequencies* says how many entries have each of them.
    """

    signatures: IntArray
    dense: IntArray
    frequencies: IntArray
    planes: ByteBuffer

    def near(self, text: str, distance: int) -> dict[str, int]:
        """As `DescriptionIndex.near`."""
        numbers, starts = self._with_like_letters(text, distance), np.asarray(self.posting_starts)
        counts = starts.take(numbers + 1) - starts.take(numbers)
        found = dict(zip(self._words_at(numbers), counts.tolist(), strict=True))
        dense = {self._word(number).decode(): count for number, count in self._dense_counts.items()}
        return found | {word: count for word, count in dense.items() if word in found}

    def _with_like_letters(self, text: str, distance: int) -> Numbers:
        """The words whose sizes and letters differ from those of *text* by no more than *distance* changes can cause.

        A change removes a letter, adds one, or does both. In UTF-8, letters beyond ASCII have up to four bytes.
        """
        signatures, sizes = np.asarray(self.signatures), [len(letter.encode()) for letter in text]
        (signature,) = signatures_of(np.frombuffer(f"{text}\n".encode(), np.uint8), np.zeros(1, np.int64))
        removed = sum(sorted(sizes)[-distance:])
        found = self._not_ascii.compress(_are_alike(signatures.take(self._not_ascii), signature, removed, 4 * distance))
        if sum(size > 1 for size in sizes) <= distance:
            letters = (signatures ^ signature) & _OF_LETTERS
            near = np.flatnonzero(np.bitwise_count(letters) <= removed + distance)
            near = near.compress(signatures.take(near) & _NOT_ASCII == 0)
            near = near.compress(_are_alike(signatures.take(near), signature, removed, distance))
            found = np.concatenate([found, near])
        return found + self._count - len(signatures)

    @cached_property
    def _not_ascii(self) -> Numbers:
        """The places of the signatures of words that have letters beyond ASCII."""
        return places_of(np.asarray(self.signatures) & _NOT_ASCII != 0)

    def _words_at(self, numbers: Numbers) -> list[str]:
        """The words with these *numbers*."""
        blocks, starts, terms = numbers // BLOCK, np.asarray(self.block_starts), self.terms
        spans = starts.take(blocks).tolist(), starts.take(blocks + 1).tolist(), (numbers % BLOCK).tolist()
        return [bytes(terms[start:end]).split(b"\n")[word].decode() for start, end, word in zip(*spans, strict=True)]

    def _first_posting(self, number: int) -> int:
        return int(self._dense_postings(number)[0]) if number in self._dense_counts else super()._first_posting(number)

    def _postings_of(self, term: Term) -> int:
        return super()._postings_of(term) + sum(self._dense_counts[number] for number in self._dense_words(term))

    def _dense_words(self, term: Term) -> list[int]:
        """The numbers of the dense words that *term* stands for."""
        return [number for number in self._dense_counts if number in term.numbers]

    @cached_property
    def _dense_counts(self) -> dict[int, int]:
        """The number of postings of each dense word."""
        return dict(zip(self.dense, self.frequencies, strict=True))

    def _dense_postings(self, number: int, left_out: Numbers | None = None) -> Numbers:
        """The postings of a dense word, without those of entries with a flag in *left_out*."""
        fields = self._dense_fields(number)
        positions = places_of(fields != 0 if left_out is None else (fields != 0) & ~left_out)
        postings: Numbers = positions << TF_BITS | fields.take(positions) - np.uint32(1)
        return postings

    def _dense_fields(self, number: int) -> Numbers:
        """How many fields of each entry have a dense word."""
        planes = np.frombuffer(self._planes_of(number), np.uint8).reshape(TF_BITS, -1)
        low, high = np.unpackbits(planes, axis=1, count=len(self.lengths))
        fields: Numbers = high << 1 | low
        return fields

    def _planes_of(self, number: int) -> ByteBuffer:
        size = len(self.planes) // len(self.dense)
        start = bisect_left(self.dense, number) * size
        return self.planes[start : start + size]

    def _fields_of(self, number: int, position: int) -> int:
        if number not in self._dense_counts:
            return super()._fields_of(number, position)
        planes, byte, bit = self._planes_of(number), position >> 3, 7 - (position & 7)
        low, high = (planes[start + byte] >> bit & 1 for start in (0, len(planes) // TF_BITS))
        return (high << 1 | low) - 1

    def _slices(self, term: Term, left_out: Numbers | None = None) -> list[Any]:
        """As `DescriptionIndex._slices`; the postings of dense words without those of entries with a flag in *left_out*."""
        dense = [self._dense_postings(number, left_out) for number in self._dense_words(term)]
        return [*map(np.asarray, super()._slices(term)), *dense]

    def _select(self, terms: Sequence[WeighedTerm], least: int, most: int, named: NamedFlags) -> RelevantEntries:
        if sum(self._postings_of(term) for term, _, is_read in terms if is_read) < _MANY_POSTINGS:
            return super()._select(terms, least, most, named)
        flags = named()
        is_named = None if flags is None else np.asarray(flags, np.bool_)
        if len(terms) == 1:
            return self._containing(*terms[0][:2], most, is_named)
        positions, sums = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        for term, weight, is_read in terms:
            scores = self._scores(weight)
            if is_read:
                fields, added = self._entries_with(term, is_named)
                of_added = scores.take(self._kinds(fields, added))
                positions, sums = _added(positions, sums, added, of_added, len(self.lengths))
            else:
                fields = np.max([self._fields_of_each(number, positions) for number in term.numbers], axis=0)
                sums += np.where(fields < 0, 0, scores.take(self._kinds(fields, positions), mode="wrap"))
        is_found = sums >= least << SCORE_BITS
        found = positions.compress(is_found)
        return RelevantEntries(found, lambda: relevance_of(sums.compress(is_found), most))  # type: ignore[arg-type] # arrays are sequences enough

    def _containing(self, term: Term, weight: int, most: int, left_out: Numbers | None) -> RelevantEntries:
        """The entries that contain *term*, the only one of a query, and have no flag in *left_out*."""
        fields, positions = self._entries_with(term, left_out)
        relevance = relevance_of(self._scores(weight), most)
        return RelevantEntries(positions, lambda: relevance.take(self._kinds(fields, positions)))  # type: ignore[arg-type] # as above

    def _scores(self, weight: int) -> Numbers:
        """What a word of this *weight* adds to the sum of an entry of each kind."""
        scores: Numbers = weight * self._saturations + (weight << SCORE_BITS)
        return scores

    @cached_property
    def _saturations(self) -> Numbers:
        return np.array(self._saturation)

    def _kinds(self, fields: Numbers, positions: Numbers) -> Numbers:
        """The place in `_saturations` of each of *positions*, which has a word in so many *fields*, less 1."""
        kinds: Numbers = fields << np.uint32(8) | np.frombuffer(self.lengths, np.uint8).take(positions)
        return kinds

    def _fields_of_each(self, number: int, positions: Numbers) -> Numbers:
        """As `_fields_of`, for each of *positions*."""
        if number in self._dense_counts:
            planes = np.frombuffer(self._planes_of(number), np.uint8).reshape(TF_BITS, -1)
            low, high = planes.take(positions >> 3, axis=1) >> (7 - (positions & 7)).astype(np.uint8) & 1
            count: Numbers = (high << 1 | low).astype(np.int64)
            return count - 1
        own = np.asarray(self.postings[self.posting_starts[number] : self.posting_starts[number + 1]])
        found = own.take(np.searchsorted(own, positions << np.uint32(TF_BITS)), mode="clip")
        fields: Numbers = (found & np.uint32(TF_MASK)).astype(np.int64)
        return np.where(found >> np.uint32(TF_BITS) == positions, fields, -1)

    def _entries_with(self, term: Term, left_out: Numbers | None) -> tuple[Numbers, Numbers]:
        """The number of fields, less 1, and the position of each entry that contains *term* and has no flag in *left_out*.

        Of several words, the one in most fields counts.
        """
        are_several, dense = len(term.numbers) > 1, self._dense_words(term)
        if are_several and (dense or self._postings_of(term) * _NARROW > len(self.lengths)):
            return self._entries_in_table(term, dense, left_out)
        slices = self._slices(term, left_out)
        own = np.sort(np.concatenate(slices)) if are_several else slices[0]
        positions = own >> np.uint32(TF_BITS)
        if left_out is not None:
            others = ~left_out.take(positions)
            own, positions = own.compress(others), positions.compress(others)
        if are_several:
            last = np.diff(positions, append=positions[-1:] + np.uint32(1)) != 0
            own, positions = own.compress(last), positions.compress(last)
        return own & np.uint32(TF_MASK), positions

    def _entries_in_table(self, term: Term, dense: Sequence[int], left_out: Numbers | None) -> tuple[Numbers, Numbers]:
        """As `_entries_with`, by a table of all entries: sorting many postings, or those of *dense* words, takes longer."""
        counts = np.zeros(len(self.lengths), np.uint8)
        own = np.concatenate([np.zeros(0, np.uint32), *super()._slices(term)])
        for count in range(1, TF_MASK + 2):
            set_items(counts, own.compress(own & TF_MASK == count - 1) >> TF_BITS, count)
        for number in dense:
            np.maximum(counts, self._dense_fields(number), out=counts)
        if left_out is not None:
            counts[left_out] = 0
        positions = places_of(counts != 0)
        return counts.take(positions) - np.uint32(1), positions


def _added(
    positions: Numbers, sums: Numbers, others: Numbers, scores: Numbers, entries: int
) -> tuple[Numbers, Numbers]:
    """The *positions*, and those of the sorted *others* that are not among them, with the sum for each, of so many *entries*."""
    if not len(positions):
        return others, scores
    is_other = np.zeros(entries, np.bool_)
    set_items(is_other, others, True)
    common = np.flatnonzero(is_other.take(positions))
    sums[common] += scores.take(np.searchsorted(others, positions.take(common)))
    set_items(is_other, positions, False)
    is_new = is_other.take(others)
    return np.concatenate([positions, others.compress(is_new)]), np.concatenate([sums, scores.compress(is_new)])
