"""What can be broken: a fault is one class in a module of this folder, and one line of `AnyFault`."""

import msgspec

from loadtest.faults import clients, redis, replicas, upstream

AnyFault = (
    replicas.Rollout
    | replicas.Scale
    | replicas.ScaleAndBack
    | replicas.DeletePod
    | replicas.Kill
    | replicas.KillAll
    | replicas.Pause
    | replicas.Starve
    | replicas.OutOfMemory
    | replicas.DiskFull
    | replicas.KillEdge
    | replicas.DrainNode
    | replicas.LoseNode
    | redis.RedisDown
    | redis.RedisHang
    | redis.RedisFlush
    | redis.RedisReadOnly
    | redis.RedisFull
    | redis.RedisPartition
    | redis.RedisPartitionFromOne
    | redis.RedisMisnamed
    | upstream.BadUpstream
    | clients.HostileClients
    | upstream.UpstreamPartition
)


MOMENT = 0.05
"""Seconds: what takes less, such as a kill, is not said to last, or to be over."""


class FaultRecord(msgspec.Struct, frozen=True):
    """A fault that was injected, from when to when, in seconds since the run began; *replicas* is full strength from then on.

    Faults of the same *round* were injected to overlap; 0 is none.
    """

    fault: AnyFault
    began: float
    ended: float
    replicas: int
    round: int = 0
