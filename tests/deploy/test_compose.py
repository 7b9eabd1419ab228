"""The stories on compose: a project of its own, on a free port, taken down at the end.

Each story leaves four replicas and the rest as it found them. `pytest -s` shows the figures.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from conftest import ROOT
from deploy import testdata
from deploy.rendering import output_of
from deploy.traffic import load

pytestmark = pytest.mark.real

FILES = ("--file", str(ROOT / "compose.yaml"), "--file", str(ROOT / "tests/deploy/upstream.compose.yaml"))


@dataclass
class Stack:
    """A compose project for the stories."""

    port: int
    image: str
    catalogue: Path
    upstream: str = ""
    seconds: float = field(default=0.0, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> str:
        environ = os.environ | {
            "APIDEX_PUBLISHED_PORT": str(self.port),
            "TEST_APIDEX_CATALOGUE": str(self.catalogue.parent),
            "TEST_APIDEX_IMAGE": self.image,
            "TEST_APIDEX_UPSTREAM": self.upstream,
        }
        return output_of("docker", "compose", "--project-name", "apidex-stories", *FILES, *arguments, env=environ)

    def up(self, *arguments: str) -> None:
        """From whatever there is to everything healthy; *seconds* says how long it took."""
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "90", *arguments)
        self.seconds = time.monotonic() - began

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "1")

    def replicas(self) -> list[str]:
        """The containers of all replicas; the first twelve characters are the name that each answers with."""
        return self.compose("ps", "--quiet", "--no-trunc", "api").split()

    def inspect(self, container: str) -> dict:
        return json.loads(output_of("docker", "inspect", container))[0]


def shown(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.1%}" for share in shares.values())


@pytest.fixture(scope="module")
def stack(image, catalogue) -> Iterator[Stack]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        stack = Stack(free.getsockname()[1], image, catalogue)
    stack.down()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def test_everything_is_healthy_within_thirty_seconds(stack):
    print(f"\nup from nothing: {stack.seconds:.1f} s")
    assert stack.seconds < 30
    assert len(stack.replicas()) == 4


def test_all_replicas_answer_a_search_with_the_same_bytes(stack):
    for name in testdata.names(50):
        assert set(testdata.answers_of_all(stack.url, name, 4).values()) == {testdata.answer_to(name)}, name
    print("\nsearch: 50 names, four replicas, the same bytes, as in the catalogue given")


def test_new_connections_are_spread(stack):
    shares = testdata.spread(stack.url, 400)
    print(f"\nspreading: 400 new connections: {shown(shares)}")
    assert len(shares) == 4
    assert all(0.15 <= share <= 0.35 for share in shares.values())


def test_kept_alive_requests_are_spread_and_an_added_replica_gets_its_share(stack):
    """HAProxy balances by request: who keeps a connection is served by all of them."""
    with load(("127.0.0.1", stack.port), kept_alive=16, new=0) as traffic:
        time.sleep(10)
        before = traffic.shares()
        stack.compose("up", "--detach", "--no-build", "--no-recreate", "--wait", "--scale", "api=5")
        added = time.monotonic()
        time.sleep(10)
        after = traffic.shares(since=added + 2)
    stack.up("--no-recreate", "--scale", "api=4")
    print(f"\nspreading, kept alive: {shown(before)}; with a fifth: {shown(after)}; {traffic.figures()}")
    assert len(before) == 4
    assert min(before.values()) >= 0.1
    assert len(after) == 5
    assert min(after.values()) >= 0.1
    assert traffic.failures == []


def test_a_replica_whose_process_is_killed_comes_back_and_no_request_fails(stack, image):
    victim = stack.replicas()[0]
    with load(("127.0.0.1", stack.port)) as traffic:
        time.sleep(2)
        kill(image, stack.inspect(victim)["State"]["Pid"])
        killed = time.monotonic()
        while victim[:12] not in traffic.shares(since=killed):
            assert time.monotonic() < killed + 30, "the replica did not come back"
            time.sleep(0.2)
        time.sleep(2)
    print(f"\nkilled: silent for {traffic.pause_of(victim[:12]):.1f} s; {traffic.figures()}")
    assert stack.inspect(victim)["RestartCount"] == 1
    assert traffic.failures == []


def kill(image: str, *pids: int) -> None:
    """SIGKILL, from the engine's side: a container's first process takes none that comes from within."""
    code = f"import os; [os.kill(pid, 9) for pid in {pids}]"
    output_of("docker", "run", "--rm", "--pid", "host", "--user", "0", image, "python3", "-c", code)


def test_a_replica_that_hangs_costs_time_and_no_request(stack):
    victim = stack.replicas()[0]
    with load(("127.0.0.1", stack.port)) as traffic:
        time.sleep(2)
        output_of("docker", "pause", victim)
        paused = time.monotonic()
        time.sleep(8)
        output_of("docker", "unpause", victim)
        time.sleep(3)
    slow = [answer for answer in traffic.answers if answer.at > paused and answer.seconds > 1]
    last = max((answer.at for answer in slow), default=paused) - paused
    print(f"\nhanging: {len(slow)} requests were slow, the last one sent {last:.1f} s after; {traffic.figures()}")
    assert traffic.failures == []


def test_restarting_all_replicas_at_once_loses_no_request(stack):
    with load(("127.0.0.1", stack.port)) as traffic:
        time.sleep(2)
        began = time.monotonic()
        stack.compose("restart", "api")
        seconds = time.monotonic() - began
        stack.up()
        time.sleep(2)
    print(f"\nrestart: {seconds:.1f} s; {traffic.figures()}")
    assert traffic.failures == []


def test_all_replicas_killed_at_once_are_waited_for(stack, image):
    """Requests that no replica can take are held until one can."""
    pids = [stack.inspect(replica)["State"]["Pid"] for replica in stack.replicas()]
    with load(("127.0.0.1", stack.port)) as traffic:
        time.sleep(2)
        kill(image, *pids)
        time.sleep(5)
        stack.up()
    print(f"\nall killed: {traffic.figures()}")
    assert traffic.failures == []


def test_no_request_fails_without_redis(stack):
    """Deleted, and back with nothing: the replicas refill it."""
    before = [stack.inspect(replica)["State"]["StartedAt"] for replica in stack.replicas()]
    with load(("127.0.0.1", stack.port)) as traffic:
        stack.compose("rm", "--stop", "--force", "redis")
        time.sleep(10)
        stack.up("redis")
        time.sleep(10)
    after = [stack.inspect(replica)["State"]["StartedAt"] for replica in stack.replicas()]
    states = testdata.state_of_all(stack.url, 4)
    print(f"\nRedis gone for 10 s: {traffic.figures()}")
    assert traffic.failures == []
    assert after == before
    assert len({state["version"] for state in states.values()}) == 1


def test_a_slow_head_is_closed(stack):
    with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as silent:
        began = time.monotonic()
        silent.sendall(b"GET /Cat HTTP/1.1\r\n")
        answer = silent.recv(4096)
        seconds = time.monotonic() - began
    print(f"\na head that never ends: closed after {seconds:.1f} s")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seconds < 10


def test_nothing_but_haproxy_is_published(stack):
    containers = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    published = {
        (item["Service"], port["PublishedPort"])
        for item in containers
        for port in item["Publishers"] or []
        if port["PublishedPort"]
    }
    assert published == {("haproxy", stack.port)}


def test_with_the_upstream_out_of_reach_from_the_start_it_answers_from_the_starter_catalogue(image, stack):
    stack.down()
    stack.upstream = "http://upstream:9/"
    try:
        stack.up()
        states = testdata.state_of_all(stack.url, 4)
        found = httpx.get(f"{stack.url}/Cat", timeout=5).raise_for_status().json()
    finally:
        stack.down()
        stack.upstream = ""
    print(f"\nupstream out of reach: healthy after {stack.seconds:.1f} s, {states.popitem()[1]['state']}")
    assert {state["state"] for state in states.values()} == {"bundled"}
    assert found == [entry for entry in testdata.STARTER if "Cat" in entry["API"]]
