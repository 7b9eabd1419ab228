"""A Refresher on fakes."""

from datetime import timedelta
from random import Random

from apidex.app import starter_snapshot
from apidex.indexing.builder import from_upstream
from apidex.replication.freshness import Limits
from apidex.replication.refresher import Refresher
from fakes import FakeCache

HOUR = 3600


def refresher_of(upstream, clock, redis, prepare=from_upstream, seed=3, cache=None, poll=5.0) -> Refresher:
    limits = Limits(timedelta(seconds=HOUR), timedelta(seconds=poll), timedelta(0), timedelta(0))
    options = {
        "prepare": prepare,
        "limits": limits,
        "keep_share": 0.5,
        "limit": 10**6,
        "clock": clock,
        "random": Random(seed),
    }
    return Refresher(cache or FakeCache(redis), upstream, starter_snapshot(clock), **options)
