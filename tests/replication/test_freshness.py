"""Ages come in, decisions go out."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.replication.freshness import FIRST_RETRY, Limits, State, alone_in, retry_in

HOUR = timedelta(hours=1)
LIMITS = Limits(HOUR, timedelta(seconds=20), timedelta(minutes=5), timedelta(days=7))
jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("age", "bundled", "state", "status"),
    [
        (0, False, State.FRESH, "apidex; hit; ttl=4000"),
        (4000, False, State.FRESH, "apidex; hit; ttl=0"),
        (4001, False, State.STALE, "apidex; hit; ttl=-1"),
        (0, True, State.BUNDLED, "apidex; hit; detail=bundled"),
    ],
)
def test_what_a_catalogue_is_by_its_age(age, bundled, state, status):
    assert LIMITS.state(age, bundled=bundled) is state
    assert LIMITS.cache_status(age, bundled=bundled, shared=False) == status


def test_redis_stands_before_the_replica_as_long_as_it_holds_the_copy():
    assert LIMITS.cache_status(10, bundled=False, shared=True) == "redis; hit; ttl=3990, apidex; hit; ttl=3990"


def test_caches_are_told_the_limits_and_never_keep_the_starter_catalogue():
    assert (
        LIMITS.cache_control(bundled=False) == "public, max-age=4000, stale-while-revalidate=300, stale-if-error=604800"
    )
    assert LIMITS.cache_control(bundled=True) == "no-cache"


@given(st.integers(1, 10_000), jitters)
def test_retries_wait_longer_each_time_but_never_longer_than_the_interval(failures, jitter):
    wait = retry_in(failures, HOUR, jitter)
    assert FIRST_RETRY / 2 <= wait <= HOUR
    assert wait <= FIRST_RETRY * 2 ** min(failures - 1, 30)
    assert retry_in(failures + 1, HOUR, jitter) >= wait


@pytest.mark.parametrize(("asked", "waited"), [(None, 2), (1, 2), (120, 120), (10**9, 86_400)])
def test_an_upstream_that_says_when_is_believed_up_to_a_day(asked, waited):
    assert retry_in(1, HOUR, 1, asked) == timedelta(seconds=waited)


@given(jitters)
def test_a_replica_alone_never_asks_twice_in_an_interval(jitter):
    assert HOUR <= alone_in(HOUR, jitter) <= HOUR * 1.1
