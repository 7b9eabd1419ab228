"""Filters of a search, and facets: how many hits each value of a filter has. Pure.

A filter looks at one value of an entry. The values of all filters together are the entry's FacetKey. Many entries share one, so
that keys are numbered, and filters and facets cost as much as there are keys, not entries.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import msgspec

from apidex.catalogue.buffers import IntArray
from apidex.catalogue.entry import Entry
from apidex.errors import QueryError
from apidex.search.text import fold

NONE = "none"
"""The value of the filter *auth* for entries without authentication, which leave it empty."""


class FacetKey(NamedTuple):
    """The value that an entry has for each filter."""

    category: str
    auth: str
    https: str
    cors: str


ENUM_FILTERS = {"https": ("true", "false"), "cors": ("yes", "no", "unknown")}
"""Filters whose values are the same for every catalogue."""


class Facet(msgspec.Struct, frozen=True):
    """A value of a filter, and how many of the hits have it."""

    value: str
    count: int


Filters = Mapping[str, frozenset[str]]
"""The values that each filter in use accepts, as `FacetIndex.parse` returns them."""

_fields = attrgetter("category", "auth", "https", "cors")


class FacetIndexBuilder:
    """Numbers the facet keys of entries as they come."""

    def __init__(self) -> None:
        self.key_numbers = array("I")
        self._numbers = _KeyNumbers()

    def add(self, entries: Iterable[Entry]) -> None:
        """Append *entries*."""
        self.key_numbers.extend(map(self._numbers.__getitem__, map(_fields, entries)))

    def finish(self) -> "FacetIndex":
        """Return the index of all entries added."""
        return FacetIndex(list(self._numbers.numbers), self.key_numbers)


class _KeyNumbers(dict[tuple[str, str, bool, str], int]):
    """The number of a facet key, by the fields of an entry; a new key gets the next number."""

    def __init__(self) -> None:
        self.numbers: dict[FacetKey, int] = {}

    def __missing__(self, fields: tuple[str, str, bool, str]) -> int:
        category, auth, https, cors = fields
        key = FacetKey(category, auth or NONE, "true" if https else "false", cors)
        self[fields] = self.numbers.setdefault(key, len(self.numbers))
        return self[fields]


@dataclass(frozen=True, eq=False)
class FacetIndex:
    """The facet keys of a catalogue. Entry *i* has the key `keys[key_numbers[i]]`."""

    keys: list[FacetKey]
    key_numbers: IntArray

    @cached_property
    def categories(self) -> dict[str, int]:
        """Every category, in alphabetical order, and how many entries it has."""
        counts = Counter[str]()
        for number, count in Counter(self.key_numbers).items():
            counts[self.keys[number].category] += count
        return {category: counts[category] for category in sorted(counts, key=_alphabetical)}

    def values(self, name: str) -> list[str]:
        """The values that the filter *name* allows."""
        if name in ENUM_FILTERS:
            return list(ENUM_FILTERS[name])
        always = {NONE} if name == "auth" else set()
        return sorted(always | {getattr(key, name) for key in self.keys}, key=_alphabetical)

    def parse(self, requested: Mapping[str, Sequence[str]]) -> Filters:
        """Return the filters for the *requested* values, in any case. Raises QueryError for a value that no entry can have."""
        return {name: self._accepted(name, values) for name, values in requested.items() if values}

    def _accepted(self, name: str, values: Sequence[str]) -> frozenset[str]:
        known: dict[str, set[str]] = {}
        for value in self.values(name):
            known.setdefault(value.casefold(), set()).add(value)
        for value in values:
            if value.casefold() not in known:
                raise QueryError(name, value, self.values(name))
        return frozenset(chain.from_iterable(known[value.casefold()] for value in values))

    def positions(self, filters: Filters) -> Sequence[int]:
        """Every entry that *filters* accept, in catalogue order."""
        if not filters:
            return range(len(self.key_numbers))
        accepted = self.accepted_keys(filters, range(len(self.keys)))
        return [position for position, number in enumerate(self.key_numbers) if number in accepted]

    def accepted_keys(self, filters: Filters, numbers: Iterable[int]) -> set[int]:
        """The *numbers* of those keys that all *filters* accept."""
        return {number for number in numbers if not self.rejecting_filters(filters, number)}

    def rejecting_filters(self, filters: Filters, number: int) -> list[str]:
        """The filters that reject the key of this *number*."""
        key = self.keys[number]
        return [name for name, values in filters.items() if getattr(key, name) not in values]

    def facets(self, counts: Mapping[int, int], filters: Filters) -> dict[str, list[Facet]]:
        """The facets of hits, of which *counts* says how many have the key of each number.

        A key that all filters accept counts in every facet, one that a single filter rejects in that filter's own.
        """
        found = {name: Counter(dict.fromkeys(filters.get(name, ()), 0)) for name in FacetKey._fields}
        for number, count in counts.items():
            rejecting = self.rejecting_filters(filters, number)
            for name in (rejecting or FacetKey._fields) if len(rejecting) < 2 else ():
                found[name][getattr(self.keys[number], name)] += count
        return {name: _most_frequent_first(values) for name, values in found.items()}


def _most_frequent_first(counts: Mapping[str, int]) -> list[Facet]:
    return [
        Facet(value, counts[value])
        for value in sorted(counts, key=lambda value: (-counts[value], *_alphabetical(value)))
    ]


def _alphabetical(value: str) -> tuple[str, str]:
    return fold(value), value
