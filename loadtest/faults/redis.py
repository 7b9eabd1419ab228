"""Faults of Redis."""

from loadtest.faults.fault import Fault
from loadtest.targets.target import Target


class RedisDown(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_stopped, "Redis is stopped", True


class RedisHang(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_paused, "Redis hangs", True


class RedisFlush(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.flush_redis, "Redis is emptied", True
    at_once = True


class RedisReadOnly(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_read_only, "Redis is read-only", True


class RedisFull(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_full, "Redis is full", True


class RedisPartition(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_partitioned, "Redis is partitioned", True


class RedisPartitionFromOne(Fault, frozen=True):
    replica: str
    verb, sentence, interrupts_redis = Target.redis_partitioned_from, "{replica} cannot reach Redis", True


class RedisMisnamed(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.redis_misnamed, "the name of Redis leads elsewhere", True
