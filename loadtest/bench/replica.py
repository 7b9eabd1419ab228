"""Replicas that adopt prepared catalogues, and the Redis that they read them from."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from apidex.catalogue import codec
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.replication.metadata import StoredCatalogue
from apidex.replication.redis_client import RedisAddress
from apidex.replication.store import open_store
from apidex.replication.validators import NO_VALIDATORS
from loadtest import system
from loadtest.bench.process import CLIENT_CORE, PATIENCE, ServerProcess, get, running, serving, wait_for
from loadtest.bench.synthetic_catalogue import entries

LIMIT_BYTES = 2**31


class Prepared(NamedTuple):
    """A catalogue that is ready to be published: its digest, bytes of JSON, number of entries, and payload for Redis."""

    digest: str
    size: int
    length: int
    payload: bytes


def prepared(count: int, *, changed: bool = False) -> Prepared:
    """A synthetic catalogue of *count* entries; *changed* gives every hundredth entry another description."""
    catalogue = Catalogue.of(_changed(entries(count)) if changed else entries(count))
    payload = codec.to_bytes(Parsed(catalogue, Report("publicapis", len(catalogue))))
    return Prepared(catalogue.digest, len(catalogue.canonical), len(catalogue), payload)


def _changed(items: Iterable[Entry]) -> Iterator[Entry]:
    for number, item in enumerate(items):
        yield msgspec.structs.replace(item, description="changed") if number % 100 == 0 else item


def rare_paths(count: int) -> list[str]:
    """Paths that search for words of one or two names each, more of them than a replica caches."""
    names = (item.name for item in islice(entries(count), 60_000))
    return [f"/{quote(word)}" for word in dict.fromkeys(name.split()[-2] for name in names if " " in name)]


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis on the client's core; its URL."""
    port, binary = system.free_port(), system.tool("redis-server")
    with running([binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], core=CLIENT_CORE):
        system.wait_for(PATIENCE, "an answer of Redis", lambda: system.listens(port), pause=0.01)
        yield f"redis://127.0.0.1:{port}/0"


def publish(url: str, catalogue: Prepared) -> None:
    """Publish it in Redis, as a replica does."""

    async def put() -> None:
        timeout = timedelta(seconds=5)
        address = RedisAddress(url)
        async with open_store(address, prefix="apidex", timeout=timeout, max_bytes=LIMIT_BYTES) as store:
            state = await store.read()
            stored = StoredCatalogue(
                *(int(state.now * 1000), catalogue.digest, catalogue.length, True, state.now, "bench", NO_VALIDATORS)
            )
            expected = state.catalogue.stamp if state.catalogue else None
            if not await store.publish(stored, catalogue.payload, expected, lead=timedelta(0)):
                raise RuntimeError("the fence refused the catalogue")

    asyncio.run(put())


def replica(url: str) -> AbstractContextManager[ServerProcess]:
    """A replica, as it ships but for the limits of size, that has just been started."""
    return serving(
        APIDEX_REDIS_URL=url,
        APIDEX_UPSTREAM="http://127.0.0.1:1/unreachable",
        APIDEX_UPSTREAM_LIMIT_BYTES=str(LIMIT_BYTES),
        APIDEX_STARTUP_TIMEOUT_SECONDS="60",
        APIDEX_POLL_SECONDS="0.5",
    )


@contextmanager
def replicas(catalogue: Prepared, number: int = 1) -> Iterator[list[ServerProcess]]:
    """So many replicas on one Redis, which have adopted *catalogue*."""
    with redis_server() as url, ExitStack() as stack:
        publish(url, catalogue)
        servers = [stack.enter_context(replica(url)) for _ in range(number)]
        for server in servers:
            seconds_until_adopted(server.port, catalogue.digest, time.perf_counter())
        yield servers


def seconds_until_adopted(port: int, digest: str, began: float) -> float:
    """Seconds since *began* until the replica answers from the catalogue with this digest."""
    wait_for(port, "/-/readyz")
    while msgspec.json.decode(get(port, "/v1/catalogue").body)["digest"] != digest:
        time.sleep(0.02)
    return time.perf_counter() - began
