"""What has changed from one catalogue to another. Pure."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that yields where other work may run, and returns a T."""

_STEP = 256
"""Entries that are compared in one step."""

_PARTS = 16
"""The number of dictionaries that entries are spread over: a single one would take 10 ms each time that it grows."""


class Change(msgspec.Struct, frozen=True):
    """An entry before and after."""

    before: Entry
    after: Entry


class Changes(msgspec.Struct, frozen=True):
    """Entries that were added, removed and changed. An entry that only moved is none of these."""

    added: list[Entry]
    removed: list[Entry]
    changed: list[Change]


class ChangedPositions(NamedTuple):
    """As Changes, with the position of each entry in its catalogue."""

    added: list[int]
    removed: list[int]
    changed: list[tuple[int, int]]


def changes(before: Catalogue, after: Catalogue) -> Changes:
    """Compare two catalogues. Entries with the same name, or else with the same link, are the same entry."""
    steps = compare(before, after)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            added, removed, changed = end.value
            break
    return Changes(
        [after[position] for position in added],
        [before[position] for position in removed],
        [Change(before[first], after[second]) for first, second in changed],
    )


def compare(before: Catalogue, after: Catalogue) -> Steps[ChangedPositions]:
    """As `changes`, in steps."""
    if before.digest == after.digest:
        return ChangedPositions([], [], [])
    removed, added = yield from _unequal(before, after)
    same_name, removed, added = yield from _paired(before, removed, after, added, "name")
    same_link, removed, added = yield from _paired(before, removed, after, added, "link")
    return ChangedPositions(added, removed, same_name + same_link)


def _unequal(before: Catalogue, after: Catalogue) -> Steps[tuple[list[int], list[int]]]:
    """The entries of each catalogue that are not in the other, byte for byte, or are there fewer times.

    Entries are compared by a hash of 64 bits, which Python seeds differently in every process.
    """
    removed, added = list[int](), list[int]()
    counts = [Counter[int]() for _ in range(_PARTS)]
    for step in _steps(range(len(before))):
        for position in step:
            each = hash(before.encoded(position))
            counts[each % _PARTS][each] += 1
        yield
    for step in _steps(range(len(after))):
        for position in step:
            each = hash(after.encoded(position))
            if counts[each % _PARTS][each]:
                counts[each % _PARTS][each] -= 1
            else:
                added.append(position)
        yield
    for step in _steps(range(len(before) - 1, -1, -1)):  # the last ones of equal entries were removed
        for position in step:
            each = hash(before.encoded(position))
            if counts[each % _PARTS][each]:
                counts[each % _PARTS][each] -= 1
                removed.append(position)
        yield
    removed.reverse()
    return removed, added


def _paired(
    before: Catalogue, removed: list[int], after: Catalogue, added: list[int], attribute: str
) -> Steps[tuple[list[tuple[int, int]], list[int], list[int]]]:
    """Pairs with the same value of *attribute*, in order, and the other entries of each list. An empty value makes no pair."""
    waiting = defaultdict[str, list[int]](list)
    for step in _steps(removed[::-1]):
        for position in step:
            waiting[getattr(before[position], attribute)].append(position)
        yield
    waiting[""] = []
    pairs, rest, remaining = list[tuple[int, int]](), list[int](), list[int]()
    for step in _steps(added):
        for position in step:
            same = waiting.get(getattr(after[position], attribute))
            if same:
                pairs.append((same.pop(), position))
            else:
                rest.append(position)
        yield
    paired = {position for position, _ in pairs}
    for step in _steps(removed):
        remaining += [position for position in step if position not in paired]
        yield
    return pairs, remaining, rest


def _steps(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    return (positions[start : start + _STEP] for start in range(0, len(positions), _STEP))
