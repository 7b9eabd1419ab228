"""Faults of replicas and of their nodes."""

from contextlib import AbstractContextManager
from functools import partial

from loadtest.faults.fault import Fault
from loadtest.system import between
from loadtest.targets.target import Target


class Rollout(Fault, frozen=True):
    verb, sentence, at_once = Target.roll_out, "all replicas are replaced", True
    replaces = True


class Scale(Fault, frozen=True):
    replicas: int
    verb, sentence, at_once = Target.scale, "scaled to {replicas} replicas", True
    replaces = True


class ScaleAndBack(Fault, frozen=True):
    """Another number of replicas for a while."""

    replicas: int
    before: int
    verb, sentence, replaces = Target.scale, "scaled from {before} to {replicas} replicas and back", True

    def inject(self, target: Target) -> AbstractContextManager[None]:
        """As `Fault.inject`; at the end there are as many as *before*."""
        return between(partial(target.scale, self.replicas), partial(target.scale, self.before))


class DeletePod(Fault, frozen=True):
    replica: str
    verb, sentence, at_once = Target.delete, "{replica} is deleted", True
    replaces = True


class Kill(Fault, frozen=True):
    replica: str
    verb, sentence, kills = Target.kill, "kill -9 of {replica}", True
    at_once, loses = True, "replica"


class KillAll(Fault, frozen=True):
    verb, sentence, kills = Target.kill_all, "kill -9 of all replicas", True
    at_once, loses = True, "replica"


class Pause(Fault, frozen=True):
    replica: str
    verb, sentence = Target.paused, "{replica} is paused"
    pauses, loses = True, "replica"


class Starve(Fault, frozen=True):
    replica: str
    verb, sentence = Target.starved, "{replica} is starved of CPU"
    pauses = True


class OutOfMemory(Fault, frozen=True):
    replica: str
    verb, sentence = Target.out_of_memory, "{replica} is out of memory"
    pauses, loses = True, "replica"


class DiskFull(Fault, frozen=True):
    replica: str
    verb, sentence = Target.disk_full, "the disk of {replica} is full"


class KillEdge(Fault, frozen=True):
    verb, sentence, at_once, loses = Target.kill_edge, "kill -9 of an edge", True, "edge"


class DrainNode(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.node_drained, "a node is drained", True
    replaces = True


class LoseNode(Fault, frozen=True):
    verb, sentence, interrupts_redis = Target.node_lost, "a node has no network", True
    loses = "node"
