"""Apidex as `docker compose up` runs it: HAProxy in front, which balances by request."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.system import UnsupportedError, between, free_port, output_of, persist, running_until_end_of_input
from loadtest.targets.target import (
    EMPTY_REDIS,
    EXHAUST_MEMORY,
    MAX_MEMORY,
    TELL_REDIS,
    TESTBED_VERBS,
    Replica,
    Target,
    TargetOptions,
)

ROOT = Path(__file__).parents[2]
FILES = ("--file", str(ROOT / "compose.yaml"))
NODE_AGENT = ROOT / "loadtest/testbed/node_agent.py"
TESTBED = (*FILES, "--file", str(ROOT / "loadtest/testbed/compose.yaml"))


class Compose(Target):
    """The compose project *project*, which is up."""

    name, by_request = "compose", True

    def __init__(self, project: str) -> None:
        self._project = project
        self._files: tuple[str, ...] = FILES
        self._ids("haproxy")
        self.host = "http://127.0.0.1:" + self._compose("port", "haproxy", "8000").strip().rpartition(":")[2]
        listed = [json.loads(line) for line in self._compose("ps", "--format", "json").splitlines()]
        self._has_testbed = any(container["Service"] == "upstream" for container in listed)
        self._files = TESTBED if self._has_testbed else FILES
        replicas = self._inspected("api")
        self._image, self._replicas = replicas[0]["Config"]["Image"], len(replicas)

    @classmethod
    def opened(cls, options: TargetOptions) -> AbstractContextManager["Compose"]:
        if options.up:
            return provisioned("apidex-loadtest", free_port())
        return nullcontext(cls(options.project))

    def can(self, verb: Callable[..., object]) -> bool:
        """As `Target.can`: some faults of Redis, and those of the upstream, take the testbed."""
        return super().can(verb) and (self._has_testbed or verb not in TESTBED_VERBS)

    @classmethod
    def control_host(cls) -> str:
        """The host of the engine that Docker's context names, which mostly is a socket on this machine."""
        engine = urlsplit(output_of("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip())
        return "localhost" if engine.scheme in ("unix", "npipe") else engine.hostname or engine.geturl()

    def edge_log(self) -> str | None:
        return self._compose("logs", "--no-log-prefix", "haproxy")

    def replicas(self) -> list[Replica]:
        return [
            Replica(found["Id"][:12], found["RestartCount"])
            for found in self._inspected("api")
            if found["State"].get("Health", {}).get("Status") == "healthy"
        ]

    def kill(self, replica: str) -> None:
        """As `Target.kill`: from outside of the container, whose first process takes no SIGKILL from within, and not by
        `docker kill`, after which Docker would not restart it."""
        self._act_on(self._id(replica), "signal", "9")

    def kill_all(self) -> None:
        self._act_on(",".join(self._ids("api")), "signal", "9")

    def roll_out(self) -> None:
        """As `Target.roll_out`: compose restarts all of them at the same time."""
        self._compose("restart", "api")
        self._up()

    def scale(self, replicas: int) -> None:
        self._replicas = replicas
        self._up("--no-recreate")

    def paused(self, replica: str) -> AbstractContextManager[None]:
        pause = partial(output_of, "docker", "pause", replica)  # a busy container may not freeze at once
        return between(lambda: persist(pause), lambda: _resume(replica))

    def starved(self, replica: str) -> AbstractContextManager[None]:
        return running_until_end_of_input(*self._agent(self._id(replica), "starve"))

    @contextmanager
    def out_of_memory(self, replica: str) -> Iterator[None]:
        with suppress(UnsupportedError):  # it ends with the container
            output_of("docker", "exec", replica, "python3", "-c", EXHAUST_MEMORY)
        yield

    def kill_edge(self) -> None:
        (edge,) = self._ids("haproxy")
        self._act_on(edge, "signal", "9")

    def redis_stopped(self) -> AbstractContextManager[None]:
        kill = partial(persist, lambda: self._compose("kill", "redis"))
        return between(kill, lambda: self._compose("start", "redis"))

    def redis_paused(self) -> AbstractContextManager[None]:
        return between(lambda: persist(lambda: self._compose("pause", "redis")), self._resume_redis)

    def _resume_redis(self) -> None:
        with suppress(UnsupportedError):  # it does not run
            _resume(self._ids("redis")[0])

    def flush_redis(self) -> None:
        persist(lambda: self._compose("exec", "--no-TTY", "redis", *EMPTY_REDIS))

    def redis_read_only(self) -> AbstractContextManager[None]:
        return between(lambda: self._tell_redis("replicaof 127.0.0.1 1"), lambda: self._tell_redis("replicaof no one"))

    def redis_full(self) -> AbstractContextManager[None]:
        limit = "config set maxmemory {}".format
        return between(lambda: self._tell_redis(limit(1)), lambda: self._tell_redis(limit(MAX_MEMORY)))

    def _tell_redis(self, command: str) -> None:
        self._require_testbed()
        persist(lambda: self._compose("exec", "--no-TTY", "redis", *TELL_REDIS, *command.split()))

    def command_upstream(self, *words: str) -> str:
        self._require_testbed()
        return self._compose("exec", "--no-TTY", "upstream", "python3", "/testbed/upstream.py", *words)

    def redis_partitioned(self) -> AbstractContextManager[None]:
        return self._partitioned("redis")

    def redis_partitioned_from(self, replica: str) -> AbstractContextManager[None]:
        container, networks = self._id(replica), self._inspected("redis")[0]["NetworkSettings"]["Networks"]
        (address,) = (network["IPAddress"] for network in networks.values())
        return between(
            lambda: self._act_on(container, "block", address), lambda: self._act_on(container, "unblock", address)
        )

    def redis_misnamed(self) -> AbstractContextManager[None]:
        replicas = ",".join(self._ids("api"))
        return between(lambda: self._misname(replicas), lambda: self._act_on(replicas, "rename"))

    def _misname(self, replicas: str) -> None:
        self._act_on(replicas, "misname", "redis")
        self._tell_redis("client kill type normal")

    def upstream_partitioned(self) -> AbstractContextManager[None]:
        self._require_testbed()
        return self._partitioned("upstream")

    def _require_testbed(self) -> None:
        if not self._has_testbed:
            raise UnsupportedError(
                "this compose project has an upstream of its own; `--up` starts one that can misbehave"
            )

    def _partitioned(self, service: str) -> AbstractContextManager[None]:
        (container,) = self._ids(service)
        return between(lambda: self._act_on(container, "partition"), lambda: self._act_on(container, "heal"))

    def _act_on(self, container: str, verb: str, *more: str) -> None:
        output_of(*self._agent(container, verb, *more))

    def _agent(self, container: str, verb: str, *more: str) -> tuple[str, ...]:
        """The command that runs `node_agent.py` on a container, from beside it."""
        apart = ("--rm", "--interactive", "--privileged", "--pid", "host", "--user", "0", "--entrypoint", "python3")
        return ("docker", "run", *apart, self._image, "-c", NODE_AGENT.read_text(), verb, container, *more)

    def _id(self, replica: str) -> str:
        return output_of("docker", "inspect", "--format", "{{.Id}}", replica).strip()

    def _up(self, *more: str) -> None:
        scale = ("--scale", f"api={self._replicas}")
        self._compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "90", *more, *scale, "api")

    def _compose(self, *arguments: str) -> str:
        return output_of("docker", "compose", "--project-name", self._project, *self._files, *arguments)

    def _ids(self, service: str) -> list[str]:
        """Of the service's containers. Raises UnsupportedError for none."""
        if found := self._compose("ps", "--quiet", "--no-trunc", service).split():
            return found
        wanted = "`docker compose up`, or `--up`"
        raise UnsupportedError(f"the compose project {self._project!r} has no running {service}: {wanted}")

    def _inspected(self, service: str) -> list[dict[str, Any]]:
        containers: list[dict[str, Any]] = json.loads(output_of("docker", "inspect", *self._ids(service)))
        return containers


def _resume(container: str) -> None:
    """Let it run again, if it still is there and paused: another fault may have ended it."""
    with suppress(UnsupportedError):
        if output_of("docker", "inspect", "--format", "{{.State.Paused}}", container).strip() == "true":
            output_of("docker", "unpause", container)


@contextmanager
def provisioned(project: str, port: int) -> Iterator[Compose]:
    """A compose project of its own, with the testbed's upstream, taken down at the end. The image must exist."""
    compose = ("env", f"APIDEX_PUBLISHED_PORT={port}", "docker", "compose", "--project-name", project, *TESTBED)
    down = (*compose, "down", "--volumes", "--timeout", "1")
    up = (*compose, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "90")
    output_of(*down)
    with between(lambda: output_of(*up), lambda: output_of(*down)):
        yield Compose(project)
