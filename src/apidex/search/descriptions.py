"""An inverted index of the words of names, descriptions, categories and providers. Pure.

Relevance is BM25 (Robertson and Zaragoza, 2009), where the frequency of a word in an entry is the number of fields that contain
it. The index is a few flat arrays, which another process can share. `description_arrays` has that of many entries.
"""

import dataclasses
import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain
from operator import itemgetter, sub
from typing import Any

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.entry import Entry
from apidex.search.memo import memoized
from apidex.search.text import fold, query_terms, spans_beginning_with, to_ranges
from apidex.search.words import (
    DESCRIPTIONS,
    DOMAIN,
    FIELDS,
    MAX_LENGTH,
    TF_BITS,
    TF_MASK,
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

_LOOKED_UP = 16
"""A term that stands for more words is not looked up entry by entry."""

_READ_TOGETHER = 2**15
"""Words of so many bytes are read at once in less time than the forms of a word, some sixty, are looked up one by one."""

BLOCK = 4
"""So many words are a block. Where each block starts is stored, and its words are split when they are read."""

_HELD = 64
"""Of so many blocks, the first word is held as an object."""

RELEVANCE_BITS = 20
"""The bits of a relevance; 0 is the best."""

_K1, _B = 1.2, 0.75
"""The usual constants of BM25."""

SCORE_BITS = 28
"""The lower bits of the sum of an entry, which have its score; the others have its weight."""

_WEIGHT_UNIT = 1 / 1000
_HALF = (1 << RELEVANCE_BITS // 2) - 1

_AFTER_DOMAINS = b"/"
"""Domains stand before all other words."""

_SEGMENT_BYTES = 2**19
"""Texts of this many bytes are a segment, which numpy inverts. Texts of fewer bytes are indexed without numpy."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word or domain of a query, and the *numbers* of the words that it stands for: its forms, or words that begin with it."""

    text: str
    numbers: Sequence[int]
    is_prefix: bool = False

    def ranges(self) -> list[range]:
        """The *numbers*, in ranges."""
        numbers = self.numbers
        return [numbers] if isinstance(numbers, range) else [range(number, number + 1) for number in numbers]


WeighedTerm = tuple[Term, int, bool]
"""A term, its weight, and whether its postings are read; those of others are looked up for the entries that were found before."""


NamedFlags = Callable[[], Sequence[int] | None]
"""Returns for each entry whether its name matches; None if few names match."""


@dataclass(frozen=True, slots=True)
class RelevantEntries:
    """The entries at *positions*. *relevance* computes that of each; a page that names fill does not need it."""

    positions: Sequence[int]
    relevance: Callable[[], Sequence[int]]


class DescriptionIndexBuilder:
    """Collects the texts of entries, and inverts them segment by segment if there are many."""

    def __init__(self) -> None:
        self._texts = [bytearray() for _ in FIELDS]
        self._entries = 0
        self._segments: list[bytearray] = []

    def add(self, entries: Sequence[Entry]) -> None:
        """Append *entries*."""
        for texts, added in zip(self._texts, texts_of(entries), strict=True):
            texts.extend(added)
        if sum(map(len, self._texts)) >= _SEGMENT_BYTES:
            self._invert()

    def _invert(self) -> None:
        from apidex.search import segments

        segment = segments.invert(self._texts, self._entries)
        self._segments = self._segments or [bytearray() for _ in segment]
        for joined, part in zip(self._segments, segment, strict=True):
            joined.extend(part)
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
    bounds = array("I", accumulate(map(len, terms.splitlines(keepends=True)), initial=0))
    lengths = bytes(min(len(text.split()), MAX_LENGTH) for text in others[DESCRIPTIONS - 1])
    return DescriptionIndex(terms, block_starts_of(bounds), starts, postings, lengths)


def block_starts_of(bounds: IntArray) -> "array[int]":
    """Where each block of words starts, and where the last one ends; *bounds* has the same for words."""
    return array("I", chain([0], bounds[BLOCK:-1:BLOCK], bounds[-1:]))


@dataclass(frozen=True, eq=False)
class DescriptionIndex:
    """The inverted index of a catalogue.

    *terms* has the words in the order of bytes, each with a line feed after it; domains of links are words, too. Block *b* is
    `terms[block_starts[b] : block_starts[b + 1]]`. The postings of word *i* are
    `postings[posting_starts[i] : posting_starts[i + 1]]`: each is the position of an entry and, in the last TF_BITS, how many of
    its four fields have the word, less 1. *lengths* has the number of words of each description, 255 at most.
    """

    terms: ByteBuffer
    block_starts: IntArray
    posting_starts: IntArray
    postings: IntArray
    lengths: ByteBuffer

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
        terms = {stem(word): memoized(self._terms, word, self._term) for word in reversed(words)}
        return [*named, *terms.values()][:MAX_TERMS]

    @cached_property
    def _terms(self) -> dict[str, Term]:
        """Terms that were parsed before."""
        return {}

    def _term(self, word: str) -> Term:
        root, possible = stem(word), possible_forms(word)
        begun = self._beginning_with(root)
        pairs: Iterable[tuple[int, str]]
        start, end = (self.block_starts[block] for block in _blocks_of(begun))
        if end - start <= _READ_TOGETHER:
            pairs = zip(begun, self._words(begun), strict=True)
        else:
            pairs = ((number, form) for form in possible if (number := self._number(form)) is not None)
        found = [number for number, text in pairs if text in possible and stem(text) == root]
        if found or len(word) < MIN_PREFIX:
            return Term(word, found)
        return Term(word, self._beginning_with(word), is_prefix=True)

    def _beginning_with(self, text: str) -> range:
        """The numbers of the words that begin with *text*."""
        return range(self._at(text.encode()), self._at(text.encode() + b"\xff"))

    def _at(self, text: bytes) -> int:
        """The place of *text* among the sorted words, or where it would be."""
        held = max(0, bisect_right(self._held_words, text) - 1) * _HELD
        blocks = range(len(self.block_starts) - 1)
        block = bisect_right(blocks, text, held + 1, min(held + _HELD, len(blocks)), key=self._first_word) - 1
        return block * BLOCK + bisect_left(self._block(block), text)

    @cached_property
    def _held_words(self) -> list[bytes]:
        """The first word of every _HELD-th block."""
        return [self._first_word(block) for block in range(0, len(self.block_starts) - 1, _HELD)]

    def _first_word(self, block: int) -> bytes:
        return self._text(block, block + 1).partition(b"\n")[0]

    def _block(self, number: int) -> list[bytes]:
        """The words of a block."""
        return self._text(number, number + 1).split(b"\n")[:-1]

    def _text(self, first: int, end: int) -> bytes:
        """The words of the blocks from *first* to *end*, each with a line feed after it."""
        return bytes(self.terms[self.block_starts[first] : self.block_starts[end]])

    def _word(self, number: int) -> bytes:
        return self._block(number // BLOCK)[number % BLOCK]

    def _words(self, numbers: range) -> list[str]:
        """The words with these *numbers*."""
        first, end = _blocks_of(numbers)
        words = self._text(first, end).decode().split("\n")
        return words[numbers.start - first * BLOCK :][: len(numbers)]

    def _number(self, word: str) -> int | None:
        text = word.encode()
        number = self._at(text)
        return number if number < self._count and self._word(number) == text else None

    @property
    def _count(self) -> int:
        """How many words there are."""
        return len(self.posting_starts) - 1

    # --- words for corrections

    def near(self, text: str, distance: int) -> dict[str, int]:  # noqa: ARG002 - all words are candidates
        """As `Vocabulary.near`, without domains."""
        first, postings = self._at(_AFTER_DOMAINS), self.posting_starts
        words = self._words(range(first, self._count))
        return dict(zip(words, map(sub, postings[first + 1 :], postings[first:]), strict=False))

    def first_position(self, word: str) -> int:
        """The position of the first entry that contains *word*, which is in the index."""
        return self._first_posting(self._at(word.encode())) >> TF_BITS

    def _first_posting(self, number: int) -> int:
        posting: int = self.postings[self.posting_starts[number]]
        return posting

    # --- the entries that have them

    def find(
        self, terms: Sequence[Term], named: NamedFlags = lambda: None, share: Fraction = MIN_SHARE
    ) -> RelevantEntries:
        """The entries that contain a *share* of *terms*, in any order; none if no entry contains one of them.

        Entries with a flag in what *named* returns are hits already, and may be left out.
        """
        entries = len(self.lengths)
        sizes = [(term, min(self._postings_of(term), entries)) for term in terms]
        if not all(size for _, size in sizes):
            return RelevantEntries([], list)
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
        chosen = [
            (*each, left >= least or len(each[0].numbers) > _LOOKED_UP)
            for each, left in zip(weighed, rest, strict=False)
        ]
        return self._select(chosen, least, most, named)

    def finds(self, terms: Sequence[Term]) -> bool:
        """Whether `find` returns any entry."""
        return self._postings_of(terms[0]) > 0 if len(terms) == 1 else len(self.find(terms).positions) > 0

    def _postings_of(self, term: Term) -> int:
        starts = self.posting_starts
        return sum(starts[words.stop] - starts[words.start] for words in term.ranges())

    def _weight(self, entries: int) -> int:
        """The inverse document frequency of a word that this number of *entries* contain."""
        return math.ceil(math.log1p((len(self.lengths) - entries + 0.5) / (entries + 0.5)) / _WEIGHT_UNIT)

    def _select(
        self,
        terms: Sequence[WeighedTerm],
        least: int,
        most: int,
        named: NamedFlags,  # noqa: ARG002
    ) -> RelevantEntries:
        """The entries with a weight of *least* or more, of *most*; *named* as in `find`."""
        sums = dict[int, int]()
        for term, weight, is_read in terms:
            for position, fields in (self._fields(term) if is_read else self._fields_at(term, sums)).items():
                score = weight * self._saturation[fields << 8 | self.lengths[position]]
                sums[position] = sums.get(position, 0) + (weight << SCORE_BITS) + score
        positions = sorted(position for position, total in sums.items() if total >> SCORE_BITS >= least)
        return RelevantEntries(positions, lambda: [relevance_of(sums[position], most) for position in positions])

    def _fields(self, term: Term) -> dict[int, int]:
        """The entries that contain *term*, each with its number of fields, less 1."""
        found = dict[int, int]()
        for posting in chain.from_iterable(own.tolist() for own in self._slices(term)):
            position, fields = posting >> TF_BITS, posting & TF_MASK
            found[position] = max(fields, found.get(position, 0))
        return found

    def _fields_at(self, term: Term, positions: Iterable[int]) -> dict[int, int]:
        """As `_fields`, of the entries at *positions*."""
        pairs = ((at, max(self._fields_of(number, at) for number in term.numbers)) for at in positions)
        return {position: fields for position, fields in pairs if fields >= 0}

    def _fields_of(self, number: int, position: int) -> int:
        """How many fields of the entry at *position* contain the word with this *number*, less 1."""
        start, end = self.posting_starts[number], self.posting_starts[number + 1]
        posting = bisect_left(self.postings, position << TF_BITS, start, end)
        found = posting < end and self.postings[posting] >> TF_BITS == position
        return self.postings[posting] & TF_MASK if found else -1

    def _slices(self, term: Term) -> list[Any]:  # arrays, or views of them
        """The postings of the words that *term* stands for. Those of consecutive words are consecutive."""
        bounds = ((self.posting_starts[words.start], self.posting_starts[words.stop]) for words in term.ranges())
        return [self.postings[start:end] for start, end in bounds if start < end]

    @cached_property
    def _saturation(self) -> list[int]:
        """The score of a word, by the number of fields that contain it, minus 1, and the length of the entry."""
        average = sum(self.lengths) / len(self.lengths) or 1
        norms = [_K1 * (1 - _B + _B * length / average) for length in range(256)]
        return [round(_HALF * count / (count + norm)) for count in range(1, TF_MASK + 2) for norm in norms]


def _blocks_of(numbers: range) -> tuple[int, int]:
    """The half-open range of the blocks that have the words with these *numbers*."""
    return numbers.start // BLOCK, -(-numbers.stop // BLOCK)


def relevance_of(total: Any, most: int) -> Any:  # noqa: ANN401 - a number, or an array of them
    """The relevance of an entry: first by the weight of the words that it contains, *total* of *most*, then by their score."""
    share, score = (total >> SCORE_BITS) * _HALF // most, (total & (1 << SCORE_BITS) - 1) // most
    return (_HALF - share) << RELEVANCE_BITS // 2 | (_HALF - score)


def highlights(text: str, terms: Sequence[Term]) -> list[tuple[int, int]]:
    """The occurrences of *terms* in *text*, as half-open ranges of code points."""
    roots = {stem(term.text) for term in terms if not term.is_prefix}
    beginnings = tuple(term.text for term in terms if term.is_prefix)
    words = [(span, fold(text[slice(*span)])) for span in spans_beginning_with(text, {*roots, *beginnings})]
    return to_ranges(
        sorted(span for span, word in words if word and (stem(word) in roots or word.startswith(beginnings)))
    )
