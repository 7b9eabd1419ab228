"""The Redis user of the manifests may run only what a replica needs: with and without a password, on a real Redis."""

import re
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import yaml
from loadtest.targets.target import EMPTY_REDIS

from apidex.errors import StoreError
from apidex.replication.redis_client import RedisAddress
from apidex.replication.store import Keys, RedisStore, open_store
from deploy.rendering import K8S
from redis_server import RedisServer

pytestmark = pytest.mark.real

CONFIG = (K8S / "base/redis.conf").read_text()
USER = re.search(r"^user default (.*)$", CONFIG, re.MULTILINE)[1]
COMMANDS = re.findall(r"\+(\S+)", USER)


def server_with(folder: Path, user: str) -> RedisServer:
    """A Redis whose default user has the rules *user*."""
    file = folder / "user.conf"
    file.write_text(f"user default {user}\n")
    return RedisServer(folder, "--include", str(file))


def store_on(server: RedisServer, **login):
    return open_store(
        RedisAddress(server.url, **login), prefix="apidex", timeout=timedelta(minutes=1), max_bytes=10_000
    )


async def rehearse(store: RedisStore) -> None:
    await store.rehearse()
    await store.read()
    await store.load_before()
    await store.reset()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with server_with(tmp_path_factory.mktemp("redis"), USER) as server:
        yield server


async def test_the_user_can_do_all_that_a_replica_does(server):
    async with store_on(server) as store:
        await rehearse(store)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "ping"])
async def test_each_command_is_needed(command, tmp_path):
    with server_with(tmp_path, f"{USER} -{command}") as server:
        async with store_on(server) as store:
            with pytest.raises(StoreError, match="ACL does not allow"):
                await rehearse(store)


@pytest.mark.parametrize(
    "words",
    [
        "FLUSHALL",
        "CONFIG GET *",
        "KEYS *",
        "SET other 1",
        "GET apidex",
        "EVAL return(redis.call('GET','other')) 0",
        "INFO",
    ],
)
def test_nothing_else_is_allowed(server, words):
    with redis.Redis(port=server.port) as client, pytest.raises(redis.ResponseError, match=r"NOPERM|permission|can't"):
        client.execute_command(*words.split(" ", 1 if words.startswith("INFO") else -1))


def test_a_probe_and_what_empties_it_are_allowed(server):
    with redis.Redis(port=server.port) as client:
        assert client.execute_command("PING")
        client.execute_command("SET", Keys.of("apidex").lease, "x")
        assert client.execute_command(*EMPTY_REDIS[1:]) >= 1


PASSWORD = 'any "character" $will do\''


def user_with_a_password(folder: Path) -> str:
    """The rules that the component's script makes, with its paths replaced by those of this test."""
    component = yaml.safe_load((K8S / "components/redis-password/kustomization.yaml").read_text())
    [patch] = [each["patch"] for each in component["patches"] if each["target"]["name"] == "redis"]
    script = yaml.safe_load(patch)[0]["value"][2]
    (folder / "password").write_text(PASSWORD)
    script = script.replace("/run/secrets/redis/password", shlex.quote(str(folder / "password")))
    script = script.replace("/usr/local/etc/redis/redis.conf", shlex.quote(str(K8S / "base/redis.conf")))
    made = subprocess.run(["sh", "-c", script.replace("exec redis-server -", "cat")], capture_output=True, text=True)
    return re.search(r"^user default (.*)$", made.stdout, re.MULTILINE)[1]


async def test_with_a_password_the_same_is_allowed(tmp_path):
    user = user_with_a_password(tmp_path)
    with server_with(tmp_path, user) as server:
        async with store_on(server) as store:
            with pytest.raises(StoreError, match="requires a password"):
                await store.read()
        async with store_on(server, password='any "character" $will do\'') as store:
            await rehearse(store)
