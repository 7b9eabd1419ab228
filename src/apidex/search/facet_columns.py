"""Filters and facets of a large catalogue, in arrays, with the same results as those of `filters`. Pure.

Each filter has a column: for each facet key the number of the value that it has for this filter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apidex.search.arrays import Numbers, counts_of, places_of, take_in_chunks
from apidex.search.filters import FILTERS, MAX_FACET_VALUES, Facet, FacetIndex, Filters, most_frequent

_FEW = 64
"""So few hits are looked at one by one, which is faster."""


@dataclass(frozen=True)
class _Column:
    """The *numbers* of the values of all keys; *values* are in the order of their characters."""

    values: list[str]
    numbers: NDArray[np.int32]

    def accepts(self, values: frozenset[str]) -> NDArray[np.bool_]:
        """Return for each key whether its value is one of *values*."""
        wanted = [number for value in values if (number := self.places.get(value)) is not None]
        return np.isin(self.numbers, wanted)

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each value."""
        return {value: number for number, value in enumerate(self.values)}


@dataclass(frozen=True, eq=False)
class FacetColumns(FacetIndex):
    """A FacetIndex that counts with numpy."""

    @cached_property
    def _columns(self) -> dict[str, _Column]:
        columns = {}
        for name, of_keys in zip(FILTERS, zip(*self.keys, strict=True), strict=True):
            values = sorted(set(of_keys))
            places = {value: number for number, value in enumerate(values)}
            columns[name] = _Column(values, np.array([places[value] for value in of_keys], np.int32))
        return columns

    @cached_property
    def all_counts(self) -> NDArray[np.int64]:
        """How many entries have the key of each number."""
        return self.counted(np.asarray(self.key_numbers))

    @cached_property
    def key_counts(self) -> Mapping[int, int]:
        """As `FacetIndex.key_counts`."""
        return dict(enumerate(self.all_counts.tolist()))

    def counted(self, numbers: Numbers) -> NDArray[np.int64]:
        """How often each number of a key is among *numbers*."""
        return counts_of(numbers, len(self.keys))

    def _rejections(self, filters: Filters) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.int64]]:
        """For each key whether each of *filters* rejects it, and how many do."""
        rejects = {name: ~self._columns[name].accepts(values) for name, values in filters.items()}
        rejections = np.zeros(len(self.keys), np.int64)
        for rejected in rejects.values():
            rejections += rejected
        return rejects, rejections

    @classmethod
    def of(cls, index: FacetIndex) -> "FacetColumns":
        """Return *index* with columns."""
        return index if isinstance(index, cls) else cls(index.keys, index.key_numbers)

    def accepted_keys(self, filters: Filters) -> NDArray[np.bool_]:
        """For each key whether all *filters* accept it."""
        accepted: NDArray[np.bool_] = self._rejections(filters)[1] == 0
        return accepted

    def are_accepted(self, positions: Sequence[int], filters: Filters) -> Sequence[bool]:
        """As `FacetIndex.are_accepted`."""
        if len(positions) <= _FEW:
            return super().are_accepted(positions, filters)
        accepted: Any = take_in_chunks(self.accepted_keys(filters), self._numbers(positions))
        return memoryview(accepted)

    def _numbers(self, positions: Sequence[int]) -> Numbers:
        """The number of the key at each of *positions*."""
        numbers: Numbers = np.asarray(self.key_numbers)
        if isinstance(positions, range):
            return numbers[positions.start : positions.stop]
        return take_in_chunks(numbers, np.asarray(positions))

    def positions(self, filters: Filters) -> Sequence[int]:
        """As `FacetIndex.positions`."""
        every = range(len(self.key_numbers))
        return places_of(np.asarray(self.are_accepted(every, filters), np.bool_)).data if filters else every

    def facets(self, positions: Sequence[int], filters: Filters) -> dict[str, list[Facet]]:
        """As `FacetIndex.facets`."""
        if len(positions) <= _FEW:
            return super().facets(positions, filters)
        if len(positions) == len(self.key_numbers):
            return self.facets_of(self.all_counts, filters)
        return self.facets_of(self.counted(self._numbers(positions)), filters)

    def facets_of(self, counts: NDArray[np.int64], filters: Filters) -> dict[str, list[Facet]]:
        """The facets of hits, of which *counts* says how many have the key of each number."""
        rejects, rejections = self._rejections(filters)
        found = {}
        for name, column in self._columns.items():
            # those that no other filter rejects
            of_keys = np.where(rejections == rejects.get(name, 0), counts, 0) if filters else counts
            sums = np.bincount(column.numbers, of_keys, len(column.values)).astype(np.int64)
            if "" in column.places:  # keys without a value
                sums[column.places[""]] = 0
            requested = filters.get(name, frozenset())
            shown = [column.places[value] for value in requested if value in column.places] + _largest(sums)
            values = {column.values[number]: int(sums[number]) for number in shown}
            found[name] = most_frequent(dict.fromkeys(requested, 0) | values, requested)
        return found


def _largest(counts: NDArray[np.int64]) -> list[int]:
    """The numbers of the MAX_FACET_VALUES largest of *counts* that are not 0; of equal ones the first."""
    numbers = np.flatnonzero(counts)
    if len(numbers) > MAX_FACET_VALUES:
        order = (counts.max() - counts[numbers]) << 32 | numbers
        numbers = np.partition(order, MAX_FACET_VALUES)[:MAX_FACET_VALUES] & (1 << 32) - 1
    return [int(number) for number in numbers]
