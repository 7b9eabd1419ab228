"""Apidex as plain processes on this machine: replicas, a Redis, an upstream and a small balancer, all started and ended here."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from socket import create_connection

from loadtest.balancer import Balancer
from loadtest.system import UnsupportedError, between, free_port, listens, output_of, wait_for
from loadtest.targets.target import Replica, Target, TargetOptions

_TESTBED = Path(__file__).parents[1] / "testbed"
SERVE = (sys.executable, "-m", "apidex", "serve")
_RESTART_AFTER = 0.5
_SETTINGS = {
    "APIDEX_REFRESH_SECONDS": "5",
    "APIDEX_POLL_SECONDS": "1",
    "APIDEX_KEEP_ALIVE_SECONDS": "2",
    "APIDEX_DRAIN_SECONDS": "4",
}


class Daemon:
    """A process that is restarted when it ends without having been told to."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._command, self._environ, self._log = command, environ, log
        self.restarts, self._lock = 0, threading.Lock()
        self.start()

    def start(self) -> None:
        """Start it, at first or after `end`."""
        self._wanted = True
        self._begin()
        self._watch = threading.Thread(target=self._keep, daemon=True)
        self._watch.start()

    def send(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, patience: float = 45.0) -> None:
        """Have it end; by force if it does not within *patience* seconds."""
        with self._lock:
            self._wanted = False
            self.send(signal.SIGCONT)
            self.send(number)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._watch.join()

    def paused(self) -> AbstractContextManager[None]:
        """It is stopped by SIGSTOP while the block runs."""
        return between(lambda: self.send(signal.SIGSTOP), lambda: self.send(signal.SIGCONT))

    def _begin(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - commands of ours
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

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


class Processes(Target):
    """Replicas on ports of their own. Use `running`."""

    name, by_request = "processes", False

    def __init__(self, folder: Path, balancer: Balancer, command: Sequence[str]) -> None:
        self._folder, self._balancer, self._command = folder, balancer, command
        self._replicas: dict[str, tuple[Daemon, int]] = {}
        self._upstream_port, self._redis_port = free_port(), free_port()
        self._numbers = iter(range(1, 10_000))
        self._daemons: list[Daemon] = []

    @classmethod
    def opened(cls, options: TargetOptions) -> AbstractContextManager["Processes"]:
        return running(options.folder)

    def open(self, replicas: int) -> None:
        """Start everything."""
        self._daemon("upstream", self._upstream_script("serve", "--host", "127.0.0.1"))
        self._redis = self._daemon("redis", _redis_command(self._redis_port, self._folder))
        for what, port in (("upstream", self._upstream_port), ("Redis", self._redis_port)):
            wait_for(20, f"an answer of the {what}", partial(listens, port))
        self.scale(replicas)
        self.host = f"http://127.0.0.1:{self._balancer.port}"

    def close(self) -> None:
        """End everything, at once."""
        for daemon in self._daemons:
            daemon.end(signal.SIGKILL)

    def replicas(self) -> list[Replica]:
        return [
            Replica(name, daemon.restarts)
            for name, (daemon, port) in self._replicas.items()
            if self._balancer.is_ready(port)
        ]

    def kill(self, replica: str) -> None:
        self._replicas[replica][0].send(signal.SIGKILL)

    def roll_out(self) -> None:
        """As `Target.roll_out`: one by one, the new one first."""
        for name in list(self._replicas):
            self._add()
            self.settle(len(self._replicas))
            self._remove(name)

    def scale(self, replicas: int) -> None:
        while len(self._replicas) < replicas:
            self._add()
        while len(self._replicas) > replicas:
            self._remove(next(iter(self._replicas)))
        self.settle(replicas)

    def paused(self, replica: str) -> AbstractContextManager[None]:
        return self._replicas[replica][0].paused()

    def redis_stopped(self) -> AbstractContextManager[None]:
        return between(lambda: self._redis.end(signal.SIGKILL), self._redis.start)

    def redis_paused(self) -> AbstractContextManager[None]:
        return self._redis.paused()

    def flush_redis(self) -> None:
        with create_connection(("127.0.0.1", self._redis_port), timeout=5) as connection:
            connection.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
            if not connection.recv(100).startswith(b"+OK"):
                raise UnsupportedError("Redis did not accept FLUSHALL")

    def command_upstream(self, *words: str) -> str:
        return output_of(*self._upstream_script(*words))

    def _add(self) -> None:
        name, port = f"replica-{next(self._numbers)}", free_port()
        self._replicas[name] = (self._daemon(name, (*self._command, "--port", str(port)), APIDEX_SERVED_BY=name), port)
        self._balancer.ports = [*self._balancer.ports, port]

    def _remove(self, name: str) -> None:
        """It drains: the balancer sends it nothing new as soon as it says that it is not ready."""
        daemon, port = self._replicas[name]
        daemon.end()
        del self._replicas[name]
        self._balancer.ports = [each for each in self._balancer.ports if each != port]

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
    folder: Path, replicas: int = 4, command: Sequence[str] = SERVE, balancer: Callable[[], Balancer] = Balancer
) -> Iterator[Processes]:
    """Replicas that *command* starts, behind a balancer; their logs are in *folder*. All of it ends with the block."""
    with ExitStack() as stack:
        target = Processes(folder, stack.enter_context(balancer().running()), command)
        stack.callback(target.close)
        target.open(replicas)
        yield target


def _redis_command(port: int, folder: Path) -> tuple[str, ...]:
    """The real one where it is installed, and otherwise fakeredis's server."""
    if binary := shutil.which("redis-server"):
        options = f"--port {port} --bind 127.0.0.1 --appendonly no"
        return (binary, *options.split(), "--save", "", "--dir", str(folder))
    return (sys.executable, str(_TESTBED / "fake_redis.py"), str(port))
