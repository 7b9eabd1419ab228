"""Faults of replicas and of their nodes."""

from loadtest.faults.fault import Fault
from loadtest.targets.target import Target


class Rollout(Fault, frozen=True):
    """New replicas for old ones."""

    verb, sentence = Target.roll_out, "all replicas are replaced"


class Scale(Fault, frozen=True):
    """More replicas, or fewer."""

    replicas: int
    verb, sentence = Target.scale, "scaled to {replicas} replicas"


class DeletePod(Fault, frozen=True):
    """A replica ends for good, and another one starts."""

    replica: str
    verb, sentence = Target.delete, "{replica} is deleted"


class Kill(Fault, frozen=True):
    """SIGKILL to the process of a replica."""

    replica: str
    verb, sentence, kills = Target.kill, "kill -9 of {replica}", True


class KillAll(Fault, frozen=True):
    """SIGKILL to the processes of all replicas at once."""

    verb, sentence, kills = Target.kill_all, "kill -9 of all replicas", True


class Pause(Fault, frozen=True):
    """SIGSTOP to the process of a replica."""

    replica: str
    verb, sentence = Target.paused, "{replica} is paused"
    pauses = True


class DrainNode(Fault, frozen=True):
    """The pods of a node move, Redis perhaps among them."""

    verb, sentence, interrupts_redis = Target.node_drained, "a node is drained", True


class LoseNode(Fault, frozen=True):
    """A node has no network, Redis perhaps on it."""

    verb, sentence, interrupts_redis = Target.node_lost, "a node has no network", True
