"""Apidex as `docker compose up` runs it: HAProxy in front, which balances by request."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.system import UnsupportedError, free_port, output_of
from loadtest.targets.target import Replica, Target, TargetOptions

ROOT = Path(__file__).parents[2]
FILES = ("--file", str(ROOT / "compose.yaml"))
NODE_AGENT = ROOT / "loadtest/testbed/node_agent.py"
TESTBED = (*FILES, "--file", str(ROOT / "loadtest/testbed/compose.yaml"))


class Compose(Target):
    """The compose project *project*, which is up."""

    name, by_request = "compose", True

    def __init__(self, project: str) -> None:
        self._project = project
        self.host = f"http://127.0.0.1:{self._published_port()}"
        self._has_testbed = "upstream" in self._services()
        self._image = self._containers("api")[0]["Image"]
        self._replicas = len(self._containers("api"))

    @classmethod
    def opened(cls, options: TargetOptions) -> AbstractContextManager["Compose"]:
        if options.up:
            return provisioned("apidex-loadtest", free_port())
        return nullcontext(cls(options.project))

    @classmethod
    def control_host(cls) -> str:
        """The host of the engine that Docker's context names, which mostly is a socket on this machine."""
        engine = urlsplit(output_of("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip())
        return "localhost" if engine.scheme in ("unix", "npipe") else engine.hostname or engine.geturl()

    def replicas(self) -> list[Replica]:
        return [
            Replica(found["Id"][:12], found["RestartCount"])
            for found in self._inspected("api")
            if found["State"].get("Health", {}).get("Status") == "healthy"
        ]

    def kill(self, replica: str) -> None:
        """As `Target.kill`: from outside of the container, whose first process takes no SIGKILL from within, and not by
        `docker kill`, after which Docker would not restart it."""
        self._act_on(output_of("docker", "inspect", "--format", "{{.Id}}", replica).strip(), "signal", "9")

    def kill_all(self) -> None:
        self._act_on(",".join(container["Id"] for container in self._inspected("api")), "signal", "9")

    def roll_out(self) -> None:
        """As `Target.roll_out`: compose restarts all of them at the same time."""
        self._compose("restart", "api")
        self._up()

    def scale(self, replicas: int) -> None:
        self._replicas = replicas
        self._up("--no-recreate")

    @contextmanager
    def paused(self, replica: str) -> Iterator[None]:
        try:
            output_of("docker", "pause", replica)
            yield
        finally:
            output_of("docker", "unpause", replica)

    @contextmanager
    def redis_stopped(self) -> Iterator[None]:
        try:
            self._compose("kill", "redis")
            yield
        finally:
            self._compose("start", "redis")

    @contextmanager
    def redis_paused(self) -> Iterator[None]:
        try:
            self._compose("pause", "redis")
            yield
        finally:
            self._compose("unpause", "redis")

    def flush_redis(self) -> None:
        self._compose("exec", "--no-TTY", "redis", "redis-cli", "flushall")

    def command_upstream(self, *words: str) -> str:
        self._require_testbed()
        return self._compose("exec", "--no-TTY", "upstream", "python3", "/testbed/upstream.py", *words)

    def redis_partitioned(self) -> AbstractContextManager[None]:
        return self._partitioned("redis")

    def upstream_partitioned(self) -> AbstractContextManager[None]:
        self._require_testbed()
        return self._partitioned("upstream")

    def _require_testbed(self) -> None:
        if not self._has_testbed:
            raise UnsupportedError(
                "this compose project has an upstream of its own; `--up` starts one that can misbehave"
            )

    @contextmanager
    def _partitioned(self, service: str) -> Iterator[None]:
        (container,) = self._inspected(service)
        try:
            self._act_on(container["Id"], "partition")
            yield
        finally:
            self._act_on(container["Id"], "heal")

    def _act_on(self, container: str, verb: str, *more: str) -> None:
        """Run `node_agent.py` on a container, from beside it."""
        apart = ("--rm", "--privileged", "--pid", "host", "--user", "0", "--entrypoint", "python3")
        output_of("docker", "run", *apart, self._image, "-c", NODE_AGENT.read_text(), verb, container, *more)

    def _up(self, *more: str) -> None:
        scale = ("--scale", f"api={self._replicas}")
        self._compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "90", *more, *scale, "api")

    def _compose(self, *arguments: str) -> str:
        files = TESTBED if getattr(self, "_has_testbed", False) else FILES
        return output_of("docker", "compose", "--project-name", self._project, *files, *arguments)

    def _services(self) -> list[str]:
        found = self._compose("ps", "--format", "json").splitlines()
        return [json.loads(line)["Service"] for line in found]

    def _containers(self, service: str) -> list[dict[str, str]]:
        found = [json.loads(line) for line in self._compose("ps", "--format", "json", service).splitlines()]
        if not found:
            raise UnsupportedError(
                f"the compose project {self._project!r} has no running {service}: `docker compose up`, or `--up`"
            )
        return found

    def _inspected(self, service: str) -> list[dict[str, Any]]:
        found = self._compose("ps", "--quiet", "--no-trunc", service).split()
        containers: list[dict[str, Any]] = json.loads(output_of("docker", "inspect", *found)) if found else []
        return containers

    def _published_port(self) -> str:
        self._containers("haproxy")
        return self._compose("port", "haproxy", "8000").strip().rpartition(":")[2]


@contextmanager
def provisioned(project: str, port: int) -> Iterator[Compose]:
    """A compose project of its own, with the testbed's upstream, taken down at the end. The image must exist."""
    compose = ("env", f"APIDEX_PUBLISHED_PORT={port}", "docker", "compose", "--project-name", project, *TESTBED)
    output_of(*compose, "down", "--volumes", "--timeout", "1")
    try:
        output_of(*compose, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "90")
        yield Compose(project)
    finally:
        output_of(*compose, "down", "--volumes", "--timeout", "1")
