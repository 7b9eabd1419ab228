"""Scenarios in which Redis is away."""

from functools import partial

from loadtest.checks.latency import p99_at_most
from loadtest.checks.run import no_restarts
from loadtest.faults.redis import RedisDown, RedisFlush, RedisHang, RedisPartition
from loadtest.scenarios.scenario import Scenario, middle_third, repeatedly

_CHECKS = (p99_at_most(2.0), no_restarts)
_away = partial(middle_third, checks=_CHECKS)

SCENARIOS = (
    _away("redis-down", "Redis is stopped for a third of the time, and restarts empty.", RedisDown()),
    Scenario(
        "redis-empty",
        "Redis loses every key, again and again.",
        repeatedly(lambda _: RedisFlush(), first=1 / 3),
        faults=(RedisFlush,),
        checks=_CHECKS,
    ),
    _away("redis-hang", "Redis accepts connections and does not answer, for a third of the time.", RedisHang()),
    _away("redis-cut", "Every packet that Redis sends is dropped, for a third of the time.", RedisPartition()),
)
