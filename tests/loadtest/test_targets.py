"""What the faults of pairs do to compose and to a cluster: the commands that begin and end them. Nothing is run here."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from loadtest.faults.redis import (
    RedisDown,
    RedisFlush,
    RedisFull,
    RedisHang,
    RedisMisnamed,
    RedisPartitionFromOne,
    RedisReadOnly,
)
from loadtest.faults.replicas import Kill, KillEdge, OutOfMemory, Pause, Starve
from loadtest.faults.upstream import BadUpstream
from loadtest.system import UnsupportedError, running_until_end_of_input
from loadtest.targets import compose, kubernetes, processes
from loadtest.targets.target import Target

from processes import wait_until


def pod(name: str) -> dict:
    container = {"containerID": f"containerd://id-of-{name}", "restartCount": 0, "ready": True}
    status = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [container]}
    return {"metadata": {"name": name}, "spec": {"nodeName": "node-1"}, "status": status}


def kubectl(command: str) -> str:
    """What kubectl says of a cluster with a pod of each kind."""
    if " auth can-i " in command:
        return "yes"
    if " get service redis " in command:
        return json.dumps({"spec": {"clusterIP": "10.0.0.6"}})
    if " get pod " in command:
        return json.dumps(pod(command.partition(" get pod ")[2].split()[0]))
    if " get deployments " in command:
        template = {"spec": {"containers": [{"image": "apidex"}]}}
        return json.dumps({"items": [{"spec": {"replicas": 4, "template": template}}]})
    if " get pods " in command:
        name = command.partition("app.kubernetes.io/name=")[2].split()[0]
        return json.dumps({"items": [pod(name)]})
    return ""


def docker(command: str) -> str:
    """What docker says of a compose project."""
    if " port haproxy" in command:
        return "127.0.0.1:8000"
    if " ps --format json" in command:
        return json.dumps({"Service": "upstream"})
    if " ps --quiet" in command:
        return f"id-of-{command.rsplit(maxsplit=1)[-1]}"
    if "{{.State.Paused}}" in command:
        return "true"
    if "{{.Id}}" in command:
        return f"id-of-{command.rsplit(maxsplit=1)[-1]}"
    if command.startswith("docker inspect"):
        networks = {"Networks": {"cache": {"IPAddress": "10.0.0.6"}}}
        return json.dumps([{"Id": "a", "RestartCount": 0, "Config": {"Image": "apidex"}, "NetworkSettings": networks}])
    return ""


@pytest.fixture(params=["compose", "kubernetes"])
def target(request, monkeypatch) -> tuple[Target, list[str]]:
    """A target, and the commands that it runs."""
    module, says = (compose, docker) if request.param == "compose" else (kubernetes, kubectl)
    commands = []

    def output_of(*command, **_):
        text = " ".join(command)
        shown = text.replace(module.NODE_AGENT.read_text(), "node_agent.py")
        is_killed = any(re.search("signal id-of-(edge|apidex) 9", earlier) for earlier in commands)
        commands.append(shown)
        return says(shown).replace('"restartCount": 0', f'"restartCount": {int(is_killed)}')

    @contextmanager
    def running(*command):
        output_of(*command)
        yield
        commands.append("end of input")

    monkeypatch.setattr(module, "output_of", output_of)
    monkeypatch.setattr(module, "running_until_end_of_input", running)
    made = compose.Compose("apidex") if module is compose else kubernetes.Kubernetes("http://127.0.0.1:1")
    commands.clear()
    return made, commands


@pytest.mark.parametrize(
    ("fault", "begins", "ends"),
    [
        (BadUpstream("slow"), "/testbed/upstream.py begin slow", "/testbed/upstream.py end slow"),
        (
            RedisDown(),
            ("kill redis", "scale deployment/redis --replicas=0"),
            ("start redis", "status deployment/redis"),
        ),
        (
            RedisHang(),
            ("pause redis", "signal id-of-redis 19"),
            ("docker unpause id-of-redis", "signal id-of-redis 18"),
        ),
        (RedisFlush(), "redis-cli del {apidex:1}:head", None),
        (
            RedisFull(),
            "--user testbed --pass any --no-auth-warning -e config set maxmemory 1",
            "config set maxmemory 128mb",
        ),
        (RedisReadOnly(), "-e replicaof 127.0.0.1 1", "-e replicaof no one"),
        (
            RedisPartitionFromOne("api"),
            "node_agent.py block id-of-api 10.0.0.6",
            "node_agent.py unblock id-of-api 10.0.0.6",
        ),
        (RedisMisnamed(), "-e client kill type normal", ("rename id-of-api", "rename id-of-apidex")),
        (Pause("api"), ("docker pause api", "signal id-of-api 19"), ("docker unpause api", "signal id-of-api 18")),
        (Starve("api"), "node_agent.py starve id-of-api", "end of input"),
        (OutOfMemory("api"), "/proc/1/oom_score_adj", None),
        (Kill("apidex"), "signal id-of-apidex 9", None),
        (KillEdge(), ("signal id-of-haproxy 9", "signal id-of-edge 9"), None),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_a_fault_is_begun_and_ended(target, fault, begins, ends):
    made, commands = target
    place = made.name == "kubernetes"
    with fault.inject(made) or nullcontext():
        expected = begins if isinstance(begins, str) else begins[place]
        assert any(expected in command for command in commands[-2:])  # the last one may wait for its effect
        begun = len(commands)
    if ends is None:
        assert commands[begun:] == []
    else:
        assert (ends if isinstance(ends, str) else ends[place]) in commands[-1]


def test_every_node_takes_pods_again_though_an_interrupt_comes_meanwhile(interruptible, monkeypatch):
    commands = []

    def output_of(_, *words):
        if words == ("uncordon", "b"):
            signal.raise_signal(signal.SIGINT)
        commands.append(" ".join(words))

    monkeypatch.setattr(kubernetes, "output_of", output_of)
    with pytest.raises(KeyboardInterrupt), kubernetes.cordoned("a", "b"):
        pass
    assert commands == ["cordon a", "cordon b", "uncordon b", "uncordon a"]


def test_a_process_that_is_paused_is_so_after_it_was_started_again(tmp_path):
    def state() -> str:
        return Path(f"/proc/{daemon._process.pid}/stat").read_text().rpartition(") ")[2][0]

    daemon = processes.Daemon(("sleep", "600"), os.environ, tmp_path / "log")
    try:
        with daemon.paused():
            daemon.end(signal.SIGKILL)
            daemon.start()
            wait_until(lambda: state() == "T", "a process that is stopped")
        wait_until(lambda: state() != "T", "a process that goes on")
    finally:
        daemon.end(signal.SIGKILL)


@pytest.fixture
def lines(monkeypatch, tmp_path) -> Iterator[tuple[processes.Processes, dict[str, dict[str, str]]]]:
    """A target of processes in a folder with a relative path, none of which are started, and the settings of each."""
    settings = {}

    def daemon(_, environ, log):
        settings[log.stem] = environ
        return SimpleNamespace(end=lambda *_: None, restarts=0)

    def mount(*command):
        raise UnsupportedError("no disk is mounted here")

    monkeypatch.setattr(processes, "Daemon", daemon)
    monkeypatch.setattr(processes, "output_of", mount)
    monkeypatch.chdir(tmp_path)
    balancer = SimpleNamespace(ports=[], is_ready=lambda _: True)
    with closing(processes.Processes(Path(), balancer, (), breakable=True)) as made:
        yield made, settings


def test_the_disk_of_a_replica_has_an_absolute_path(lines):
    made, settings = lines
    made.scale(1)
    assert Path(settings["replica-1"]["APIDEX_STATE_DIR"]).is_absolute()


def test_the_name_of_redis_leads_elsewhere_for_replicas_that_are_added_meanwhile(lines):
    made, _ = lines
    made.scale(1)
    with made.redis_misnamed():
        made.scale(2)
        meanwhile = [line.backend() for line in made._lines()]
    assert meanwhile == [made._upstream_port] * 2
    assert [line.backend() for line in made._lines()] == [made._redis_port] * 2


def test_a_program_that_does_not_begin_breaks_nothing():
    with running_until_end_of_input("sh", "-c", "echo begun; cat"):
        pass
    with pytest.raises(UnsupportedError, match="did not begin"), running_until_end_of_input("false"):
        pass
