"""The bytes of an upstream are counted before a library drops them, and other tasks run during the fetch."""

import asyncio
import gzip
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import repeat

import pytest

from apidex.errors import UpstreamError
from apidex.replication.meter import HEAD_BYTES, HEAD_LINES
from apidex.replication.upstream import open_upstream
from apidex.replication.validators import NO_VALIDATORS
from fakes import wire_server
from upstream_server import raw_server

LIMIT = 2**17
OK = b"HTTP/1.1 200 OK\r\n"
LARGEST_TURN = 0.05
"""Seconds of CPU time between two turns of a task that does nothing. Without a meter, the cases take three times as long."""


async def fetched(url: str) -> tuple[bytes | UpstreamError, float]:
    """What a fetch gave, and the longest turn of the event loop meanwhile, in CPU time of this thread."""
    turns = [0.0]

    async def measure() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - before)

    async with open_upstream(url, timedelta(seconds=60), LIMIT) as upstream:
        measuring = asyncio.create_task(measure())
        try:
            answer = await upstream.fetch(NO_VALIDATORS)
            return bytes(answer.body), max(turns)
        except UpstreamError as error:
            return error, max(turns)
        finally:
            measuring.cancel()


def chunked(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield OK + b"transfer-encoding: chunked\r\n\r\n"
    yield from parts


def gzipped(members: bytes, times: int) -> Iterator[bytes]:
    yield OK + b"content-encoding: gzip\r\n\r\n"
    yield from repeat(members, times)


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "interim responses": lambda: repeat(b"HTTP/1.1 100 \r\n\r\n" * 1000),
    "interim responses with fields": lambda: repeat(b"HTTP/1.1 103 \r\n" + b"link: x\r\n" * 100 + b"\r\n"),
    "fields": lambda: iter([OK, *repeat(b"a:\r\n" * 1000, 1000)]),
    "one field": lambda: iter([OK + b"a: ", *repeat(b"x" * 1000, 1000)]),
    "a status line": lambda: repeat(b"HTTP/1.1 200 " + b"x" * 1000),
    "empty gzip members": lambda: gzipped(gzip.compress(b"") * 1000, 1000),
    "chunks of a byte": lambda: chunked(repeat(b"1\r\nx\r\n" * 1000)),
    "trailers": lambda: chunked(iter([b"1\r\nx\r\n0\r\n", *repeat(b"a:\r\n" * 1000, 24), b"\r\n"])),
    "chunk extensions": lambda: chunked(repeat(b"1;" + b"x" * 1000 + b"\r\nx\r\n")),
    "a body": lambda: iter([OK + b"\r\n", *repeat(b"x" * 2**16, 1000)]),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_endless_answer_is_refused_and_delays_no_other_task(kind):
    turns = []
    for _ in range(3):  # the garbage collector of a process with many tests takes longer than that now and then
        with raw_server(ENDLESS[kind]) as (url, _):
            error, turn = await fetched(url)
        assert isinstance(error, UpstreamError)
        assert error.reason in ("too_large", "broken")
        turns.append(turn)
    assert min(turns) < LARGEST_TURN


async def test_the_body_of_a_redirect_is_not_read():
    sent = []

    def redirect() -> Iterator[bytes]:
        yield b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"
        for _ in range(1000):
            sent.append(2**16)
            yield bytes(2**16)

    with raw_server(redirect) as (url, _):
        error, turn = await fetched(url)
    assert isinstance(error, UpstreamError)
    assert error.reason == "redirect"
    assert sum(sent) < 6 * 8 * 2**20, "as much as sockets hold"
    assert turn < LARGEST_TURN


@pytest.mark.parametrize(
    "parts",
    [
        lambda: chunked(iter([*repeat(b"1\r\nx\r\n", 10_000), b"15F90\r\n", b"x" * 90_000, b"\r\n0\r\n\r\n"])),
        lambda: iter(
            [OK, b"set-cookie: a=" + b"b" * (HEAD_BYTES - 2**10), b"\r\ncontent-length: 100000\r\n\r\n", b"x" * 100_000]
        ),
        lambda: iter([*repeat(b"HTTP/1.1 100 \r\n\r\n", HEAD_LINES // 2 - 10), OK, b"\r\n", b"x" * 100_000]),
        lambda: gzipped(gzip.compress(b"x" * 100), 1000),
    ],
    ids=["chunks", "a long head", "interim responses", "gzip members"],
)
async def test_an_unusual_answer_within_the_limits_is_read(parts):
    with raw_server(parts) as (url, _):
        body, turn = await fetched(url)
    assert body == b"x" * 100_000
    assert turn < LARGEST_TURN


async def test_a_connection_is_metered_again_at_each_fetch():
    async def answers_all(head, reader, writer) -> None:
        while True:
            writer.write(OK + b"content-length: 100000\r\n\r\n" + b"\n" * 100_000)
            await reader.readuntil(b"\r\n\r\n")

    async with wire_server() as wire, open_upstream(wire.url, timedelta(seconds=60), LIMIT) as upstream:
        wire.behaves = answers_all
        for _ in range(3):
            assert len((await upstream.fetch(NO_VALIDATORS)).body) == 100_000
    assert len(wire.heads) == 1, "it is one connection"
