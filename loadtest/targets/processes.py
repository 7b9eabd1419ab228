"""Apidex as plain processes on this machine: replicas, a Redis, an upstream and a small balancer, all started and ended here.

With `--edge`, HAProxy is in front, as in compose and `edge`. For pairs of faults, each replica reaches Redis through a proxy of
its own, and keeps its last good copy on a small disk of its own, where this user may mount one.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import create_connection

from loadtest import haproxy
from loadtest.balancer import Balancer
from loadtest.proxy import RedisLine
from loadtest.stalls import Stall
from loadtest.system import (
    UnsupportedError,
    WaitTimeoutError,
    between,
    every,
    free_port,
    is_ready,
    listens,
    output_of,
    uninterrupted,
    wait_for,
)
from loadtest.targets.target import Replica, Target, TargetOptions

_TESTBED = Path(__file__).parents[1] / "testbed"
SERVE = (sys.executable, "-m", "apidex", "serve")
_RESTART_AFTER = 0.5
_DISK_BYTES = 2**21
_SLOTS = 10
"""Ports that HAProxy knows: as many replicas as there can ever be at once.

When it starts, it takes each of them for a replica that is up, and tries a request ten times.
"""

_PERIOD, _RUNNING = 0.1, 0.01
"""Seconds: a process that is starved of CPU runs for the second in each of the first."""

_SETTINGS = {
    "APIDEX_REFRESH_SECONDS": "5",
    "APIDEX_POLL_SECONDS": "1",
    "APIDEX_KEEP_ALIVE_SECONDS": "2",
    "APIDEX_DRAIN_SECONDS": "4",
    "APIDEX_STARTUP_TIMEOUT_SECONDS": "10",
}


class Daemon:
    """A process that is restarted when it ends without having been told to."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._command, self._environ, self._log = command, environ, log
        self.restarts, self._lock, self._is_paused = 0, threading.Lock(), False
        self.start()

    def start(self) -> None:
        """Start it, at first or after `end`."""
        with self._lock:
            self._wanted = True
            self._begin()
        self._watch = threading.Thread(target=self._keep, daemon=True)
        self._watch.start()

    def send(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Have it end; by force if it does not within 45 seconds."""
        with self._lock:
            self._wanted = False
            self.send(signal.SIGCONT)
            self.send(number)
        try:
            self._process.wait(45)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._watch.join()

    def paused(self) -> AbstractContextManager[None]:
        """It is stopped by SIGSTOP while the block runs, also if it is started meanwhile."""
        return between(lambda: self._pause(True), lambda: self._pause(False))

    def _pause(self, is_paused: bool) -> None:
        with self._lock:
            self._is_paused = is_paused
            self.send(signal.SIGSTOP if is_paused else signal.SIGCONT)

    @contextmanager
    def starved(self) -> Iterator[None]:
        """It runs a tenth of the time while the block runs, in slices as those of the kernel's bandwidth control."""

        def run_for_a_moment() -> None:
            self.send(signal.SIGCONT)
            time.sleep(_RUNNING)
            self.send(signal.SIGSTOP)

        try:
            with every(_PERIOD - _RUNNING, run_for_a_moment):
                yield
        finally:
            self.send(signal.SIGCONT)

    def limit_memory(self, *, to_what_it_has: bool) -> None:
        """Give it no more memory, or as much as it wants."""
        with suppress(OSError):  # it has just ended
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() if to_what_it_has else resource.RLIM_INFINITY
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def _begin(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - commands of ours
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        if self._is_paused:  # another fault ended it
            self.send(signal.SIGSTOP)

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._wanted:
                time.sleep(_RESTART_AFTER)
            with self._lock:
                if not self._wanted:
                    return
                self.restarts += 1
                self._begin()


@dataclass
class _Process:
    """A replica, what is its own, and what undoes that."""

    daemon: Daemon
    port: int
    stack: ExitStack
    redis: RedisLine | None = None
    disk: Path | None = None


class Processes(Target):
    """Replicas on ports of their own. Use `running`."""

    name = "processes"

    def __init__(
        self, folder: Path, balancer: Balancer, command: Sequence[str], *, edge: bool = False, breakable: bool = False
    ) -> None:
        self._folder = folder.resolve()  # a replica's disk is in it, and its setting takes no relative path
        self._balancer, self._command, self._is_breakable = balancer, command, breakable
        self.by_request = edge
        self._replicas: dict[str, _Process] = {}
        self._upstream_port, self._redis_port = free_port(), free_port()
        self._lines_lead_to = self._redis_port
        self._numbers = iter(range(1, 10_000))
        self._daemons: list[Daemon] = []
        self._slots = [free_port() for _ in range(_SLOTS)] if edge else []
        self._changing = threading.RLock()

    @classmethod
    def opened(cls, options: TargetOptions) -> AbstractContextManager["Processes"]:
        return running(options.folder, edge=options.edge, breakable=options.breakable)

    def can(self, verb: Callable[..., object]) -> bool:
        """As `Target.can`: an edge takes `--edge`, and a disk the right to mount one."""
        here = {Target.kill_edge: self.by_request, Target.disk_full: all(map(_has_disk, self._replicas.values()))}
        lines = (Target.redis_partitioned_from, Target.redis_misnamed)
        return super().can(verb) and here.get(verb, self._is_breakable or verb not in lines)

    def open(self, replicas: int) -> None:
        """Start everything."""
        self._daemon("upstream", self._upstream_script("serve", "--host", "127.0.0.1"))
        self._redis = self._daemon("redis", _redis_command(self._redis_port, self._folder))
        for what, port in (("upstream", self._upstream_port), ("Redis", self._redis_port)):
            wait_for(20, f"an answer of the {what}", partial(listens, port))
        self.scale(replicas)
        self.host = f"http://127.0.0.1:{self._open_edge() if self.by_request else self._balancer.port}"

    def _open_edge(self) -> int:
        port, health = free_port(), free_port()
        file = haproxy.configured(self._folder, self._slots, port, health)
        self._edge = self._daemon("haproxy", haproxy.installed(file))
        wait_for(20, "HAProxy to know a replica", lambda: is_ready(f"http://127.0.0.1:{health}", "/startz"))
        return port

    def close(self) -> None:
        """End everything, at once."""
        with uninterrupted():
            for daemon in self._daemons:
                daemon.end(signal.SIGKILL)
            for replica in self._replicas.values():
                replica.stack.close()

    def repeated(self) -> int | None:
        return None if self.by_request else self._balancer.repeated()

    def stalls(self) -> list[Stall]:
        return [] if self.by_request else list(self._balancer.stalls.stalls)

    def edge_log(self) -> str | None:
        return (self._folder / "haproxy.log").read_text(errors="replace") if self.by_request else None

    def replicas(self) -> list[Replica]:
        return [
            Replica(name, replica.daemon.restarts)
            for name, replica in list(self._replicas.items())
            if self._balancer.is_ready(replica.port)
        ]

    def kill(self, replica: str) -> None:
        self._replicas[replica].daemon.send(signal.SIGKILL)

    def roll_out(self) -> None:
        """As `Target.roll_out`: one by one, the new one first."""
        with self._changing:
            for name in list(self._replicas):
                self._add()
                self.settle(len(self._replicas))
                self._remove(name)

    def scale(self, replicas: int) -> None:
        with self._changing:
            while len(self._replicas) < replicas:
                self._add()
            while len(self._replicas) > replicas:
                self._remove(next(iter(self._replicas)))
            self.settle(replicas)

    def paused(self, replica: str) -> AbstractContextManager[None]:
        return self._replicas[replica].daemon.paused()

    def starved(self, replica: str) -> AbstractContextManager[None]:
        return self._replicas[replica].daemon.starved()

    def out_of_memory(self, replica: str) -> AbstractContextManager[None]:
        """As `Target.out_of_memory`: each request for memory fails, which without an overcommitting kernel is what happens."""
        found = self._replicas[replica]
        return between(partial(found.daemon.limit_memory, to_what_it_has=True), partial(self._revive, found))

    def _revive(self, replica: _Process) -> None:
        """Give it memory again, and restart it if it does not answer, as a liveness probe would.

        CPython's `Thread.start` waits for ever for a thread that found no memory.
        """
        replica.daemon.limit_memory(to_what_it_has=False)
        try:
            wait_for(5, "an answer", partial(self._balancer.is_ready, replica.port))
        except WaitTimeoutError:
            replica.daemon.send(signal.SIGKILL)

    def disk_full(self, replica: str) -> AbstractContextManager[None]:
        found = self._replicas[replica]
        if not (found.disk and _has_disk(found)):
            raise UnsupportedError("a replica has no disk of its own here: that takes the right to mount one")
        ballast = found.disk / "ballast"
        return between(lambda: _fill(ballast), lambda: ballast.unlink(missing_ok=True))

    def kill_edge(self) -> None:
        if not self.by_request:
            raise self._unsupported("kill an edge without --edge")
        self._edge.send(signal.SIGKILL)

    def redis_stopped(self) -> AbstractContextManager[None]:
        return between(lambda: self._redis.end(signal.SIGKILL), self._redis.start)

    def redis_paused(self) -> AbstractContextManager[None]:
        return self._redis.paused()

    def flush_redis(self) -> None:
        self._tell_redis("FLUSHALL")

    def redis_read_only(self) -> AbstractContextManager[None]:
        """As `Target.redis_read_only`: it is a copy of a Redis that is not there."""
        tell = self._tell_redis
        return between(lambda: tell("REPLICAOF 127.0.0.1 1"), lambda: tell("REPLICAOF NO ONE"))

    def redis_full(self) -> AbstractContextManager[None]:
        tell = self._tell_redis
        return between(lambda: tell("CONFIG SET maxmemory 1"), lambda: tell("CONFIG SET maxmemory 0"))

    def redis_partitioned_from(self, replica: str) -> AbstractContextManager[None]:
        (line,) = self._lines(replica)
        return line.partitioned()

    def redis_misnamed(self) -> AbstractContextManager[None]:
        """As `Target.redis_misnamed`: a server of HTTP answers there, for replicas too that are added meanwhile."""
        lead = self._lead_lines
        return between(lambda: lead(self._upstream_port), lambda: lead(self._redis_port))

    def _lead_lines(self, port: int) -> None:
        self._lines_lead_to = port  # first: a line that is not one of `_lines` yet will read it
        for line in self._lines():
            line.lead_to(port)

    def _lines(self, replica: str = "") -> list[RedisLine]:
        """Those of all replicas, or of one. Raises UnsupportedError where there are none."""
        lines = [each.redis for name, each in list(self._replicas.items()) if each.redis and replica in ("", name)]
        if not lines:
            raise UnsupportedError("only in `run pairs` do replicas have lines to Redis that can be broken")
        return lines

    def _tell_redis(self, command: str) -> None:
        """Have Redis carry out *command*, as soon as it answers. Raises UnsupportedError if it refuses."""
        said = b""

        def answers() -> bool:
            nonlocal said
            with suppress(OSError), create_connection(("127.0.0.1", self._redis_port), timeout=1) as connection:
                connection.sendall(f"{command}\r\n".encode())
                said = connection.recv(100)
            return bool(said)

        wait_for(60, "an answer of Redis", answers)
        if not said.startswith(b"+OK"):
            raise UnsupportedError(f"Redis did not accept {command}: {said.decode(errors='replace').strip()}")

    def command_upstream(self, *words: str) -> str:
        return output_of(*self._upstream_script(*words))

    def _add(self) -> None:
        name, stack = f"replica-{next(self._numbers)}", ExitStack()
        taken = {replica.port for replica in self._replicas.values()}
        port = next(slot for slot in self._slots if slot not in taken) if self._slots else free_port()
        own, redis, disk = {"APIDEX_SERVED_BY": name}, None, None
        if self._is_breakable:
            redis = stack.enter_context(RedisLine(self._lines_lead_to).running())
            disk = stack.enter_context(_mounted(self._folder / f"{name}-disk"))
            own |= {"APIDEX_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0", "APIDEX_STATE_DIR": str(disk)}
        daemon = self._daemon(name, (*self._command, "--port", str(port)), **own)
        self._replicas[name] = _Process(daemon, port, stack, redis, disk)
        if redis:
            redis.lead_to(self._lines_lead_to)  # which may have changed before the line was one of `_lines`
        self._balancer.ports = [*self._balancer.ports, port]

    def _remove(self, name: str) -> None:
        """It drains: the balancer sends it nothing new as soon as it says that it is not ready."""
        replica = self._replicas[name]
        replica.daemon.end()
        replica.stack.close()
        del self._replicas[name]
        self._balancer.ports = [port for port in self._balancer.ports if port != replica.port]

    def _daemon(self, name: str, command: Sequence[str], **more: str) -> Daemon:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("APIDEX_")}
        addresses = {
            "APIDEX_STATE_DIR": "none",
            "APIDEX_UPSTREAM": f"http://127.0.0.1:{self._upstream_port}/entries.json",
            "APIDEX_REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0",
        }
        self._daemons.append(Daemon(command, clean | _SETTINGS | addresses | more, self._folder / f"{name}.log"))
        return self._daemons[-1]

    def _upstream_script(self, *words: str) -> tuple[str, ...]:
        return (sys.executable, str(_TESTBED / "upstream.py"), *words, "--port", str(self._upstream_port))


@contextmanager
def running(
    folder: Path,
    replicas: int = 4,
    command: Sequence[str] = SERVE,
    balancer: Callable[[], Balancer] = Balancer,
    *,
    edge: bool = False,
    breakable: bool = False,
) -> Iterator[Processes]:
    """Replicas that *command* starts, behind a balancer; their logs are in *folder*. All of it ends with the block."""
    with ExitStack() as stack:
        target = Processes(folder, stack.enter_context(balancer().running()), command, edge=edge, breakable=breakable)
        stack.callback(target.close)
        target.open(replicas)
        yield target


def _redis_command(port: int, folder: Path) -> tuple[str, ...]:
    """The real one where it is installed, and otherwise fakeredis's server."""
    if binary := shutil.which("redis-server"):
        options = f"--port {port} --bind 127.0.0.1 --appendonly no"
        return (binary, *options.split(), "--save", "", "--dir", str(folder))
    return (sys.executable, str(_TESTBED / "fake_redis.py"), str(port))


def _has_disk(replica: _Process) -> bool:
    return bool(replica.disk and replica.disk.is_mount())


@contextmanager
def _mounted(disk: Path) -> Iterator[Path]:
    """A small disk in memory, or a plain folder where this user may not mount one."""
    _unmount(disk)  # that of an earlier run, which was killed
    shutil.rmtree(disk, ignore_errors=True)
    disk.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(disk))
    with suppress(UnsupportedError):
        output_of("mount", *options)
    try:
        yield disk
    finally:
        with uninterrupted():
            _unmount(disk)


def _unmount(disk: Path) -> None:
    if disk.is_mount():
        output_of("umount", "--lazy", str(disk))


def _fill(ballast: Path) -> None:
    """Write zeros until there is no space left."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))
