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
from apidex.search.descriptions import SCORE_BITS, DescriptionIndex, RelevantEntries, Term, WeighedTerm, relevance_of
from apidex.search.words import TF_BITS, TF_MASK

Numbers = NDArray[Any]

_MANY_POSTINGS = 2**9
"""If this many postings or more are read, numpy reads them."""

LETTER_BITS = np.array([0 if code == ord("\n") else 1 << (code & 31) for code in range(256)], np.uint32)
"""The bit for each byte of a word: each letter has its own, which other bytes share."""


@dataclass(frozen=True, eq=False)
class DescriptionArrays(DescriptionIndex):
    """A DescriptionIndex that is read with numpy.

    *letters* has the bits of the letters of each word that is not a domain. The words with the numbers in *dense* are so frequent
    that their postings are bits for all entries, in *planes*: the low bits, and then the high bits, of how many fields have it.
    """

    letters: IntArray
    dense: IntArray
    planes: ByteBuffer

    def near(self, text: str, distance: int) -> dict[str, int]:
        """As `DescriptionIndex.near`."""
        counts, postings = self._dense_counts, self.posting_starts
        return {
            self._word(number).decode(): counts.get(number) or postings[number + 1] - postings[number]
            for number in self._with_like_letters(text, distance)
        }

    def _with_like_letters(self, text: str, distance: int) -> list[int]:
        """The words of about the same length as *text* whose letters differ by no more than *distance* changes can cause."""
        own, starts = text.encode(), np.asarray(self.term_starts)
        letters = np.bitwise_or.reduce(LETTER_BITS[np.frombuffer(own, np.uint8)])
        numbers = np.flatnonzero(np.bitwise_count(np.asarray(self.letters) ^ letters) <= 2 * distance)
        numbers += len(starts) - 1 - len(self.letters)
        sizes = starts[numbers + 1] - starts[numbers] - 1
        widest = distance if text.isascii() else 4 * distance
        result: list[int] = numbers[np.abs(sizes.astype(np.int64) - len(own)) <= widest].tolist()
        return result

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
        return {number: len(self._dense_postings(number)) for number in self.dense}

    def _dense_postings(self, number: int, left_out: Numbers | None = None) -> Numbers:
        """The postings of a dense word, without those of entries with a flag in *left_out*."""
        planes = np.frombuffer(self._planes_of(number), np.uint8).reshape(TF_BITS, -1)
        low, high = np.unpackbits(planes, axis=1, count=len(self.lengths))
        is_posting = (low | high).view(np.bool_)
        positions = np.flatnonzero(is_posting if left_out is None else is_posting & ~left_out)
        fields = high[positions] << 1 | low[positions]
        postings: Numbers = positions.astype(np.uint32) << TF_BITS | fields - 1
        return postings

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

    def _select(
        self, terms: Sequence[WeighedTerm], least: int, most: int, named: Sequence[int] | None
    ) -> RelevantEntries:
        if sum(self._postings_of(term) for term, _, is_read in terms if is_read) < _MANY_POSTINGS:
            return super()._select(terms, least, most, named)
        lengths, saturation = np.frombuffer(self.lengths, np.uint8), np.array(self._saturation)
        is_named = None if named is None else np.asarray(named, np.bool_)
        sums = np.zeros(len(lengths) if len(terms) > 1 else 0, np.int64)
        for term, weight, is_read in terms:
            own, positions = self._entries_with(term, is_named if is_read else sums == 0)
            scores = weight * saturation + (weight << SCORE_BITS)
            kinds = (own & np.uint32(TF_MASK)) << np.uint32(8) | lengths[positions]
            if len(terms) == 1:
                return RelevantEntries(positions, relevance_of(scores, most)[kinds])  # type: ignore[arg-type] # as below
            sums[positions] += scores[kinds]
        found = np.flatnonzero(sums >= least << SCORE_BITS)
        return RelevantEntries(found, relevance_of(sums[found], most))  # type: ignore[arg-type] # arrays are sequences enough

    def _entries_with(self, term: Term, left_out: Numbers | None) -> tuple[Numbers, Numbers]:
        """A posting and the position of each entry that contains *term* and has no flag in *left_out*."""
        slices = self._slices(term, left_out)
        own = slices[0] if len(slices) == 1 and not term.is_prefix else np.sort(np.concatenate(slices))
        positions = own >> np.uint32(TF_BITS)
        if left_out is not None:
            others = ~left_out[positions]
            own, positions = own[others], positions[others]
        if len(slices) > 1 or term.is_prefix:  # of several words, the one in most fields counts
            last = np.diff(positions, append=positions[-1:] + np.uint32(1)) != 0
            own, positions = own[last], positions[last]
        return own, positions
