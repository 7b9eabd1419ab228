"""A thousand hot requests in one process, without a network: from the bytes of a request to the bytes of its answer.

    python -m loadtest.bench.hot_requests          for valgrind: they are what happens between getppid and getpgrp
    python -m loadtest.bench.hot_requests opcodes  how many of Python's own instructions each function takes, as JSON

Nothing in it depends on the time, on a thread, or on chance.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from random import Random
from types import FrameType
from typing import Any, cast

import uvloop
from uvicorn.server import ServerState

from apidex.app import starter_snapshot
from apidex.catalogue import starter
from apidex.http.asgi import Receive, Scope, Send
from apidex.http.content_encoding import IDENTITY
from apidex.http.context import ReplicaContext
from apidex.http.etag import entity_tag
from apidex.http.fast_path import FastPath
from apidex.http.metrics import Metrics
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.refresher import Refresher
from apidex.replication.store import CatalogueStore
from apidex.replication.upstream import Upstream
from apidex.server.connection import Connection, ServerConfig
from apidex.server.options import ConnectionLimits, ServerOptions

COUNT = 1000


class _Still:
    """A clock that stands."""

    def steady(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return 1_800_000_000.0


class _Sink(asyncio.Transport):
    """A client that has read everything already."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Take all of it."""

    def is_closing(self) -> bool:
        """Never."""
        return False


async def _asgi(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    raise AssertionError("a hot request came to ASGI")


def _connection() -> Connection:
    """A connection of a client to a replica that answers from the starter catalogue."""
    clock, week = _Still(), timedelta(days=7)
    policy = FreshnessPolicy(timedelta(hours=1), timedelta(seconds=5), week, week)
    nothing: Any = None  # is asked by no request
    refresher = Refresher(
        *(cast(CatalogueStore, nothing), cast(Upstream, nothing), starter_snapshot(clock)),
        build=nothing, policy=policy, min_entries_ratio=0.5, max_bytes=0, clock=clock, random=Random(1),
    )  # fmt: skip
    fast_path = FastPath(_asgi, ReplicaContext(refresher, Metrics(refresher), "replica"), 2**20)
    limits = ConnectionLimits(week, week, week, week)
    config = ServerConfig(ServerOptions(fast_path, limits, respond_sync=fast_path.respond_sync, shed=fast_path.shed))
    config.load()
    connection = Connection(config, ServerState(), {})
    connection.connection_made(_Sink())
    return connection


def _requests() -> list[bytes]:
    """Four in ten ask for a name never seen, four for one seen before, one for an answer that it has, one for gzip."""
    entries = starter.load()[0].catalogue
    new, favourites = _pieces(entries.names()), entries.names()[:20]
    tag = entity_tag(starter_snapshot(_Still()), IDENTITY).decode()
    return [
        _request(next(new)) if turn % 10 < 4
        else _request(favourites[turn % 20]) if turn % 10 < 8
        else _request(favourites[turn % 20], f"If-None-Match: {tag}") if turn % 10 < 9
        else _request("a", "Accept-Encoding: gzip")
        for turn in range(COUNT)
    ]  # fmt: skip


def _pieces(names: list[str]) -> Iterator[str]:
    """Pieces of names that can stand in a URL, none of them twice."""
    pieces = (name[start : start + size] for size in (3, 4, 5) for name in names for start in range(len(name) - size))
    return (piece for piece in dict.fromkeys(pieces) if piece.isascii() and piece.isalnum())


def _request(name: str, *lines: str) -> bytes:
    path = name.replace(" ", "%20")
    head = [f"GET /{path} HTTP/1.1", "Host: 127.0.0.1:8000", "User-Agent: hot", "Accept: */*", *lines, "", ""]
    return "\r\n".join(head).encode()


class _Opcodes:
    """Counts Python's own instructions, by function."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> "_Opcodes":
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            code = frame.f_code
            self.counts[f"{frame.f_globals.get('__name__')}.{code.co_qualname}"] += 1
        return self


def _answer_all(connection: Connection, requests: list[bytes]) -> None:
    for request in requests:
        connection.data_received(request)


def main() -> None:
    """Warm up, then answer them once between the two marks."""
    asyncio.set_event_loop(uvloop.new_event_loop())
    requests = _requests()
    _answer_all(_connection(), requests)
    connection = _connection()
    if "opcodes" not in sys.argv:
        os.getppid()
        _answer_all(connection, requests)
        os.getpgrp()
        return
    opcodes = _Opcodes()
    sys.settrace(opcodes)
    _answer_all(connection, requests)
    sys.settrace(None)
    print(json.dumps(dict(opcodes.counts.most_common())))


if __name__ == "__main__":
    main()
