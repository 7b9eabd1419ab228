"""Redis behind Sentinel: the master changes in the middle of a refresh, and nothing is lost."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from loadtest.system import free_port

from processes import HANG, Process, need, replica, wait_until
from redis_server import RedisServer
from upstream_server import upstream_server

pytestmark = pytest.mark.real


@contextlib.contextmanager
def sentinel_of(master: RedisServer, folder: Path) -> Iterator[redis.Redis]:
    """A sentinel that makes another server the master as soon as *master* has been down for half a second."""
    port, config = free_port(), folder / "sentinel.conf"
    rules = ["down-after-milliseconds main 500", "failover-timeout main 5000", "resolve-hostnames no"]
    monitor = f"sentinel monitor main 127.0.0.1 {master.port} 1"
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", monitor, *(f"sentinel {rule}" for rule in rules)]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([need("redis-server"), str(config), "--sentinel"], stdout=subprocess.DEVNULL, text=True)
    try:
        with redis.Redis(port=port, socket_timeout=HANG) as client:
            wait_until(lambda: knows_a_replica(client), "a sentinel that knows the replica")
            yield client
    finally:
        process.kill()
        process.wait(HANG)


def knows_a_replica(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return any("slave" in each["flags"] for each in client.sentinel_slaves("main"))
    return False


@pytest.fixture
def servers(tmp_path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica."""
    folders = [tmp_path / name for name in ("master", "replica")]
    for folder in folders:
        folder.mkdir()
    with (
        RedisServer(folders[0]) as master,
        RedisServer(folders[1], "--replicaof", "127.0.0.1", str(master.port)) as copy,
    ):
        wait_until(lambda: copy.tell("INFO", "replication")["master_link_status"] == "up", "replication")
        yield master, copy


def is_shared(process: Process, name: str) -> bool:
    catalogue = process.catalogue()
    return catalogue["redis"]["shared"] and catalogue["state"] == "fresh" and catalogue["entries"] == len(name) + 200


def test_a_failover_in_the_middle_of_a_refresh_loses_nothing(servers, tmp_path):
    master, copy = servers
    hold = threading.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as hangs,  # a sentinel that accepts, and never answers
        sentinel_of(master, tmp_path) as sentinel,
        upstream_server() as upstream,
    ):
        upstream.has("a")
        sentinels = f"127.0.0.1:{hangs.getsockname()[1]},127.0.0.1:{sentinel.get_connection_kwargs()['port']}"
        arguments = ("--upstream", upstream.url(), "--poll-seconds", "0.5", "--refresh-seconds", "2")
        environ = {"APIDEX_REDIS_URL": f"redis+sentinel://{sentinels}/main/0", "APIDEX_REDIS_TIMEOUT_SECONDS": "2"}
        with replica(*arguments, **environ) as first, replica(*arguments, **environ) as second:
            replicas = (first, second)
            wait_until(lambda: all(is_shared(each, "a") for each in replicas), "agreement")
            asked = len(upstream.asked)
            upstream.before_the_last_byte = lambda who: hold.wait(HANG)
            upstream.has(*"abc")
            wait_until(lambda: len(upstream.asked) > asked, "a refresh")
            master.is_killed()
            wait_until(lambda: copy.tell("INFO", "replication")["role"] == "master", "a failover")
            hold.set()
            took = wait_until(lambda: all(is_shared(each, "abc") for each in replicas), "agreement again")
            # its moment of activation may be some polls later
            wait_until(lambda: len({each.catalogue()["version"] for each in replicas}) == 1, "one version")
            assert copy.tell("EXISTS", "{apidex:1}:payload") == 1
            print(f"all together {took:.2f} s after the failover")
            for each in replicas:
                assert each.events("redis.failed"), "the failover was seen"
                assert not each.events("refresh.broken")
