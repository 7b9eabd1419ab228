"""Connections time out and retire, and a queue before the event loop is noticed. On a clock that the tests move."""

import asyncio
from datetime import timedelta
from unittest.mock import Mock

import pytest
from uvicorn.server import ServerState

from apidex.server.connection import Connection, ServerConfig
from apidex.server.options import ConnectionLimits, ServerOptions
from apidex.server.overload import LoopLagDetector

GET = b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n"


class Loop:
    """An event loop whose clock, timers and iterations the test moves."""

    def __init__(self) -> None:
        self.now, self.timers, self.next = 100.0, [], []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback) -> Mock:
        timer = Mock()
        self.timers.append((self.now + seconds, timer, callback))
        return timer

    def call_soon(self, callback, *arguments) -> None:
        self.next.append((callback, arguments))

    def create_task(self, coroutine) -> Mock:
        coroutine.close()
        return Mock()


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def asgi(scope, receive, send) -> None: ...


class Client:
    """One end of a connection; the other is *connection*."""

    def __init__(self, loop: Loop, **limits: float) -> None:
        defaults = {"drain": 0, "keep_alive": 60, "max_age": 0, "request_timeout": 60}
        seconds = {name: timedelta(seconds=value) for name, value in (defaults | limits).items()}
        response = (200, b"content-length: 0\r\n", b"")
        options = ServerOptions(asgi, ConnectionLimits(**seconds), respond_sync=lambda *_: response)
        self.loop, self.transport = loop, Transport()
        self.connection = Connection(ServerConfig(options), ServerState(), {}, loop)
        self.connection.connection_made(self.transport)

    def sends(self, data: bytes) -> bytes:
        """What the connection writes in return."""
        before = len(self.transport.written)
        self.connection.data_received(data)
        return self.transport.written[before:]

    def waits(self, seconds: float) -> None:
        self.loop.now += seconds
        self.connection.enforce_request_timeout(self.loop.now)
        for at, timer, callback in self.loop.timers:
            if at <= self.loop.now and not timer.cancel.called:
                callback()


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /Cat HTTP/1.1\r\nX: ", b"POST /Cat HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n"],
    ids=["nothing", "a head", "a body"],
)
def test_a_request_that_does_not_arrive_in_time_gets_a_408(begin):
    client = Client(Loop(), request_timeout=1)
    client.sends(begin)
    for _ in range(9):
        client.waits(0.1)
        assert client.sends(b"x" if begin else b"") == b""
        assert not client.transport.closed
    client.waits(0.2)
    assert client.transport.written.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in client.transport.written
    assert client.transport.closed


def test_a_connection_may_be_idle_between_requests_and_is_then_closed_without_a_response():
    client = Client(Loop(), request_timeout=1, keep_alive=2)
    for _ in range(2):
        assert b" 200 OK" in client.sends(GET)
        client.waits(1.5)
        assert not client.transport.closed
    client.waits(0.6)
    assert client.transport.closed
    assert client.transport.written.count(b"HTTP/1.1") == 2


def test_a_head_that_is_too_long_gets_a_431():
    client = Client(Loop())
    assert client.sends(b"GET /Cat HTTP/1.1\r\n" + b"X: " + b"x" * 70_000).startswith(b"HTTP/1.1 431 ")
    assert client.transport.closed


def test_old_connections_are_retired_with_a_response_and_not_all_at_once():
    ages = []
    for _ in range(8):
        client = Client(loop := Loop(), max_age=1)
        began = loop.now
        while b"connection: close" not in client.sends(GET):
            assert not client.transport.closed
            client.waits(0.02)
        ages.append(loop.now - began)
        assert client.transport.closed
    assert all(0.5 < age < 1.6 for age in ages)
    assert max(ages) - min(ages) > 0.05


def test_a_loop_is_overloaded_when_one_long_iteration_follows_another():
    loop = Loop()
    detector = LoopLagDetector(0.05, clock=loop.time)

    def iteration(seconds: float) -> bool:
        loop.now += 0.02
        detector.is_overloaded(loop)
        loop.now += seconds
        is_overloaded = detector.is_overloaded(loop)
        callback, arguments = loop.next.pop()
        callback(*arguments)
        return is_overloaded

    assert not iteration(0.3), "one iteration that was held up"
    found = [iteration(0.15) for _ in range(5)]
    assert found == sorted(found), "the queue stays"
    assert (found[0], found[-1]) == (False, True)
    assert not iteration(0.05)
    assert not iteration(0.3), "a short iteration has ended it"
    loop.now += 3600
    assert not iteration(0.3), "there was no request for an hour"
