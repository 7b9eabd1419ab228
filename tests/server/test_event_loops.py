"""Connections on real sockets, on uvloop and on asyncio's own loop, which is there where uvloop is not."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from apidex.server import lifecycle, socket_buffers
from apidex.server.config import ServerConfig
from apidex.server.connection import Connection
from conftest import running_app
from fakes import FakeClock, FakeUpstream
from processes import until
from protocol_cases import FILES, cases
from wire import responses, server_of

HOT = b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n"


class Server:
    """Connections that are accepted at *address* by this event loop."""

    def __init__(self, config: ServerConfig, state, address) -> None:
        self.config, self.state, self.address = config, state, address

    @property
    def connections(self) -> list[Connection]:
        return list(self.state.connections)

    async def answers(self, sent: bytes) -> list[int]:
        """The statuses that a client gets that sends this, and a FIN."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(sent)
        writer.write_eof()
        data = await reader.read()
        writer.close()
        return [status for status, _ in responses(data)]


@asynccontextmanager
async def serving(upstream=None) -> AsyncIterator[Server]:
    async with running_app(upstream or FakeUpstream(), FakeClock()) as app:
        config, state = server_of(app)
        loop, listener = asyncio.get_running_loop(), lifecycle.listen("127.0.0.1", 0)
        address = listener.getsockname()
        server = await loop.create_server(lambda: Connection(config, state, {}, loop), sock=listener)
        try:
            yield Server(config, state, address)
        finally:
            server.close()
            await until(lambda: not state.connections)


def on_each_loop(test: Callable[[], Coroutine]) -> Callable:
    """Run a coroutine function as a test on each of the loops."""

    @pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
    def run(loop_factory) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test())

    return run


@on_each_loop
async def test_each_case_is_answered_as_it_says():
    async with serving() as server:
        wrong = []
        for path in FILES:
            for case in cases(path):
                *expected, _ = case.expected.split()
                if (said := await server.answers(case.sent)) != [int(status) for status in expected]:
                    wrong.append(f"{path.name}:{case.line}: {said}")
        assert wrong == []
        assert (server.config.stats.in_flight, server.config.slow_clients._held) == (0, 0)


async def unread(server: Server, sent: bytes) -> tuple[socket.socket, Connection]:
    """A client that has sent this, and reads nothing; and the server's side, which waits for it."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, server.address)
    await loop.sock_sendall(client, sent)
    await until(lambda: any(connection._output.is_paused for connection in server.connections))
    return client, server.connections[0]


async def everything(client: socket.socket) -> bytes:
    data = bytearray()
    while part := await asyncio.get_running_loop().sock_recv(client, 2**16):
        data += part
    return bytes(data)


@on_each_loop
async def test_answers_to_a_client_that_does_not_read_are_few_until_it_does():
    async with serving(FakeUpstream(*(f"Cat {number} {'x' * 60}" for number in range(30)))) as server:
        client, connection = await unread(server, HOT * 500)
        made = connection._output._written
        bound = 2 * socket_buffers.SEND_BUFFER + 3 * 2**16  # and what asyncio holds before it pauses
        assert made <= bound, "without a bound, the kernel takes all of it"
        assert server.config.slow_clients._held <= bound + 2 * 2**16
        client.shutdown(socket.SHUT_WR)
        data = await everything(client)
        assert [status for status, _ in responses(data)] == [200] * 500
        assert len(data) > 2 * made
        client.close()


@on_each_loop
async def test_a_client_that_does_not_read_is_closed_and_the_kernel_keeps_nothing_for_it():
    async with serving(FakeUpstream(*(f"Wide {number} {'x' * 100}" for number in range(1900)))) as server:
        client, connection = await unread(server, b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n")
        now, (soft, hard) = asyncio.get_running_loop().time(), resource.getrlimit(resource.RLIMIT_NOFILE)
        connection.close_if_overdue(now)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no descriptor is free
        try:
            connection.close_if_overdue(now + 60)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: not server.connections)
        assert server.config.stats.closed["send"] == 1
        with pytest.raises(ConnectionResetError):
            await everything(client)
        client.close()


def test_the_kernel_takes_little_for_a_client_that_does_not_read():
    with lifecycle.listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.setblocking(True)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            taken = connection.send(b"x" * 4_000_000)
            assert taken < 2 * socket_buffers.UNSENT_LIMIT
            assert 0 < socket_buffers.unacknowledged(connection) <= taken
            client.sendall(b"1234567")
            assert connection.recv(2) == b"12"
            assert socket_buffers.unread(connection) == 5
