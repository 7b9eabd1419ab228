"""What can be broken: a fault is one class in a module of this folder, and one line of `AnyFault`."""

import msgspec

from loadtest.faults.clients import HostileClients
from loadtest.faults.redis import RedisDown, RedisFlush, RedisHang, RedisPartition
from loadtest.faults.replicas import DeletePod, DrainNode, Kill, KillAll, LoseNode, Pause, Rollout, Scale
from loadtest.faults.upstream import BadUpstream, UpstreamPartition

AnyFault = (
    Rollout
    | Scale
    | DeletePod
    | Kill
    | KillAll
    | Pause
    | DrainNode
    | LoseNode
    | RedisDown
    | RedisHang
    | RedisFlush
    | RedisPartition
    | BadUpstream
    | HostileClients
    | UpstreamPartition
)


class FaultRecord(msgspec.Struct, frozen=True):
    """A fault that was injected, from when to when, in seconds since the run began; *replicas* is full strength from then on."""

    fault: AnyFault
    began: float
    ended: float
    replicas: int
