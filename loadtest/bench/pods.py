"""Replicas in pods of a cluster that runs on this machine, which are measured as processes are."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from loadtest.bench.process import PATIENCE, ServerProcess
from loadtest.system import UnsupportedError, free_port, is_this_machine, listens, tool, wait_for
from loadtest.targets.kubernetes import NAMESPACE, Kubernetes, container_of, listed, provisioned

_PORT = 8000


@contextmanager
def replicas(number: int) -> Iterator[tuple[str, list[ServerProcess]]]:
    """The URL of a Redis, and so many replicas in pods, whose upstream does not answer. Raises UnsupportedError."""
    if not is_this_machine(host := Kubernetes.control_host()):
        raise UnsupportedError(
            f"the cluster at {host} does not run on this machine, so that its pods cannot be measured"
        )
    with provisioned() as target, ExitStack() as stack:
        target.command_upstream("begin", "disconnect")
        target.scale(number)
        redis = stack.enter_context(_forwarded("deployment/redis", 6379))
        servers = [stack.enter_context(_server(pod)) for pod in listed("pods", "apidex")]
        yield f"redis://testbed:any@127.0.0.1:{redis}/0", servers


@contextmanager
def _server(pod: dict[str, Any]) -> Iterator[ServerProcess]:
    with _forwarded(f"pod/{pod['metadata']['name']}", _PORT) as port:
        yield ServerProcess(_process_of(container_of(pod)), port, inside=_PORT)


@contextmanager
def _forwarded(name: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to the *port* of a pod."""
    own = free_port()
    command = [tool("kubectl"), "--namespace", NAMESPACE, "port-forward", name, f"{own}:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            wait_for(PATIENCE, f"a port that leads to {name}", lambda: listens(own) or process.poll() is not None)
            if process.poll() is not None:
                raise UnsupportedError(f"kubectl cannot forward a port to {name}")
            yield own
        finally:
            process.terminate()


def _process_of(container: str) -> int:
    """The first process of a container. Raises UnsupportedError where it does not run on this machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            is_first = re.search(r"^NSpid:.*\t1$", (folder / "status").read_text(), re.MULTILINE)
            if is_first and container in (folder / "cgroup").read_text():
                return int(folder.name)
    raise UnsupportedError(f"no process of container {container} is found on this machine: its pod cannot be measured")
