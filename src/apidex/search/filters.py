"""Filters of a search, and facets: how many hits each value of a filter has. Pure.

FILTERS declares every filter once; the API, its OpenAPI document, the command line, the MCP tools and the page use it. A filter
looks at one value of an entry. The values of all filters together are the entry's FacetKey. Many entries share one, so keys are
numbered, and the cost of filters and facets depends on the number of keys, not of entries.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from heapq import nsmallest
from itertools import chain, compress
from operator import attrgetter
from typing import Any, get_args

import msgspec

from apidex.catalogue.buffers import IntArray
from apidex.catalogue.entry import Cors, Entry
from apidex.errors import QueryError
from apidex.search.text import fold

MAX_FILTER_VALUES = 20
"""The most values of one filter that a request may give."""

MAX_KEY_BYTES = 2**23
"""The largest memory for facet keys. Above it, the filter with most values is left out: it accepts no entry, and its facet is
empty."""

_VALUE_BYTES = 64
"""Memory of a value of a key, without its characters, each of which can take 4 bytes."""

MAX_FACET_VALUES = 100
"""The most values that a facet lists: the most frequent, and those that the request gives."""


_WINDOW, _BATCH = 2**16, 2**10
"""Entries that are compared with filters in one step, and entries of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter: its *name*, the *attribute* of an entry that it compares, and the function from that to its *value*.

    *values* lists all values, if they do not depend on the catalogue. *absent* is the value of entries whose attribute is empty.
    *label* and *value_labels* are for people. *phrases* are words of a query that may stand for a value.
    """

    name: str
    attribute: str
    description: str
    label: str
    value: Callable[[Any], str] = str
    values: tuple[str, ...] = ()
    absent: str = ""
    value_labels: Mapping[str, str] = field(default_factory=dict)
    phrases: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_flag(self) -> bool:
        """Whether it is a yes-or-no question."""
        return self.values == ("true", "false")

    def read(self, value: Any) -> str:  # noqa: ANN401 - attributes have several types
        """Return the value of the filter for the *value* of an entry's attribute."""
        return self.value(value) or self.absent


_DECLARED = (
    Filter(
        name="category",
        attribute="category",
        description="Only APIs of this category, one of those that `categories` lists.",
        label="Category",
    ),
    Filter(
        name="auth",
        attribute="auth",
        description="Only APIs with this authentication, such as none, apiKey or OAuth.",
        label="Authentication",
        absent="none",
        value_labels={"none": "No key", "apiKey": "API key"},
        phrases=dict.fromkeys(
            (
                "free",
                "keyless",
                *(f"{no} {key}" for no in ("no", "without") for key in ("key", "api key", "auth", "authentication")),
            ),
            "none",
        ),
    ),
    Filter(
        name="https",
        attribute="https",
        description="Only APIs that are served over HTTPS, or only those that are not.",
        label="Connection",
        value=lambda https: str(https).lower(),
        values=("true", "false"),
        value_labels={"true": "HTTPS", "false": "HTTP only"},
        phrases={"https": "true", "https only": "true"},
    ),
    Filter(
        name="cors",
        attribute="cors",
        description="Only APIs that web pages of other sites may call (yes), may not call (no), or for which this is unknown.",
        label="From web pages",
        values=get_args(Cors),
        value_labels={"yes": "CORS", "no": "No CORS", "unknown": "CORS unknown"},
        phrases={"cors": "yes", "cors enabled": "yes"},
    ),
    Filter(
        name="provider",
        attribute="provider",
        description="Only APIs of this provider, such as amazonaws.com, where the upstream names providers.",
        label="Provider",
    ),
)
FILTERS = {each.name: each for each in _DECLARED}
_PLACES = {name: place for place, name in enumerate(FILTERS)}

_PHRASES = {tuple(phrase.split()): (each.name, value) for each in _DECLARED for phrase, value in each.phrases.items()}
_LONGEST_PHRASE = max(map(len, _PHRASES))


def read_filters(query: str) -> tuple[dict[str, str], str]:
    """The filters that words of *query* stand for, and the query without these words; no filters if no word would remain."""
    words, folded = query.split(), list(map(fold, query.split()))
    understood, rest, at = dict[str, str](), list[str](), 0
    while at < len(words):
        sizes = range(_LONGEST_PHRASE, 0, -1)
        size = next((size for size in sizes if tuple(folded[at : at + size]) in _PHRASES), 0)
        if size:
            name, value = _PHRASES[tuple(folded[at : at + size])]
            understood.setdefault(name, value)
        else:
            rest.append(words[at])
        at += size or 1
    return (understood, " ".join(rest)) if any(map(fold, rest)) else ({}, query)


FacetKey = tuple[str, ...]
"""The value that an entry has for each of FILTERS, in their order."""


class Facet(msgspec.Struct, frozen=True):
    """A value of a filter, and how many of the hits have it."""

    value: str
    count: int


Filters = Mapping[str, frozenset[str]]
"""The values that each filter in use accepts, as `FacetIndex.parse` returns them."""

_attributes = attrgetter(*(each.attribute for each in _DECLARED))


class FacetIndexBuilder:
    """Numbers the facet keys of entries as they come."""

    def __init__(self) -> None:
        self.key_numbers = array("I")
        self._numbers = _KeyNumbers()

    def add(self, entries: Iterable[Entry]) -> None:
        """Append *entries*."""
        self.key_numbers.extend(map(self._numbers.__getitem__, map(_attributes, entries)))
        while self._numbers.size > MAX_KEY_BYTES:
            renumbered = self._numbers.leave_out_widest()
            self.key_numbers = array("I", map(renumbered.__getitem__, self.key_numbers))
        if len(self._numbers) * _VALUE_BYTES > MAX_KEY_BYTES:
            self._numbers.clear()

    def finish(self) -> "FacetIndex":
        """Return the index of all entries added."""
        return FacetIndex(list(self._numbers.numbers), self.key_numbers)


class _KeyNumbers(dict[tuple[Any, ...], int]):
    """The number of a facet key, by the attributes of an entry; a new key gets the next number."""

    def __init__(self) -> None:
        self.numbers: dict[FacetKey, int] = {}
        self.size = 0
        self._left_out: set[int] = set()

    def __missing__(self, attributes: tuple[Any, ...]) -> int:
        number = self._number(each.read(value) for each, value in zip(_DECLARED, attributes, strict=True))
        self[attributes] = number
        return number

    def leave_out_widest(self) -> IntArray:
        """Remove the filter with most values. Return the new number of each key."""
        self._left_out.add(max(range(len(_DECLARED)), key=lambda place: len({key[place] for key in self.numbers})))
        keys, self.numbers, self.size = self.numbers, {}, 0
        self.clear()
        return array("I", map(self._number, keys))

    def _number(self, values: Iterable[str]) -> int:
        key = tuple("" if place in self._left_out else value for place, value in enumerate(values))
        if key not in self.numbers:
            self.numbers[key] = len(self.numbers)
            self.size += sum(_VALUE_BYTES + 4 * len(value) for value in key)
        return self.numbers[key]


@dataclass(frozen=True, eq=False)
class FacetIndex:
    """The facet keys of a catalogue. Entry *i* has the key `keys[key_numbers[i]]`."""

    keys: list[FacetKey]
    key_numbers: IntArray

    @cached_property
    def key_counts(self) -> Mapping[int, int]:
        """How many entries have the key of each number."""
        return Counter(self.key_numbers)

    @cached_property
    def categories(self) -> dict[str, int]:
        """Every category, in alphabetical order, and how many entries it has."""
        counts, place = Counter[str](), _PLACES["category"]
        for number, count in self.key_counts.items():
            counts[self.keys[number][place]] += count
        del counts[""]
        return {category: counts[category] for category in sorted(counts, key=_alphabetical)}

    def in_catalogue_order(self, name: str) -> list[str]:
        """The values that entries have for the filter *name*, each where it comes first."""
        return list(dict.fromkeys(key[_PLACES[name]] for key in self.keys if key[_PLACES[name]]))

    def values(self, name: str) -> list[str]:
        """The values that the filter *name* allows."""
        return list(chain(*self._spellings[name].values()))

    @cached_property
    def _spellings(self) -> dict[str, dict[str, list[str]]]:
        """The values of each filter, in alphabetical order, by what they are without regard to case."""
        spellings: dict[str, dict[str, list[str]]] = {name: {} for name in FILTERS}
        for each in _DECLARED:
            found = {each.absent, *self.in_catalogue_order(each.name)} - {""}
            for value in each.values or sorted(found, key=_alphabetical):
                spellings[each.name].setdefault(value.casefold(), []).append(value)
        return spellings

    def parse(self, requested: Mapping[str, Sequence[str]]) -> Filters:
        """Return the filters for the *requested* values, in any case. Raises QueryError for a value that no entry can have."""
        return {name: self._accepted(name, values) for name, values in requested.items() if values}

    def _accepted(self, name: str, values: Sequence[str]) -> frozenset[str]:
        known = self._spellings[name]
        for value in values:
            if value.casefold() not in known:
                raise QueryError(name, value, self.values(name))
        return frozenset(chain.from_iterable(known[value.casefold()] for value in values))

    def positions(self, filters: Filters) -> Sequence[int]:
        """Every entry that *filters* accept, in catalogue order."""
        every = range(len(self.key_numbers))
        return list(compress(every, self.are_accepted(every, filters))) if filters else every

    def batches(self, filters: Filters) -> Iterator[Sequence[int]]:
        """As `positions`, in batches that may be empty."""
        for start in range(0, len(self.key_numbers), _WINDOW):
            window = range(start, min(start + _WINDOW, len(self.key_numbers)))
            flags = self.are_accepted(window, filters) if filters else ()
            for begin in range(0, len(window), _BATCH):
                batch = window[begin : begin + _BATCH]
                yield list(compress(batch, flags[begin : begin + _BATCH])) if filters else batch

    def are_accepted(self, positions: Sequence[int], filters: Filters) -> Sequence[bool]:
        """For each of *positions* whether all *filters* accept the entry there."""
        numbers = [self.key_numbers[position] for position in positions]
        accepted = {number for number in set(numbers) if not self.rejecting_filters(filters, number)}
        return [number in accepted for number in numbers]

    def rejecting_filters(self, filters: Filters, number: int) -> list[str]:
        """The filters that reject the key of this *number*."""
        key = self.keys[number]
        return [name for name, values in filters.items() if key[_PLACES[name]] not in values]

    def facets(self, positions: Sequence[int], filters: Filters) -> dict[str, list[Facet]]:
        """The facets of the hits at *positions*.

        A key that all filters accept counts in every facet, one that a single filter rejects in that filter's own.
        """
        found: dict[str, dict[str, int]] = {name: dict.fromkeys(filters.get(name, ()), 0) for name in FILTERS}
        for number, count in self._counts(positions).items():
            rejecting = self.rejecting_filters(filters, number)
            for name in (rejecting or FILTERS) if len(rejecting) < 2 else ():
                if value := self.keys[number][_PLACES[name]]:
                    found[name][value] = found[name].get(value, 0) + count
        return {name: most_frequent(values, filters.get(name, ())) for name, values in found.items()}

    def _counts(self, positions: Sequence[int]) -> Mapping[int, int]:
        """How many of the entries at *positions* have the key of each number."""
        if len(positions) == len(self.key_numbers):
            return self.key_counts
        return Counter([self.key_numbers[position] for position in positions])


def most_frequent(counts: Mapping[str, int], always: Iterable[str]) -> list[Facet]:
    """The most frequent values first; at most MAX_FACET_VALUES, and *always* those."""
    kept = set(counts)
    if len(kept) > MAX_FACET_VALUES:
        kept = {*nsmallest(MAX_FACET_VALUES, counts, key=lambda value: (-counts[value], value)), *always}
    return [
        Facet(value, counts[value]) for value in sorted(kept, key=lambda value: (-counts[value], *_alphabetical(value)))
    ]


@lru_cache(1024)
def _alphabetical(value: str) -> tuple[str, str]:
    return fold(value), value
