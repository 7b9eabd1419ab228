"""Responses are cached within a bound of bytes, the popular ones longest."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.http.response_cache import ENTRY_OVERHEAD, ResponseCache

MAX_BYTES = 40 * ENTRY_OVERHEAD


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, ENTRY_OVERHEAD * 4)), max_size=400))
def test_it_returns_what_was_put_or_nothing_and_never_exceeds_its_bound(steps):
    cache: ResponseCache[int, tuple[int, int]] = ResponseCache(MAX_BYTES)
    put = {}
    for is_get, key, size in steps:
        if is_get:
            assert cache.get(key) in (None, (key, put.get(key)))
        elif cache.get(key) is None:
            cache.put(key, (key, size), size)
            put[key] = size
        assert 0 <= cache.size <= MAX_BYTES
        assert cache.size == sum(entry.size for entry in cache._entries.values()) + sum(cache._ghosts.values())
    cache.clear()
    assert cache.size == 0
    assert not any(cache.get(key) for key in put)


@pytest.mark.parametrize(("max_bytes", "size"), [(MAX_BYTES, MAX_BYTES // 4), (0, 0)])
def test_a_response_that_is_too_large_for_the_cache_is_not_kept(max_bytes, size):
    cache: ResponseCache[str, str] = ResponseCache(max_bytes)
    cache.put("a", "x", size)
    assert cache.get("a") is None


def test_a_flood_of_names_asked_for_once_does_not_evict_the_popular_ones():
    cache: ResponseCache[int, int] = ResponseCache(1000 * ENTRY_OVERHEAD)
    random, found = Random(7), Counter()
    for turn in range(40_000):
        popular = turn % 4 == 0
        key = random.randrange(300) if popular else 1000 + turn
        hit = cache.get(key) is not None
        if not hit:
            cache.put(key, key, 0)
        if turn > 10_000:
            found[popular, hit] += 1
    share = found[True, True] / (found[True, True] + found[True, False])
    assert share > 0.99, found
