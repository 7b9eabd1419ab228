"""Searching as people type: hits ranked, filters and their counts, and corrections. Pure, and without an await.

Names are compared as `folding` has it. All folded names stand in one byte string, as in `index`, and beside it a flag for each
byte that begins a word. What filters look at is one number for each entry, its *kind*: entries of the same category,
authentication, HTTPS and CORS are of one kind, and there are few of those, so that filters and facets are a matter of kinds and
not of entries. Nothing here is a Python object for each entry.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate, chain, groupby, islice
from operator import attrgetter
from typing import NamedTuple

import msgspec
from rapidfuzz import process
from rapidfuzz.distance import OSA
from stringzilla import Str

from apidex.catalogue.catalogue import Bytes, Catalogue, Entry, Numbers
from apidex.errors import QueryError
from apidex.search.text import extend, flat, fold, highlights, pieces, spans

NONE = "none"
"""How a filter calls the authentication of an API that wants none; entries leave it empty."""


# --- what there is to say of a search


class Rank(StrEnum):
    """How well a name fits, best first. `words`: each word that was asked for begins a word of the name, in any order."""

    EXACT = "exact"
    PREFIX = "prefix"
    WORD = "word"
    INSIDE = "inside"
    WORDS = "words"


class Sort(StrEnum):
    """Best first, by folded name, or as the upstream lists them."""

    RELEVANCE = "relevance"
    NAME = "name"
    CATALOGUE = "catalogue"


class Kind(NamedTuple):
    """What filters look at, in the words of the filters."""

    category: str
    auth: str
    https: str
    cors: str


FIXED = {"https": ("true", "false"), "cors": ("yes", "no", "unknown")}
"""What filters may say, whatever the catalogue holds."""


class Facet(msgspec.Struct, frozen=True):
    """A value of a filter, and how many of the hits have it."""

    value: str
    count: int


Filters = Mapping[str, frozenset[str]]
"""For each filter that is used, the values that are let through: as `Search.filters` gives them."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry's position in the catalogue, how well its name fits, and where: half-open ranges of its code points."""

    position: int
    rank: Rank | None
    highlights: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of hits out of *total*. Each facet counts what there would be were its own filter lifted."""

    total: int
    hits: list[Hit]
    facets: dict[str, list[Facet]]


# --- searching

_RANKS = list(Rank)
_EXACT, _PREFIX, _WORD, _INSIDE, _WORDS = range(len(Rank))
_POSITION_BITS, _LENGTH_BITS = 40, 20
_POSITION = (1 << _POSITION_BITS) - 1
"""A hit is one number while it is sorted: rank, length of the folded name in bytes, position."""


VOCABULARY_LIMIT = 20_000
"""Corrections are made for catalogues of at most this many entries: all that a name may be called is too much for larger ones."""

MOST_CORRECTED = 8
"""A query of more words is not corrected: looking for the nearest of each takes a millisecond or so."""

SHORTEST_CORRECTED, LONG = 4, 8
"""Shorter queries than the first, in folded characters, are not corrected; two letters may be wrong from the second on."""

_MOST_WORDS = 4


class Draft:
    """What `Search.of` takes, in the making: see there."""

    def __init__(self) -> None:
        self.text, self.begins, self.starts, self.of_kind = bytearray(), bytearray(), array("Q"), array("I")
        self._kinds = _Kinds()

    def add(self, entries: Sequence[Entry]) -> None:
        """Fold the names of *entries*, behind those that are there, and note their kinds."""
        lines, flags, sizes = flat([entry.name for entry in entries])
        self.starts.extend(accumulate(sizes[:-1], initial=len(self.text)))
        self.text += lines
        self.begins += flags
        self.of_kind.extend(map(self._kinds.__getitem__, map(_said_of_kind, entries)))

    def closed(self) -> "tuple[bytearray, bytearray, array[int], array[int], list[Kind]]":
        """The text, what begins in it, the starts, the kind of each entry, and the kinds. Nothing can be added then."""
        self.starts.append(len(self.text))
        self.text += b"\n"
        return self.text, self.begins, self.starts, self.of_kind, list(self._kinds.numbers)


_said_of_kind = attrgetter("category", "auth", "https", "cors")


class _Kinds(dict[tuple[str, str, bool, str], int]):
    """The number of a kind, by what entries say of it: worked out when one is first met."""

    def __init__(self) -> None:
        self.numbers: dict[Kind, int] = {}

    def __missing__(self, said: tuple[str, str, bool, str]) -> int:
        category, auth, https, cors = said
        kind = Kind(category, auth or NONE, "true" if https else "false", cors)
        self[said] = self.numbers.setdefault(kind, len(self.numbers))
        return self[said]


@dataclass(frozen=True, eq=False)
class Search:
    """A catalogue, ready to be searched by people.

    The folded name of entry *i* is `text[starts[i] + 1:starts[i + 1]]`, and `begins` is not 0 where a word does. Entry *i* is of
    kind `kinds[of_kind[i]]`. *vocabulary* is what corrections are made of: what people may mean, folded, and how it is spelled.
    """

    catalogue: Catalogue
    text: Str
    begins: Bytes
    starts: Numbers
    kinds: list[Kind]
    of_kind: Numbers
    vocabulary: dict[str, str]

    @classmethod
    def build(cls, catalogue: Catalogue) -> "Search":
        """Fold every name, and note every kind."""
        draft = Draft()
        for entries in catalogue.batches():
            draft.add(entries)
        return cls.of(catalogue, *draft.closed())

    @classmethod
    def of(
        cls, catalogue: Catalogue, text: Bytes, begins: Bytes, starts: Numbers, of_kind: Numbers, kinds: list[Kind]
    ) -> "Search":
        """What a Draft of *catalogue* came to, here or elsewhere, ready to be searched."""
        vocabulary = dict[str, str]()
        if len(catalogue) <= VOCABULARY_LIMIT:
            vocabulary.update(chain.from_iterable(map(_meanings, catalogue.each_name())))
        return cls(catalogue, Str(text), begins, starts, kinds, of_kind, vocabulary)

    @property
    def size(self) -> int:
        """Bytes that it takes, besides the catalogue and a little."""
        return 2 * len(self.begins) + len(self.catalogue) * 12

    def search(
        self, query: str, filters: Filters, *, sort: Sort = Sort.RELEVANCE, offset: int = 0, limit: int | None = None
    ) -> Found:
        """The hits for *query* that *filters* let through, from *offset* on, at most *limit*; all entries if it is blank."""
        keys = self._keys(query)
        everything = isinstance(keys, range)
        counts = Counter(self.of_kind if everything else [self.of_kind[key & _POSITION] for key in keys])
        allowed = {number for number in counts if not self._failing(filters, number)}
        if filters:
            keys = [key for key in keys if self.of_kind[key & _POSITION] in allowed]
        page = islice(self._ordered(keys, sort), offset, None if limit is None else offset + limit)
        hits = [self._hit(query, key) for key in page]
        return Found(len(keys), hits, self._facets(counts, filters))

    def positions(self, filters: Filters) -> Sequence[int]:
        """Every entry that *filters* let through, in the catalogue's order."""
        if not filters:
            return range(len(self.catalogue))
        allowed = {number for number in range(len(self.kinds)) if not self._failing(filters, number)}
        return [position for position, kind in enumerate(self.of_kind) if kind in allowed]

    def suggest(self, query: str, limit: int) -> list[Hit]:
        """The best hits, each with another name; none for a blank query."""
        if not fold(query):
            return []
        best: dict[str, int] = {}
        for key in self._ordered(self._keys(query), Sort.RELEVANCE):
            best.setdefault(self._name(key & _POSITION), key)
            if len(best) == limit:
                break
        return [self._hit(query, key) for key in best.values()]

    # --- names

    def _keys(self, query: str) -> Sequence[int]:
        """A number for each hit, by which they can be sorted."""
        needle = fold(query).encode()
        if not needle:
            return [] if query.strip() else range(len(self.catalogue))
        keys = {position: self._key(rank, position) for position, rank in self._ranked(needle)}
        asked = pieces(query)
        if len(asked) > 1 or fold(query) != asked[0]:
            for position in self._with_all(asked):
                keys.setdefault(position, self._key(_WORDS, position))
        return list(keys.values())

    def _ranked(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Every position whose folded name contains *needle*, with its rank's number."""
        find, starts = self.text.find, self.starts
        at = find(needle)
        while at >= 0:
            position = bisect_right(starts, at) - 1
            yield position, self._place(position, needle, at)[0]
            at = find(needle, starts[position + 1])

    def _place(self, position: int, needle: bytes, at: int) -> tuple[int, int]:
        """The number of the best rank that *needle* has in a name, where it stands at *at* first, and the place for that."""
        begin, end = self.starts[position] + 1, self.starts[position + 1]
        if at == begin:
            return (_EXACT if end - begin == len(needle) else _PREFIX), at
        place = at
        while place >= 0:
            if self.begins[place]:
                return _WORD, place
            place = self.text.find(needle, place + 1, end)
        return _INSIDE, at

    def _with_all(self, pieces: Sequence[str]) -> Iterator[int]:
        """Every position in whose name each of *pieces* begins a word."""
        rarest, *others = sorted((piece.encode() for piece in pieces), key=self.text.count)
        for position, rank in self._ranked(rarest):
            if rank <= _WORD and all(self._begins_word(position, piece) is not None for piece in others):
                yield position

    def _begins_word(self, position: int, piece: bytes) -> int | None:
        """Where in the text a word of a name begins with *piece*, if one does."""
        at = self.text.find(piece, self.starts[position], self.starts[position + 1])
        rank, place = self._place(position, piece, at) if at >= 0 else (_INSIDE, at)
        return place if rank <= _WORD else None

    def _key(self, rank: int, position: int) -> int:
        length = self.starts[position + 1] - self.starts[position]
        return (rank << _LENGTH_BITS | length) << _POSITION_BITS | position

    def _ordered(self, keys: Sequence[int], sort: Sort) -> Iterator[int]:
        if isinstance(keys, range) and sort is not Sort.NAME:
            return iter(keys)
        if sort is Sort.CATALOGUE:
            return iter(sorted(keys, key=_POSITION.__and__))
        if sort is Sort.NAME:
            return iter(sorted(sorted(keys, key=_POSITION.__and__), key=self._folded))
        groups = groupby(sorted(keys), key=lambda key: key >> _POSITION_BITS)
        return chain.from_iterable(sorted(group, key=self._folded) if rank else group for rank, group in groups)

    def _folded(self, key: int) -> bytes:
        position = key & _POSITION
        return bytes(self.text[self.starts[position] + 1 : self.starts[position + 1]])

    def _name(self, position: int) -> str:
        return self.catalogue[position].name

    def _hit(self, query: str, key: int) -> Hit:
        position = key & _POSITION
        needle = fold(query).encode()
        if not needle:
            return Hit(position, None, [])
        rank, places = _RANKS[key >> _POSITION_BITS + _LENGTH_BITS], [needle]
        if rank is Rank.WORDS:
            places = [piece.encode() for piece in pieces(query)]
        return Hit(position, rank, self._highlights(position, places))

    def _highlights(self, position: int, needles: Iterable[bytes]) -> list[tuple[int, int]]:
        """Where the best places of *needles* in a name are, as ranges of its code points."""
        begin, end = self.starts[position] + 1, self.starts[position + 1]
        name, folded = self._name(position), self._folded(position)
        marked: set[int] = set()
        for needle in needles:
            _, at = self._place(position, needle, self.text.find(needle, begin, end))
            start = len(folded[: at - begin].decode())
            for low, high in highlights(name, start, start + len(needle.decode())):
                marked.update(range(low, high))
        ranges: list[tuple[int, int]] = []
        for at in sorted(marked):
            extend(ranges, at)
        return ranges

    # --- filters

    @cached_property
    def categories(self) -> dict[str, int]:
        """Every category, in alphabetical order, and how many entries it has."""
        counts = Counter[str]()
        for number, count in Counter(self.of_kind).items():
            counts[self.kinds[number].category] += count
        return {category: counts[category] for category in sorted(counts, key=_alphabetical)}

    def filters(self, asked: Mapping[str, Sequence[str]]) -> Filters:
        """The filters that *asked* means; case does not matter. Raises QueryError for a value that no entry can have."""
        return {name: self._allowed(name, values) for name, values in asked.items() if values}

    def _allowed(self, name: str, values: Sequence[str]) -> frozenset[str]:
        known: dict[str, set[str]] = {}
        for value in self.values(name):
            known.setdefault(value.casefold(), set()).add(value)
        for value in values:
            if value.casefold() not in known:
                raise QueryError(name, value, self.values(name))
        return frozenset(chain.from_iterable(known[value.casefold()] for value in values))

    def values(self, name: str) -> list[str]:
        """What the filter *name* may say."""
        if name in FIXED:
            return list(FIXED[name])
        always = {NONE} if name == "auth" else set()
        return sorted(always | {getattr(kind, name) for kind in self.kinds}, key=_alphabetical)

    def _failing(self, filters: Filters, number: int) -> list[str]:
        """The filters that do not let a kind through."""
        kind = self.kinds[number]
        return [name for name, values in filters.items() if getattr(kind, name) not in values]

    def _facets(self, counts: Mapping[int, int], filters: Filters) -> dict[str, list[Facet]]:
        """What *counts* of each kind come to.

        A kind that all filters let through counts in every facet, one that fails a single filter in that one's own.
        """
        found = {name: Counter(dict.fromkeys(filters.get(name, ()), 0)) for name in Kind._fields}
        for number, count in counts.items():
            failing = self._failing(filters, number)
            for name in (failing or Kind._fields) if len(failing) < 2 else ():
                found[name][getattr(self.kinds[number], name)] += count
        return {name: _facet(values) for name, values in found.items()}

    # --- corrections

    def correct(self, query: str) -> str | None:
        """What may have been meant by a *query* that finds nothing: it finds something, and differs in one letter, or two."""
        needle = fold(query)
        meant = self._nearest(needle)
        if meant is not None:
            return meant
        asked = pieces(query)
        if len(asked) > MOST_CORRECTED:
            return None
        mended = [piece if self._keys(piece) else self._nearest(piece) for piece in asked] if len(asked) > 1 else [None]
        words_meant = " ".join(filter(None, mended))
        return words_meant if None not in mended and self._keys(words_meant) else None

    def _nearest(self, needle: str) -> str | None:
        """The nearest words in the vocabulary; of equally near ones those that begin alike, and then those that find most."""
        if len(needle) < SHORTEST_CORRECTED:
            return None
        far = 1 if len(needle) < LONG else 2
        near = process.extract(needle, self.vocabulary.keys(), scorer=OSA.distance, score_cutoff=far, limit=None)
        if not near:
            return None
        closest = [meaning for meaning, distance, _ in near if distance == near[0][1]]
        alike = [meaning for meaning in closest if meaning[0] == needle[0]] or closest
        return self.vocabulary[max(alike, key=lambda meaning: (len(self._keys(meaning)), meaning))]


def _meanings(name: str) -> Iterator[tuple[str, str]]:
    """What people may call *name*: a few of its words in a row, or all of it; folded, and in lower case as it is spelled."""
    found = spans(name)
    for first, (start, _) in enumerate(found):
        for _, end in (*found[first : first + _MOST_WORDS], found[-1]):
            yield fold(name[start:end]), name[start:end].lower()


def _facet(values: Mapping[str, int]) -> list[Facet]:
    """The most frequent first."""
    return [
        Facet(value, values[value])
        for value in sorted(values, key=lambda value: (-values[value], *_alphabetical(value)))
    ]


def _alphabetical(value: str) -> tuple[str, str]:
    return fold(value), value
