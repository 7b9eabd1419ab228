"""Answers given before are kept within bounds, the popular ones longest."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from apidex.http.response_cache import OVERHEAD, ResponseCache

KEYS = st.integers(0, 60)
LIMIT = 40 * OVERHEAD


@given(st.lists(st.tuples(st.booleans(), KEYS, st.integers(0, OVERHEAD * 4)), max_size=400))
def test_it_gives_back_what_was_put_or_nothing_and_never_holds_more_than_its_limit(steps):
    cache: ResponseCache[int, tuple[int, int]] = ResponseCache(LIMIT)
    held = {}
    for is_get, key, size in steps:
        if is_get:
            assert cache.get(key) in (None, (key, held.get(key)))
        elif cache.get(key) is None:
            cache.put(key, (key, size), size)
            held[key] = size
        assert 0 <= cache.size <= LIMIT
        assert cache.size == sum(kept.size for kept in cache._kept.values()) + sum(cache._ghosts.values())
    cache.clear()
    assert (cache.size, len(cache)) == (0, 0)


def test_an_answer_that_would_fill_it_alone_is_not_kept():
    cache: ResponseCache[str, str] = ResponseCache(LIMIT)
    cache.put("large", "x", LIMIT // 4)
    assert cache.get("large") is None


def test_a_cache_of_no_bytes_keeps_nothing():
    cache: ResponseCache[str, str] = ResponseCache(0)
    cache.put("a", "x", 0)
    assert cache.get("a") is None


def test_a_flood_of_names_asked_for_once_does_not_push_the_popular_ones_out():
    cache: ResponseCache[int, int] = ResponseCache(1000 * OVERHEAD)
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
