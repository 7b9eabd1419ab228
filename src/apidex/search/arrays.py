"""What is done with large arrays of numbers, in chunks. Pure.

Before numpy takes or counts, it converts numbers to 64 bits: eight megabytes for a million entries, which are slow to get from
the system, and which the thread keeps. The numbers of a chunk stay in the processor's cache.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

_CHUNK = 2**15


def chunks(size: int, least: int = _CHUNK) -> Iterator[slice]:
    """Slices that cover *size* items. Each has *least* items or more, except the last one."""
    step = max(_CHUNK, least)
    return (slice(start, start + step) for start in range(0, size, step))


def take_in_chunks(table: Numbers, numbers: Numbers) -> Numbers:
    """The item of *table* for each of *numbers*."""
    result = np.empty(len(numbers), table.dtype)
    for some in chunks(len(numbers)):
        result[some] = table.take(numbers[some])
    return result


def set_items(table: Numbers, numbers: Numbers, value: int) -> None:
    """Set the items of *table* that have these *numbers*.

    As an index, numpy converts numbers of 32 bits one by one, which takes longer than the rest.
    """
    for some in chunks(len(numbers)):
        table[numbers[some].astype(np.intp)] = value


def counts_of(numbers: Numbers, kinds: int) -> NDArray[np.int64]:
    """How often each number below *kinds* is among *numbers*."""
    counts = np.zeros(kinds, np.int64)
    for some in chunks(len(numbers), kinds):
        counts += np.bincount(numbers[some], minlength=kinds)
    return counts


def places_of(flags: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Where *flags* are set."""
    parts = [np.flatnonzero(flags[some]).astype(np.uint32) + np.uint32(some.start) for some in chunks(len(flags))]
    return np.concatenate([np.zeros(0, np.uint32), *parts])
