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
    at_once = True


class RedisReadOnly(Fault, frozen=True):
    """Redis refuses every write, as a copy does."""

    verb, sentence, interrupts_redis = Target.redis_read_only, "Redis is read-only", True


class RedisFull(Fault, frozen=True):
    """Redis has no memory left, and refuses to store anything."""

    verb, sentence, interrupts_redis = Target.redis_full, "Redis is full", True


class RedisPartition(Fault, frozen=True):
    """Every packet that Redis sends is dropped."""

    verb, sentence, interrupts_redis = Target.redis_partitioned, "Redis is partitioned", True


class RedisPartitionFromOne(Fault, frozen=True):
    """One replica cannot reach Redis; the others can."""

    replica: str
    verb, sentence, interrupts_redis = Target.redis_partitioned_from, "{replica} cannot reach Redis", True


class RedisMisnamed(Fault, frozen=True):
    """The name of Redis leads elsewhere, and open connections to it are closed."""

    verb, sentence, interrupts_redis = Target.redis_misnamed, "the name of Redis leads elsewhere", True
