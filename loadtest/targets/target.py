"""What a run is played against: the same verbs for a cluster, compose and plain processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from apidex.replication.store import Keys
from loadtest.stalls import Stall
from loadtest.system import UnsupportedError, wait_for

UpstreamMode = Literal["good", "disconnect", "slow", "invalid", "shrinking", "flapping"]

EMPTY_REDIS = ("redis-cli", "del", *Keys.of("apidex"))
"""Deletes all keys of the replicas in Redis. The user has no permission for more."""

TELL_REDIS = ("redis-cli", "--user", "testbed", "--pass", "any", "--no-auth-warning", "-e")
"""Has the Redis of a testbed carry out any command, by a user that only testbeds have."""

MANY_RESTARTS = 3
"""A replica that was restarted as often is replaced before the next pair of faults."""

MAX_MEMORY = "128mb"
"""As in redis.conf."""

EXHAUST_MEMORY = """
open("/proc/1/oom_score_adj", "w").write("1000")
held = [bytearray(b"x") * 2**24 for _ in range(25)]
"""
"""Fills the memory of a container, until the kernel ends its first process: 400 MB, and more than its limit."""


class Replica(msgspec.Struct, frozen=True):
    """A ready replica: the name in its responses, how often its process was restarted, and its node."""

    name: str
    restarts: int
    node: str = ""


class UpstreamLog(msgspec.Struct, frozen=True):
    """What the testbed's upstream gave: seconds ago, and the digest of the catalogue."""

    mode: UpstreamMode
    given: list[tuple[float, str]]


@dataclass(frozen=True)
class TargetOptions:
    """How to open a target. *up* starts it with the testbed's upstream, *edge* with HAProxy in front; logs go into *folder*.
    *breakable* gives each replica that is a process a disk and a line to Redis of its own.

    *host* is where a cluster answers if its Service has no address here. *node* may be drained, or lost by the commands in
    *node_down* and *node_up*.
    """

    folder: Path
    up: bool = False
    edge: bool = False
    breakable: bool = False
    host: str = ""
    project: str = "apidex"
    node: str = ""
    node_down: str = ""
    node_up: str = ""


class Target(ABC):
    """Apidex as it runs somewhere, and what can be done to it.

    *by_request* says that a balancer in front balances by request and retries what a dying replica did not answer. A method that
    gives a context manager breaks something while its block runs, and repairs it at the end in any case.
    """

    name: ClassVar[str]
    host: str
    by_request: bool

    @classmethod
    @abstractmethod
    def opened(cls, options: TargetOptions) -> AbstractContextManager["Target"]:
        """The target while the block runs. Raises UnsupportedError."""

    @classmethod
    def control_host(cls) -> str:
        """The host from which such targets are controlled."""
        return "localhost"

    @classmethod
    def supports(cls, verb: Callable[..., object]) -> bool:
        """Whether this class implements *verb*, a method of `Target`."""
        return getattr(cls, verb.__name__) is not verb

    def can(self, verb: Callable[..., object]) -> bool:
        """Whether *verb*, a method of `Target`, can be carried out here, as the target was opened."""
        return self.supports(verb)

    @abstractmethod
    def replicas(self) -> list[Replica]:
        """Those that are ready."""

    def repeated(self) -> int | None:
        """How many requests came a second time, so far; None where they are not counted."""
        return None

    def stalls(self) -> list[Stall]:
        """When a balancer of the load test's own stalled, on the machine's steady clock."""
        return []

    def edge_log(self) -> str | None:
        """The log of what retries in front of the replicas, so far; None where nothing does."""
        return None

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Install what the verbs need, so that they act at once."""

    # Verbs: a target has those that it implements.

    def kill(self, replica: str) -> None:
        """Send SIGKILL to its process."""
        raise self._unsupported(f"kill {replica}")

    def roll_out(self) -> None:
        """Replace every replica, and wait until that is done."""
        raise self._unsupported("replace its replicas")

    def scale(self, replicas: int) -> None:
        """Have this many, and wait until they are ready."""
        raise self._unsupported(f"be scaled to {replicas} replicas")

    def paused(self, replica: str) -> AbstractContextManager[None]:
        """Its process is stopped by SIGSTOP, and keeps its connections."""
        raise self._unsupported(f"pause {replica}")

    def redis_stopped(self) -> AbstractContextManager[None]:
        """Redis is stopped, and restarts empty."""
        raise self._unsupported("stop Redis")

    def redis_paused(self) -> AbstractContextManager[None]:
        """Redis accepts connections, and does not answer."""
        raise self._unsupported("pause Redis")

    def flush_redis(self) -> None:
        """Delete every key."""
        raise self._unsupported("empty Redis")

    def command_upstream(self, *words: str) -> str:
        """Run `upstream.py` beside the testbed's upstream; its output. Raises UnsupportedError where there is no testbed."""
        raise self._unsupported(f"command the upstream: {' '.join(words)}")

    def delete(self, replica: str) -> None:
        """Delete it, and wait for its replacement."""
        raise self._unsupported(f"delete {replica}")

    def kill_all(self) -> None:
        """Send SIGKILL to the processes of all replicas at once."""
        raise self._unsupported("kill all replicas at once")

    def node_drained(self) -> AbstractContextManager[None]:
        """A node is drained, and takes no pods: they move, Redis perhaps among them."""
        raise self._unsupported("drain a node")

    def node_lost(self) -> AbstractContextManager[None]:
        """A node has no network, Redis perhaps on it."""
        raise self._unsupported("disconnect a node")

    def redis_partitioned(self) -> AbstractContextManager[None]:
        """Every packet that Redis sends is dropped."""
        raise self._unsupported("partition Redis")

    def upstream_partitioned(self) -> AbstractContextManager[None]:
        """Every packet that the upstream sends is dropped."""
        raise self._unsupported("partition the upstream")

    def redis_partitioned_from(self, replica: str) -> AbstractContextManager[None]:
        """The packets of this replica to Redis are dropped; the others can reach it."""
        raise self._unsupported(f"partition Redis from {replica}")

    def redis_misnamed(self) -> AbstractContextManager[None]:
        """The name of Redis leads to an address without a Redis, and open connections to it are closed."""
        raise self._unsupported("have the name of Redis lead elsewhere")

    def redis_read_only(self) -> AbstractContextManager[None]:
        """Redis refuses every write, as a copy does."""
        raise self._unsupported("have Redis refuse writes")

    def redis_full(self) -> AbstractContextManager[None]:
        """Redis has no memory left, and refuses to store anything."""
        raise self._unsupported("fill Redis")

    def starved(self, replica: str) -> AbstractContextManager[None]:
        """Its process runs a tenth of the time, as under a limit of its CPU."""
        raise self._unsupported(f"starve {replica} of CPU")

    def out_of_memory(self, replica: str) -> AbstractContextManager[None]:
        """It gets no more memory."""
        raise self._unsupported(f"exhaust the memory of {replica}")

    def disk_full(self, replica: str) -> AbstractContextManager[None]:
        """The disk on which it keeps its last good copy is full."""
        raise self._unsupported(f"fill the disk of {replica}")

    def kill_edge(self) -> None:
        """Send SIGKILL to a balancer that retries; where there are several, wait until it runs again or its node is lost."""
        raise self._unsupported("kill an edge")

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"the target {self.name} cannot {what}")

    # What follows from the verbs above.

    def restarts(self) -> dict[str, int]:
        """Of each replica that is ready."""
        return {replica.name: replica.restarts for replica in self.replicas()}

    def renew(self) -> None:
        """Replace the replicas, where earlier faults have left traces: a cluster delays each further restart for longer."""
        if max(self.restarts().values(), default=0) >= MANY_RESTARTS:
            self.roll_out()

    def settle(self, replicas: int) -> None:
        """Wait until this many are ready. Raises WaitTimeoutError."""
        wait_for(120, f"{replicas} ready replicas", lambda: len(self.replicas()) == replicas)

    def upstream_log(self) -> UpstreamLog:
        """What the testbed's upstream has given. Raises UnsupportedError where there is no testbed."""
        return msgspec.json.decode(self.command_upstream("log"), type=UpstreamLog)


TESTBED_VERBS = (
    Target.command_upstream,
    Target.upstream_partitioned,
    Target.redis_read_only,
    Target.redis_full,
    Target.redis_misnamed,
)
"""What takes the testbed: its upstream, or its user of Redis."""
