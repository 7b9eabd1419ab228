"""Faults of Redis."""

from loadtest.faults.fault import Fault
from loadtest.targets.target import Target


class RedisDown(Fault, frozen=True):
    """Redis is stopped, and restarts empty."""

    verb, sentence, interrupts_redis = Target.redis_stopped, "Redis is stopped", True


class RedisHang(Fault, frozen=True):
    """Redis accepts connections, and does not answer."""

    verb, sentence, interrupts_redis = Target.redis_paused, "Redis hangs", True


class RedisFlush(Fault, frozen=True):
    """Redis loses every key."""

    verb, sentence, interrupts_redis = Target.flush_redis, "Redis is emptied", True


class RedisPartition(Fault, frozen=True):
    """Every packet that Redis sends is dropped."""

    verb, sentence, interrupts_redis = Target.redis_partitioned, "Redis is partitioned", True
