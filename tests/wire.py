"""A connection without a socket: a transport in memory, a clock that tests move, and a strict reader of responses."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from uvicorn.server import ServerState

from apidex.app import App
from apidex.http.connection_stats import ConnectionStats
from apidex.server.config import ServerConfig
from apidex.server.connection import Connection

HIGH_WATER = 64 * 2**10
LOW_WATER = HIGH_WATER // 4


class VirtualLoop:
    """The running event loop, except for the time, which tests move."""

    def __init__(self) -> None:
        self._loop, self.now = asyncio.get_running_loop(), 1000.0

    def time(self) -> float:
        return self.now

    def __getattr__(self, name):
        return getattr(self._loop, name)


class FakeTransport(asyncio.Transport):
    """What a connection writes to. The client takes bytes when a test says so; *window* is how many the kernel takes before."""

    def __init__(self, window: float = float("inf")) -> None:
        super().__init__()
        self.protocol: Connection | None = None
        self.taken, self.unsent = bytearray(), bytearray()
        self.window = window
        self.is_reading = True
        self.is_paused = self.is_eof_sent = self.is_closed = self._is_closing = False

    def get_extra_info(self, name, default=None):
        return {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50000)}.get(name, default)

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data) -> None:
        assert not self.is_eof_sent, "nothing may follow the end"
        if self._is_closing:
            return
        self.unsent += data
        self._flush()
        if len(self.unsent) > HIGH_WATER and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def writelines(self, parts) -> None:
        self.write(b"".join(parts))

    def _flush(self) -> None:
        count = int(min(self.window, len(self.unsent)))
        self.window -= count
        self.taken += self.unsent[:count]
        del self.unsent[:count]

    def takes(self, count: float) -> None:
        """The client reads *count* bytes."""
        self.window += count
        self._flush()
        if self.is_paused and len(self.unsent) <= LOW_WATER:
            self.is_paused = False
            self.protocol.resume_writing()
        if self._is_closing and not self.unsent:
            self._lose()

    def write_eof(self) -> None:
        self.is_eof_sent = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self._is_closing = True
        if not self.unsent:
            self._lose()

    def abort(self) -> None:
        self._is_closing = True
        self.unsent.clear()
        self._lose()

    def _lose(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class FakeClient:
    """One client of a server, with a connection of its own."""

    def __init__(self, config, state, loop: VirtualLoop, window: float = float("inf")) -> None:
        self.config, self.state, self.loop, self.transport = config, state, loop, FakeTransport(window)
        self.connection = Connection(config, state, {}, loop)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self._unread = bytearray()

    async def sends(self, data: bytes) -> None:
        """Send *data*; the kernel keeps what the server does not read yet."""
        self._unread += data
        await self.settles()

    async def ends(self) -> None:
        """Send a FIN."""
        if not self.transport.is_closed and not self.connection.eof_received():
            self.transport.close()
        await self.settles()

    async def settles(self) -> None:
        """Let everything happen that can happen now: no response is being made, and nothing is read any more."""
        while True:
            if self._unread and self.transport.is_reading and not self.transport.is_closing():
                part, self._unread = bytes(self._unread[:65_536]), self._unread[65_536:]
                self.connection.data_received(part)
                continue
            before = (len(self.transport.taken), len(self._unread))
            await asyncio.sleep(0)
            if self.config.stats.in_flight == 0 and before == (len(self.transport.taken), len(self._unread)):
                return

    async def waits(self, seconds: float) -> None:
        """Let time pass; the server looks at its timers once a second."""
        until = self.loop.now + seconds
        while self.loop.now < until and not self.transport.is_closed:
            self.loop.now = min(until, self.loop.now + 1)
            self.connection.close_if_overdue(self.loop.now)
            await self.settles()

    @property
    def is_open(self) -> bool:
        """Whether the client may send another request."""
        return not (self.transport.is_closing() or self.transport.is_eof_sent)

    def statuses(self) -> list[int]:
        return [status for status, _ in responses(bytes(self.transport.taken))]


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n((?:[a-z0-9-]+: [^\r\n]*\r\n)*)\r\n")


def responses(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and body of each response in *data*. Raises AssertionError for anything that is not a whole response."""
    while data:
        head = _HEAD.match(data)
        assert head, f"not a response: {data[:80]!r}"
        status, lines, data = int(head[1]), head[2], data[head.end() :]
        if b"transfer-encoding: chunked\r\n" in lines:
            body = b""
            while True:
                size, _, data = data.partition(b"\r\n")
                part, data = data[: int(size, 16)], data[int(size, 16) :]
                assert data.startswith(b"\r\n"), "a chunk without an end"
                body, data = body + part, data[2:]
                if not part:
                    break
        else:
            length = re.search(rb"content-length: (\d+)\r\n", lines)
            size = int(length[1]) if length and status != 304 else 0
            if size and (not data or data.startswith(b"HTTP/1.1 ")):
                size = 0  # the answer to a HEAD
            assert len(data) >= size, "a body without an end"
            body, data = data[:size], data[size:]
        assert b"\r\ndate: " in b"\r\n" + lines, "every response has a Date"
        yield status, body


def server_of(app: App, slow_client_bytes: int = 32 * 2**20, **seconds: float) -> tuple[ServerConfig, ServerState]:
    """What connections to *app* share, with some of its limits changed."""
    times = {name: timedelta(seconds=value) for name, value in {"max_age": 0, **seconds}.items()}
    limits = replace(app.server_options.limits, max_unsent_bytes=slow_client_bytes, **times)
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 00:00:00 GMT")]
    return ServerConfig(replace(app.server_options, limits=limits, stats=ConnectionStats()), Connection), state
