"""An inverted index of the words of names, descriptions, categories and providers. Pure.

Relevance is BM25 (Robertson and Zaragoza, 2009), where the frequency of a word in an entry is the number of fields that contain
it. The index is a few flat arrays, which another process can share. numpy is imported only where there are many words.
"""

import dataclasses
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from itertools import accumulate, chain, groupby, pairwise, repeat
from operator import itemgetter, or_, sub
from typing import Any

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.entry import Entry
from apidex.search.text import fold, query_terms, separate_spans, to_ranges, word_spans
from apidex.search.words import END, cut, domains, forms, host_of, stem, with_parts

MAX_TERMS = 16
"""The largest number of words of a query that are searched."""

MIN_SHARE = Fraction(2, 5)
"""The part of a query, by weight, that an entry must contain. Rare words have more weight."""

MOST_POSTINGS = 2**18
"""The rarest words of a query are used, up to so many postings in total, but at least one word. More would take too long."""

MIN_PREFIX = 3
"""A word with so many letters that no entry contains stands for all words that begin with it."""

RELEVANCE_BITS = 20
"""Relevance has so many bits; 0 is the best."""

_K1, _B = 1.2, 0.75
"""The usual constants of BM25."""

_TF_BITS = 2
_TF_MASK = (1 << _TF_BITS) - 1
_POSITION_BITS = 32 - _TF_BITS
"""A posting is the position of an entry and, in the last bits, how many of its four fields have the word, less 1."""

_DESCRIPTION = 1
"""The number of the field whose word count is the length of an entry."""

_WEIGHT_UNIT = 1 / 1000
_SCORE_BITS = 28
_HALF = (1 << RELEVANCE_BITS // 2) - 1

_LINE_FEED = 10
_LETTERS = [0 if code == _LINE_FEED else 1 << (code & 31) for code in range(256)]
"""The bit for each byte of a word: each letter has its own, which other bytes share."""

_BLOCK = 2**20
"""Words whose letters are read in one step."""

_DOMAIN = "."
_AFTER_DOMAINS = b"/"
"""Domains begin with it, and stand before all other words, which begin with letters and digits."""

_MANY_WORDS, _MANY_POSTINGS = 2**17, 2**11
"""Above so many words of texts, numpy builds the index; above so many postings, it searches that index."""


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

    def complete(self) -> "RelevantEntries":
        """The entries that contain all words of the query that are used."""
        pairs = zip(self.positions, self.relevance, strict=True)
        kept = [(position, relevance) for position, relevance in pairs if not relevance >> RELEVANCE_BITS // 2]
        return RelevantEntries([position for position, _ in kept], [relevance for _, relevance in kept])


class DescriptionIndexBuilder:
    """Collects the words of entries: a stream of numbers for each field, with 0 after each text."""

    def __init__(self) -> None:
        self._numbers = _Numbers({END: 0})
        self._fields = [array("I") for _ in range(1 << _TF_BITS)]

    def add(self, entries: Sequence[Entry]) -> None:
        """Append *entries*."""
        words_of_fields = (
            cut([with_parts(entry.name) for entry in entries]),
            cut([entry.description for entry in entries]),
            cut([f"{entry.category} {entry.provider}" for entry in entries]),
            _domains(entries),
        )
        for stream, words in zip(self._fields, words_of_fields, strict=True):
            stream.extend(map(self._numbers.__getitem__, words))

    def finish(self) -> "DescriptionIndex":
        """Return the index of all entries added. The builder must not be used again."""
        numbers = self._numbers
        del self._numbers
        terms = sorted(numbers)[1:]  # without END, which is the first word
        ranks = array("I", bytes(4 * len(numbers)))
        for rank, number in enumerate(map(numbers.__getitem__, terms)):
            ranks[number] = rank
        del numbers
        are_many = sum(map(len, self._fields)) >= _MANY_WORDS
        postings = (_many_postings if are_many else _postings)(self._fields, ranks)
        sizes = map(int.__add__, map(len, terms), repeat(1))
        term_starts = array("I", accumulate(sizes, initial=0))
        text = b"\n".join([*terms, b""])
        domains = bisect_left(terms, _AFTER_DOMAINS)
        letters = _letters(text, term_starts[domains:]) if are_many else array("I")
        return DescriptionIndex(text, term_starts, *postings, letters)


class _Numbers(dict[bytes, int]):
    """The number of a word; a new one gets the next."""

    def __missing__(self, word: bytes) -> int:
        self[word] = number = len(self)
        return number


def _domains(entries: Sequence[Entry]) -> Iterator[bytes]:
    for entry in entries:
        found = domains(entry.link)
        if entry.provider:
            found = list(dict.fromkeys((*found, *domains(entry.provider))))
        for domain in found:
            yield f"{_DOMAIN}{domain}".encode()
        yield END


def _postings(streams: Sequence[IntArray], ranks: IntArray) -> tuple[IntArray, IntArray, bytearray]:
    """Where the postings of each word begin; all postings, by word and position; and the number of words of each description."""
    keys, lengths = set[int](), bytearray()
    for field, numbers in enumerate(streams):
        ends = [place for place, number in enumerate(numbers) if not number]
        sizes = [end - start - 1 for start, end in pairwise([-1, *ends])]
        if field == _DESCRIPTION:
            lengths = bytearray(min(size, 255) for size in sizes)
        positions = chain.from_iterable(
            repeat(position << _TF_BITS | field, size) for position, size in enumerate(sizes)
        )
        keys.update(map(_join, map(ranks.__getitem__, filter(None, numbers)), positions))
    postings, counts = array("I"), array("I", bytes(4 * len(ranks)))
    for key, group in groupby(sorted(keys), key=lambda key: key >> _TF_BITS):
        counts[key >> _POSITION_BITS] += 1
        postings.append((key << _TF_BITS & 0xFFFFFFFF) | len(list(group)) - 1)
    return array("I", accumulate(counts[:-1], initial=0)), postings, lengths


def _join(rank: int, position_and_field: int) -> int:
    return rank << _POSITION_BITS + _TF_BITS | position_and_field


def _many_postings(streams: Sequence[IntArray], ranks: IntArray) -> tuple[IntArray, IntArray, ByteBuffer]:
    """As `_postings`, by sorting numbers whose bits are the word's rank, the position and the field."""
    import numpy as np

    parts, by_number = [], np.frombuffer(ranks, np.uint32)
    for field, stream in enumerate(streams):
        numbers = np.frombuffer(stream, np.uint32)
        is_end = numbers == 0
        if field == _DESCRIPTION:
            lengths = np.minimum(np.diff(np.flatnonzero(is_end), prepend=-1) - 1, 255)
        positions = np.cumsum(is_end, dtype=np.uint32)[~is_end]
        keys = by_number[numbers[~is_end]].astype(np.uint64) << np.uint64(_POSITION_BITS)
        parts.append((keys | positions) << np.uint64(_TF_BITS) | np.uint64(field))
    keys = np.concatenate(parts)
    del parts
    keys.sort()
    keys = keys[np.diff(keys, prepend=keys[:1] + 1) != 0] >> np.uint64(_TF_BITS)
    first = np.flatnonzero(np.diff(keys, prepend=keys[:1] + 1))
    fields_less_one = np.diff(first, append=len(keys)).astype(np.uint32) - 1
    keys = keys[first]
    starts = np.searchsorted(keys >> np.uint64(_POSITION_BITS), np.arange(len(ranks), dtype=np.uint64)).astype(
        np.uint32
    )
    postings = keys.astype(np.uint32) << np.uint32(_TF_BITS) | fields_less_one
    return starts.data, postings.data, lengths.astype(np.uint8).data


def _letters(terms: bytes, starts: IntArray) -> IntArray:
    """A number for each word in which a bit is set for each letter that it has."""
    import numpy as np

    text, bits, begin = np.frombuffer(terms, np.uint8), np.array(_LETTERS, np.uint32), np.frombuffer(starts, np.uint32)
    blocks = [begin[at : at + _BLOCK + 1] for at in range(0, len(begin) - 1, _BLOCK)]
    parts = [np.bitwise_or.reduceat(bits[text[each[0] : each[-1]]], each[:-1] - each[0]) for each in blocks]
    return np.concatenate(parts).data


@dataclass(frozen=True, eq=False)
class DescriptionIndex:
    """The inverted index of a catalogue.

    Word *i* is `terms[term_starts[i] : term_starts[i + 1] - 1]`, in the order of bytes; domains of links are words, too. Its
    postings are `postings[posting_starts[i] : posting_starts[i + 1]]`. *lengths* has the number of words of each description, 255
    at most. *letters* has the letters of each word that is not a domain, if there are many words.
    """

    terms: ByteBuffer
    term_starts: IntArray
    posting_starts: IntArray
    postings: IntArray
    lengths: ByteBuffer
    letters: IntArray

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
        hosts = {chunk: _DOMAIN + host for chunk in chunks if (host := host_of(chunk))}
        hosts = {chunk: host for chunk, host in hosts.items() if self._number(host) is not None}
        words = (
            query_terms(" ".join(chunk for chunk in chunks if chunk not in hosts)) if len(hosts) < len(chunks) else []
        )
        named = [Term(host, [self._number(host) or 0]) for host in hosts.values()]
        if named and words in (["api"], ["apis"]):
            words = []
        return [*named, *({stem(word): self._term(word) for word in reversed(words)}.values())][:MAX_TERMS]

    def _term(self, word: str) -> Term:
        begin = stem(word).encode()
        start, end = self._at(begin), self._at(begin + b"\xff")
        found = [number for form in forms(word) if (number := self._number(form, start, end)) is not None]
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
            numbers = self._with_like_letters(text, distance)
            return {self._word(number).decode(): postings[number + 1] - postings[number] for number in numbers}
        first = self._at(_AFTER_DOMAINS)
        words = bytes(self.terms[starts[first] :]).decode().split("\n")
        return dict(zip(words, map(sub, postings[first + 1 :], postings[first:]), strict=False))

    def _with_like_letters(self, text: str, distance: int) -> list[int]:
        """The words of about the same length as *text* whose letters differ by no more than *distance* changes can cause."""
        import numpy as np

        own, starts = text.encode(), np.frombuffer(self.term_starts, np.uint32)
        letters = np.uint32(reduce(or_, map(_LETTERS.__getitem__, own)))
        numbers = np.flatnonzero(np.bitwise_count(np.frombuffer(self.letters, np.uint32) ^ letters) <= 2 * distance)
        numbers += len(starts) - 1 - len(self.letters)
        sizes = starts[numbers + 1] - starts[numbers] - 1
        widest = distance if text.isascii() else 4 * distance
        return numbers[np.abs(sizes.astype(np.int64) - len(own)) <= widest].tolist()  # type: ignore[no-any-return]

    def first_position(self, word: str) -> int:
        """The position of the first entry that contains *word*, which is in the index."""
        return self.postings[self.posting_starts[self._at(word.encode())]] >> _TF_BITS

    # --- the entries that have them

    def find(self, terms: Sequence[Term], named: Sequence[int] | None = None) -> RelevantEntries:
        """The entries that contain enough of *terms* (see MIN_SHARE), in catalogue order; none if no entry contains one of them.

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
            counted.append((term, self._weight(size)))
            room -= size
        most = sum(weight for _, weight in counted)
        least = math.ceil(MIN_SHARE * most)
        if len(self.letters) and MOST_POSTINGS - room >= _MANY_POSTINGS:
            return self._many(counted, least, most, named)
        return self._few(counted, least, most)

    def _postings_of(self, term: Term) -> int:
        return sum(self.posting_starts[number + 1] - self.posting_starts[number] for number in term.numbers)

    def _weight(self, entries: int) -> int:
        """The inverse document frequency of a word that so many *entries* contain."""
        return math.ceil(math.log1p((len(self.lengths) - entries + 0.5) / (entries + 0.5)) / _WEIGHT_UNIT)

    def _few(self, weighed: Sequence[tuple[Term, int]], least: int, most: int) -> RelevantEntries:
        sums = dict[int, int]()
        for term, weight in weighed:
            counts = dict[int, int]()
            for posting in chain.from_iterable(self._slices(self.postings, term)):
                position, count = posting >> _TF_BITS, posting & _TF_MASK
                counts[position] = max(count, counts.get(position, 0))
            for position, count in counts.items():
                score = weight * self._saturation[count << 8 | self.lengths[position]]
                sums[position] = sums.get(position, 0) + (weight << _SCORE_BITS) + score
        positions = sorted(position for position, total in sums.items() if total >> _SCORE_BITS >= least)
        return RelevantEntries(positions, [_relevance(sums[position], most) for position in positions])

    def _many(
        self, weighed: Sequence[tuple[Term, int]], least: int, most: int, named: Sequence[int] | None
    ) -> RelevantEntries:
        """As `_few`, by numpy."""
        import numpy as np

        postings, lengths = np.frombuffer(self.postings, np.uint32), np.frombuffer(self.lengths, np.uint8)
        saturation, sums = np.array(self._saturation), np.zeros(len(lengths) if len(weighed) > 1 else 0, np.int64)
        for term, weight in weighed:
            slices = self._slices(postings, term)
            own = slices[0] if len(slices) == 1 and not term.is_prefix else np.sort(np.concatenate(slices))
            positions = own >> np.uint32(_TF_BITS)
            if named is not None:
                others = ~np.asarray(named, np.bool_)[positions]
                own, positions = own[others], positions[others]
            if len(slices) > 1 or term.is_prefix:  # of several words, the one in most fields counts
                last = np.diff(positions, append=positions[-1:] + np.uint32(1)) != 0
                own, positions = own[last], positions[last]
            scores = weight * saturation[(own & np.uint32(_TF_MASK)) << np.uint32(8) | lengths[positions]]
            scores += weight << _SCORE_BITS
            if len(weighed) == 1:
                return RelevantEntries(positions, _relevance(scores, most))  # type: ignore[arg-type] # as below
            sums[positions] += scores
        found = np.flatnonzero(sums >= least << _SCORE_BITS)
        return RelevantEntries(found, _relevance(sums[found], most))  # type: ignore[arg-type] # arrays are sequences enough

    def _slices(self, postings: Any, term: Term) -> list[Any]:  # noqa: ANN401 - a buffer, or an array of numpy
        """The *postings* of the words that *term* stands for. Those of consecutive words are consecutive."""
        numbers, starts = term.numbers, self.posting_starts
        ranges = [numbers] if isinstance(numbers, range) else [range(number, number + 1) for number in numbers]
        return [postings[starts[each.start] : starts[each.stop]] for each in ranges]

    @cached_property
    def _saturation(self) -> list[int]:
        """The score of a word, by the number of fields that contain it, minus 1, and the length of the entry."""
        average = sum(self.lengths) / len(self.lengths) or 1
        norms = [_K1 * (1 - _B + _B * length / average) for length in range(256)]
        return [round(_HALF * count / (count + norm)) for count in range(1, _TF_MASK + 2) for norm in norms]


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
