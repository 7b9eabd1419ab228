"""Chunks change nothing: every result is that of numpy for the whole array."""

import numpy as np
import pytest

from apidex.search.arrays import chunks, counts_of, places_of, take_in_chunks


@pytest.mark.parametrize("size", [0, 1, 2**15 - 1, 2**15, 2**15 + 1, 100_000])
@pytest.mark.parametrize("kinds", [3, 40_000])
def test_a_result_is_that_of_the_whole_array(size, kinds):
    random = np.random.default_rng(7)
    numbers = random.integers(0, kinds, size).astype(np.uint16)
    table = random.integers(0, 2, kinds).astype(np.bool_)
    assert take_in_chunks(table, numbers).tolist() == table[numbers].tolist()
    assert counts_of(numbers, kinds).tolist() == np.bincount(numbers, minlength=kinds).tolist()
    assert places_of(table[numbers]).tolist() == np.flatnonzero(table[numbers]).tolist()
    assert [*range(size)] == [number for some in chunks(size) for number in range(size)[some]]
