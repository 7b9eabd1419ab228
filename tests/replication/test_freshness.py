"""Ages come in, decisions go out."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.replication.freshness import FIRST_RETRY, FreshnessPolicy, State, backoff_delay, standalone_delay

HOUR = timedelta(hours=1)
POLICY = FreshnessPolicy(HOUR, timedelta(seconds=20), timedelta(minutes=5), timedelta(days=7))
jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("age", "bundled", "state", "status"),
    [
        (0, False, State.FRESH, "apidex; hit; ttl=4021"),
        (4021, False, State.FRESH, "apidex; hit; ttl=0"),
        (4022, False, State.STALE, "apidex; hit; ttl=-1"),
        (0, True, State.BUNDLED, "apidex; hit; detail=bundled"),
    ],
)
def test_what_a_catalogue_is_by_its_age(age, bundled, state, status):
    assert POLICY.state(age, bundled=bundled) is state
    assert POLICY.cache_status(age, bundled=bundled, shared=False) == status


def test_redis_stands_before_the_replica_as_long_as_it_holds_the_copy():
    assert POLICY.cache_status(10, bundled=False, shared=True) == "redis; hit; ttl=4011, apidex; hit; ttl=4011"


def test_caches_are_told_the_limits_and_never_keep_the_starter_catalogue():
    assert (
        POLICY.cache_control(bundled=False) == "public, max-age=4021, stale-while-revalidate=300, stale-if-error=604800"
    )
    assert POLICY.cache_control(bundled=True) == "no-cache"


@given(st.integers(1, 10_000), jitters)
def test_retries_wait_longer_each_time_but_never_longer_than_the_interval(failures, jitter):
    wait = backoff_delay(failures, HOUR, jitter)
    assert FIRST_RETRY / 2 <= wait <= HOUR
    assert wait <= FIRST_RETRY * 2 ** min(failures - 1, 30)
    assert backoff_delay(failures + 1, HOUR, jitter) >= wait


@pytest.mark.parametrize(("asked", "waited"), [(None, 2), (1, 2), (120, 120), (10**9, 86_400)])
def test_an_upstream_that_says_when_is_believed_up_to_a_day(asked, waited):
    assert backoff_delay(1, HOUR, 1, asked) == timedelta(seconds=waited)


@given(jitters)
def test_a_standalone_replica_asks_once_in_an_interval_and_sooner_only_with_the_starter_catalogue(jitter):
    assert HOUR <= standalone_delay(HOUR, jitter, 0, provisional=False) <= HOUR * 1.1
    assert HOUR <= standalone_delay(HOUR, jitter, 5, provisional=False) <= HOUR * 1.1
    assert standalone_delay(HOUR, jitter, 0, 2 * 3600, provisional=False) <= HOUR * 1.1
    assert standalone_delay(HOUR, jitter, 1, 2 * 3600, provisional=False) == 2 * HOUR
    assert standalone_delay(HOUR, jitter, 5, provisional=True) == backoff_delay(5, HOUR, jitter)
