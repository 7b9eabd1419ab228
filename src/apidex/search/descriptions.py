"""An inverted index of the words of names, descriptions, categories and providers. Pure.

Relevance is BM25 (Robertson and Zaragoza, 2009), where the frequency of a word in an entry is the number of fields that contain
it. The index is a few flat arrays, which another process can share. numpy is imported only where there are many words.
"""

import dataclasses
import math
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain, compress
from operator import itemgetter, sub
from typing import Any

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.entry import Entry
from apidex.search.text import fold, query_terms, separate_spans, to_ranges, word_spans
from apidex.search.words import (
    DESCRIPTIONS,
    DOMAIN,
    FIELDS,
    MAX_LENGTH,
    TF_BITS,
    host_of,
    possible_forms,
    stem,
    texts_of,
    with_parts,
)

MAX_TERMS = 16
"""The largest number of words of a query that are searched."""

MIN_SHARE = Fraction(2, 5)
"""The part of a query, by weight, that an entry must contain. Rare words have more weight."""

MOST_POSTINGS = 2**18
"""The rarest words of a query are used, up to this many postings in total, but at least one word. More would take too long."""

MIN_PREFIX = 3
"""A word with this many letters or more that no entry contains stands for all words that begin with it."""

RELEVANCE_BITS = 20
"""The bits of a relevance; 0 is the best."""

_K1, _B = 1.2, 0.75
"""The usual constants of BM25."""

_TF_MASK = (1 << TF_BITS) - 1
"""A posting is the position of an entry and, in the last bits, how many of its four fields have the word, less 1."""

_WEIGHT_UNIT = 1 / 1000
_SCORE_BITS = 28
_HALF = (1 << RELEVANCE_BITS // 2) - 1

_AFTER_DOMAINS = b"/"
"""Domains stand before all other words."""

_SEGMENT_BYTES = 2**19
"""Texts of this many bytes are a segment, which numpy inverts. Texts of fewer bytes are indexed without numpy."""

_MANY_POSTINGS = 2**9
"""If this many postings or more are read in an index of segments, numpy reads them."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word or domain of a query, and the *numbers* of the words that it stands for: its forms, or words that begin with it."""

    text: str
    numbers: Sequence[int]
    is_prefix: bool = False

    def fits(self, word: str) -> bool:
        """Whether it stands for a folded *word*."""
        return word.startswith(self.text) if self.is_prefix else stem(word) == stem(self.text)


@dataclass(frozen=True, slots=True)
class RelevantEntries:
    """The entries at *positions*, and the *relevance* of each."""

    positions: Sequence[int]
    relevance: Sequence[int]


class DescriptionIndexBuilder:
    """Collects the texts of entries, and inverts them segment by segment if there are many."""

    def __init__(self) -> None:
        self._texts = [bytearray() for _ in FIELDS]
        self._entries = 0
        self._segments: list[Any] = []  # of `segments.Segment`, which needs numpy

    def add(self, entries: Sequence[Entry]) -> None:
        """Append *entries*."""
        for texts, added in zip(self._texts, texts_of(entries), strict=True):
            texts.extend(added)
        if sum(map(len, self._texts)) >= _SEGMENT_BYTES:
            self._invert()

    def _invert(self) -> None:
        from apidex.search import segments

        segment = segments.invert(self._texts, self._entries)
        self._segments.append(segment)
        self._entries += len(segment.lengths)
        self._texts = [bytearray() for _ in FIELDS]

    def finish(self) -> "DescriptionIndex":
        """Return the index of all entries added. The builder must not be used again."""
        if not self._segments:
            return _index_of(self._texts)
        from apidex.search import segments

        if self._texts[0]:
            self._invert()
        return segments.merge(self._segments)


def _index_of(texts: Sequence[bytearray]) -> "DescriptionIndex":
    """The index of few entries."""
    names, *others = (joined.decode().split("\0")[:-1] for joined in texts)
    found, plain = defaultdict[str, set[int]](set), [with_parts(name).lower() for name in names]
    for field, of_entries in zip(FIELDS, [plain, *others], strict=True):
        for position, text in enumerate(of_entries):
            for word in text.split():
                found[word].add(position << TF_BITS | field)
    words, starts, postings = sorted(found), array("I", [0]), array("I")
    for word in words:
        fields = Counter(each >> TF_BITS for each in found[word])
        postings.extend(position << TF_BITS | fields[position] - 1 for position in sorted(fields))
        starts.append(len(postings))
    terms = "\n".join([*words, ""]).encode()
    term_starts = array("I", accumulate(map(len, terms.splitlines(keepends=True)), initial=0))
    lengths = bytes(min(len(text.split()), MAX_LENGTH) for text in others[DESCRIPTIONS - 1])
    return DescriptionIndex(terms, term_starts, starts, postings, lengths, array("I"), array("I"), b"")


@dataclass(frozen=True, eq=False)
class DescriptionIndex:
    """The inverted index of a catalogue.

    Word *i* is `terms[term_starts[i] : term_starts[i + 1] - 1]`, in the order of bytes; domains of links are words, too. Its
    postings are `postings[posting_starts[i] : posting_starts[i + 1]]`. *lengths* has the number of words of each description, 255
    at most. *letters* has the letters of each word that is not a domain, if there are many words. The words with the numbers in
    *dense* are so frequent that their postings are bits for all entries, in *planes*.
    """

    terms: ByteBuffer
    term_starts: IntArray
    posting_starts: IntArray
    postings: IntArray
    lengths: ByteBuffer
    letters: IntArray
    dense: IntArray
    planes: ByteBuffer

    @classmethod
    def build(cls, entries: Sequence[Entry]) -> "DescriptionIndex":
        """Return the index of *entries*."""
        builder = DescriptionIndexBuilder()
        builder.add(entries)
        return builder.finish()

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(memoryview(each).nbytes for each in self.arrays().values())

    def arrays(self) -> dict[str, ByteBuffer | IntArray]:
        """Its arrays."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}

    # --- the words of a query

    def parse(self, query: str) -> list[Term]:
        """The words of *query*, with one form of each, and its domains if entries link to them."""
        chunks = query.split()
        hosts = {chunk: DOMAIN + host for chunk in chunks if (host := host_of(chunk))}
        hosts = {chunk: host for chunk, host in hosts.items() if self._number(host) is not None}
        words = (
            query_terms(" ".join(chunk for chunk in chunks if chunk not in hosts)) if len(hosts) < len(chunks) else []
        )
        named = [Term(host, [self._number(host) or 0]) for host in hosts.values()]
        if named and words in (["api"], ["apis"]):
            words = []
        return [*named, *({stem(word): self._term(word) for word in reversed(words)}.values())][:MAX_TERMS]

    def _term(self, word: str) -> Term:
        root, possible = stem(word), possible_forms(word)
        start, end = self._at(root.encode()), self._at(root.encode() + b"\xff")
        numbers: Iterable[int] = range(start, end)
        if end - start > len(possible):
            numbers = [number for form in possible if (number := self._number(form, start, end)) is not None]
        spelled = ((number, self._word(number).decode()) for number in numbers)
        found = [number for number, text in spelled if text in possible and stem(text) == root]
        if found or len(word) < MIN_PREFIX:
            return Term(word, found)
        begin = word.encode()
        return Term(word, range(self._at(begin, start, end), self._at(begin + b"\xff", start, end)), is_prefix=True)

    def _at(self, text: bytes, start: int = 0, end: int | None = None) -> int:
        """The place of *text* among the sorted words, or where it would be."""
        return bisect_left(range(len(self.term_starts) - 1), text, start, end, key=self._word)

    def _word(self, number: int) -> bytes:
        return bytes(self.terms[self.term_starts[number] : self.term_starts[number + 1] - 1])

    def _number(self, word: str, start: int = 0, end: int | None = None) -> int | None:
        text = word.encode()
        number = self._at(text, start, end)
        return number if number < len(self.term_starts) - 1 and self._word(number) == text else None

    # --- words for corrections

    def near(self, text: str, distance: int) -> dict[str, int]:
        """As `Vocabulary.near`, without domains."""
        starts, postings = self.term_starts, self.posting_starts
        if len(self.letters):
            counts = self._dense_counts
            return {
                self._word(number).decode(): counts.get(number) or postings[number + 1] - postings[number]
                for number in self._with_like_letters(text, distance)
            }
        first = self._at(_AFTER_DOMAINS)
        words = bytes(self.terms[starts[first] :]).decode().split("\n")
        return dict(zip(words, map(sub, postings[first + 1 :], postings[first:]), strict=False))

    def _with_like_letters(self, text: str, distance: int) -> list[int]:
        """The words of about the same length as *text* whose letters differ by no more than *distance* changes can cause."""
        import numpy as np

        from apidex.search.segments import LETTER_BITS

        own, starts = text.encode(), np.frombuffer(self.term_starts, np.uint32)
        letters = np.bitwise_or.reduce(LETTER_BITS[np.frombuffer(own, np.uint8)])
        numbers = np.flatnonzero(np.bitwise_count(np.frombuffer(self.letters, np.uint32) ^ letters) <= 2 * distance)
        numbers += len(starts) - 1 - len(self.letters)
        sizes = starts[numbers + 1] - starts[numbers] - 1
        widest = distance if text.isascii() else 4 * distance
        return numbers[np.abs(sizes.astype(np.int64) - len(own)) <= widest].tolist()  # type: ignore[no-any-return]

    def first_position(self, word: str) -> int:
        """The position of the first entry that contains *word*, which is in the index."""
        number = self._at(word.encode())
        postings = self._dense_postings(number) if number in self._dense_counts else self.postings
        return int(postings[0 if number in self._dense_counts else self.posting_starts[number]]) >> TF_BITS

    # --- the entries that have them

    def find(
        self, terms: Sequence[Term], named: Sequence[int] | None = None, share: Fraction = MIN_SHARE
    ) -> RelevantEntries:
        """The entries that contain a *share* of *terms*, in catalogue order; none if no entry contains one of them.

        Entries with a flag in *named* are hits already, and may be left out.
        """
        entries = len(self.lengths)
        sizes = [(term, min(self._postings_of(term), entries)) for term in terms]
        if not all(size for _, size in sizes):
            return RelevantEntries([], [])
        counted, room = list[tuple[Term, int]](), MOST_POSTINGS
        for term, size in sorted(sizes, key=itemgetter(1)):
            if counted and size > room:
                break
            counted.append((term, size))
            room -= size
        weighed = [(term, self._weight(size)) for term, size in counted]
        most = sum(weight for _, weight in weighed)
        least = -(-most * share.numerator // share.denominator)
        # an entry without the rarest words, whose other words together weigh less than that, is no hit (MaxScore)
        rest = accumulate((-weight for _, weight in weighed), initial=most)
        are_read = [weight >= least or term.is_prefix for (term, _), weight in zip(counted, rest, strict=False)]
        if len(self.letters) and sum(size for _, size in compress(counted, are_read)) >= _MANY_POSTINGS:
            return self._many(weighed, are_read, least, most, named)
        return self._few(weighed, are_read, least, most)

    def finds(self, terms: Sequence[Term]) -> bool:
        """Whether `find` returns any entry."""
        return self._postings_of(terms[0]) > 0 if len(terms) == 1 else len(self.find(terms).positions) > 0

    def _postings_of(self, term: Term) -> int:
        starts, dense = self.posting_starts, self._dense_counts
        sparse = sum(starts[words.stop] - starts[words.start] for words in _ranges(term))
        return sparse + sum(dense[number] for number in self._dense_words(term))

    def _dense_words(self, term: Term) -> list[int]:
        """The numbers of the dense words that *term* stands for."""
        return [number for number in self._dense_counts if number in term.numbers]

    @cached_property
    def _dense_counts(self) -> dict[int, int]:
        """The number of postings of each dense word."""
        return {number: len(self._dense_postings(number)) for number in self.dense}

    def _dense_postings(self, number: int, left_out: Any = None) -> Any:  # noqa: ANN401 - an array of numpy
        from apidex.search import segments

        return segments.dense_postings(self._planes_of(number), len(self.lengths), left_out)

    def _planes_of(self, number: int) -> ByteBuffer:
        size = len(self.planes) // len(self.dense)
        start = bisect_left(self.dense, number) * size
        return self.planes[start : start + size]

    def _weight(self, entries: int) -> int:
        """The inverse document frequency of a word that this number of *entries* contain."""
        return math.ceil(math.log1p((len(self.lengths) - entries + 0.5) / (entries + 0.5)) / _WEIGHT_UNIT)

    def _few(
        self, weighed: Sequence[tuple[Term, int]], are_read: Sequence[bool], least: int, most: int
    ) -> RelevantEntries:
        """The entries with a weight of *least* or more, of *most*.

        The postings of terms that *are_read* are read; the others are looked up for the entries that were found before.
        """
        sums = dict[int, int]()
        for (term, weight), is_read in zip(weighed, are_read, strict=True):
            for position, fields in (self._fields(term) if is_read else self._fields_at(term, sums)).items():
                score = weight * self._saturation[fields << 8 | self.lengths[position]]
                sums[position] = sums.get(position, 0) + (weight << _SCORE_BITS) + score
        positions = sorted(position for position, total in sums.items() if total >> _SCORE_BITS >= least)
        return RelevantEntries(positions, [_relevance(sums[position], most) for position in positions])

    def _fields(self, term: Term) -> dict[int, int]:
        """The entries that contain *term*, each with its number of fields, less 1."""
        found = dict[int, int]()
        for posting in chain.from_iterable(own.tolist() for own in self._slices(self.postings, term)):
            position, fields = posting >> TF_BITS, posting & _TF_MASK
            found[position] = max(fields, found.get(position, 0))
        return found

    def _fields_at(self, term: Term, positions: Iterable[int]) -> dict[int, int]:
        """As `_fields`, of the entries at *positions*."""
        pairs = ((at, max(self._fields_of(number, at) for number in term.numbers)) for at in positions)
        return {position: fields for position, fields in pairs if fields >= 0}

    def _fields_of(self, number: int, position: int) -> int:
        """How many fields of the entry at *position* contain the word with this *number*, less 1."""
        if number in self._dense_counts:
            planes, byte, bit = self._planes_of(number), position >> 3, 7 - (position & 7)
            low, high = (planes[start + byte] >> bit & 1 for start in (0, len(planes) // TF_BITS))
            return (high << 1 | low) - 1
        start, end = self.posting_starts[number], self.posting_starts[number + 1]
        posting = bisect_left(self.postings, position << TF_BITS, start, end)
        found = posting < end and self.postings[posting] >> TF_BITS == position
        return self.postings[posting] & _TF_MASK if found else -1

    def _many(
        self,
        weighed: Sequence[tuple[Term, int]],
        are_read: Sequence[bool],
        least: int,
        most: int,
        named: Sequence[int] | None,
    ) -> RelevantEntries:
        """As `_few`, by numpy."""
        import numpy as np

        postings, lengths = np.frombuffer(self.postings, np.uint32), np.frombuffer(self.lengths, np.uint8)
        saturation, sums = np.array(self._saturation), np.zeros(len(lengths) if len(weighed) > 1 else 0, np.int64)
        for (term, weight), is_read in zip(weighed, are_read, strict=True):
            left_out = named if is_read else sums == 0
            slices = self._slices(postings, term, left_out)
            own = slices[0] if len(slices) == 1 and not term.is_prefix else np.sort(np.concatenate(slices))
            positions = own >> np.uint32(TF_BITS)
            if left_out is not None:
                others = ~np.asarray(left_out, np.bool_)[positions]
                own, positions = own[others], positions[others]
            if len(slices) > 1 or term.is_prefix:  # of several words, the one in most fields counts
                last = np.diff(positions, append=positions[-1:] + np.uint32(1)) != 0
                own, positions = own[last], positions[last]
            scores = weight * saturation + (weight << _SCORE_BITS)
            kinds = (own & np.uint32(_TF_MASK)) << np.uint32(8) | lengths[positions]
            if len(weighed) == 1:
                return RelevantEntries(positions, _relevance(scores, most)[kinds])  # type: ignore[arg-type] # as below
            sums[positions] += scores[kinds]
        found = np.flatnonzero(sums >= least << _SCORE_BITS)
        return RelevantEntries(found, _relevance(sums[found], most))  # type: ignore[arg-type] # arrays are sequences enough

    def _slices(self, postings: Any, term: Term, left_out: Any = None) -> list[Any]:  # noqa: ANN401 - a buffer, or an array of numpy
        """The *postings* of the words that *term* stands for; those of dense words without the entries with a flag in *left_out*.

        Those of consecutive words are consecutive.
        """
        starts = self.posting_starts
        bounds = ((starts[words.start], starts[words.stop]) for words in _ranges(term))
        sparse = [postings[start:end] for start, end in bounds if start < end]
        return sparse + [self._dense_postings(number, left_out) for number in self._dense_words(term)]

    @cached_property
    def _saturation(self) -> list[int]:
        """The score of a word, by the number of fields that contain it, minus 1, and the length of the entry."""
        average = sum(self.lengths) / len(self.lengths) or 1
        norms = [_K1 * (1 - _B + _B * length / average) for length in range(256)]
        return [round(_HALF * count / (count + norm)) for count in range(1, _TF_MASK + 2) for norm in norms]


def _ranges(term: Term) -> list[range]:
    """The numbers of the words that *term* stands for, in ranges."""
    numbers = term.numbers
    return [numbers] if isinstance(numbers, range) else [range(number, number + 1) for number in numbers]


def _relevance(total: Any, most: int) -> Any:  # noqa: ANN401 - a number, or an array of them
    """The relevance of an entry: first by the weight of the words that it contains, *total* of *most*, then by their score."""
    share, score = (total >> _SCORE_BITS) * _HALF // most, (total & (1 << _SCORE_BITS) - 1) // most
    return (_HALF - share) << RELEVANCE_BITS // 2 | (_HALF - score)


def highlights(text: str, terms: Iterable[Term]) -> list[tuple[int, int]]:
    """The occurrences of *terms* in *text*, as half-open ranges of code points."""
    terms = list(terms)
    spans = dict.fromkeys(chain(separate_spans(text), word_spans(text)))
    marked = [span for span in spans if (word := fold(text[slice(*span)])) and any(term.fits(word) for term in terms)]
    return to_ranges(sorted({at for start, end in marked for at in range(start, end)}))
