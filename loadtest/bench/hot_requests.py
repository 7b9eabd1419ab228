"""A thousand requests on the fast path, in one process without a network: from the bytes of a request to its response.

    python -m loadtest.bench.hot_requests          for valgrind: the requests lie between getppid and getpgrp
    python -m loadtest.bench.hot_requests opcodes  prints the bytecode instructions of each function as JSON

Nothing in it depends on time, threads or chance.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import FrameType, SimpleNamespace
from typing import Any, cast

import uvloop
from uvicorn.server import ServerState

from apidex.app import starter_snapshot
from apidex.catalogue import starter
from apidex.http.asgi import Receive, Scope, Send
from apidex.http.content_encoding import IDENTITY
from apidex.http.context import ReplicaContext
from apidex.http.etag import entity_tag, identity_of
from apidex.http.fast_path import FastPath
from apidex.http.metrics import Metrics
from apidex.http.response_cache import ResponseCache
from apidex.replication.activation import Activation
from apidex.replication.clock import Clock
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.refresher import Refresher
from apidex.server.config import ServerConfig
from apidex.server.connection import Connection
from apidex.server.options import ConnectionLimits, ServerOptions

COUNT = 1000


class _FrozenClock(Clock):
    """A clock that stands still."""

    def steady(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return 1_800_000_000.0


class _Sink(asyncio.Transport):
    """A client that reads everything at once."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...

    def is_closing(self) -> bool:
        return False


async def _asgi(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    raise AssertionError("a request left the fast path")


def _connection(loop: asyncio.AbstractEventLoop) -> Connection:
    """A connection of a client to a replica that answers from the starter catalogue."""
    clock, week = _FrozenClock(), timedelta(days=7)
    policy = FreshnessPolicy(timedelta(hours=1), timedelta(seconds=5), week, week)
    activation = Activation(starter_snapshot(clock), clock, lambda _: None)
    state = SimpleNamespace(activation=activation, policy=policy, clock=clock)  # all that the fast path reads
    refresher = cast(Refresher, state)
    responses: ResponseCache[Any, Any] = ResponseCache(2**20)
    fast_path = FastPath(_asgi, ReplicaContext(refresher, Metrics(refresher, responses), "replica", responses))
    limits = ConnectionLimits(week, week, week, week)
    options = ServerOptions(fast_path, limits, respond_sync=fast_path.respond_sync, shed=fast_path.shed)
    config = ServerConfig(options, Connection)
    config.load()
    connection = Connection(config, ServerState(), {}, loop)
    connection.connection_made(_Sink())
    return connection


def _requests() -> list[bytes]:
    """Of ten, four search a new name, four a cached one, one revalidates a cached one, and one accepts gzip."""
    entries = starter.load()[0].catalogue
    new, favourites = _substrings(entries.names()), entries.names()[:20]
    tag = entity_tag(identity_of(starter_snapshot(_FrozenClock())), IDENTITY).decode()
    return [
        _request(next(new)) if turn % 10 < 4
        else _request(favourites[turn % 20]) if turn % 10 < 8
        else _request(favourites[turn % 20], f"If-None-Match: {tag}") if turn % 10 < 9
        else _request("a", "Accept-Encoding: gzip")
        for turn in range(COUNT)
    ]  # fmt: skip


def _substrings(names: list[str]) -> Iterator[str]:
    """Distinct parts of names that need no escape in a URL."""
    substrings = (
        name[start : start + size] for size in (3, 4, 5) for name in names for start in range(len(name) - size)
    )
    return (part for part in dict.fromkeys(substrings) if part.isascii() and part.isalnum())


def _request(name: str, *lines: str) -> bytes:
    path = name.replace(" ", "%20")
    head = [f"GET /{path} HTTP/1.1", "Host: 127.0.0.1:8000", "User-Agent: hot", "Accept: */*", *lines, "", ""]
    return "\r\n".join(head).encode()


class _Opcodes:
    """Counts bytecode instructions by function."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> "_Opcodes":
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            code = frame.f_code
            self.counts[f"{frame.f_globals.get('__name__')}.{code.co_qualname}"] += 1
        return self


def _send_all(connection: Connection, requests: list[bytes]) -> None:
    for request in requests:
        connection.data_received(request)


def main() -> None:
    """Send all requests twice: to warm up, then between the two marks."""
    loop = uvloop.new_event_loop()
    requests = _requests()
    _send_all(_connection(loop), requests)
    connection = _connection(loop)
    if "opcodes" not in sys.argv:
        os.getppid()
        _send_all(connection, requests)
        os.getpgrp()
        return
    opcodes = _Opcodes()
    sys.settrace(opcodes)
    _send_all(connection, requests)
    sys.settrace(None)
    print(json.dumps(dict(opcodes.counts.most_common())))


if __name__ == "__main__":
    main()
