"""What can be broken: a fault is one class in a module of this folder, and one line of `AnyFault`."""

import msgspec

from loadtest.faults.clients import HostileClients
from loadtest.faults.redis import (
    RedisDown,
    RedisFlush,
    RedisFull,
    RedisHang,
    RedisMisnamed,
    RedisPartition,
    RedisPartitionFromOne,
    RedisReadOnly,
)
from loadtest.faults.replicas import (
    DeletePod,
    DiskFull,
    DrainNode,
    Kill,
    KillAll,
    KillEdge,
    LoseNode,
    OutOfMemory,
    Pause,
    Rollout,
    Scale,
    ScaleAndBack,
    Starve,
)
from loadtest.faults.upstream import BadUpstream, UpstreamPartition

AnyFault = (
    Rollout
    | Scale
    | ScaleAndBack
    | DeletePod
    | Kill
    | KillAll
    | Pause
    | Starve
    | OutOfMemory
    | DiskFull
    | KillEdge
    | DrainNode
    | LoseNode
    | RedisDown
    | RedisHang
    | RedisFlush
    | RedisReadOnly
    | RedisFull
    | RedisPartition
    | RedisPartitionFromOne
    | RedisMisnamed
    | BadUpstream
    | HostileClients
    | UpstreamPartition
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
