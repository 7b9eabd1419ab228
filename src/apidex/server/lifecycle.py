"""uvicorn, as Apidex runs it: one process, one event loop, and an end at which no request is lost.

uvicorn alone closes idle connections the moment that SIGTERM comes, and a request that is on its way to one is lost. Here:
1. SIGTERM: the replica says that it is not ready, goes on accepting, and closes each connection with an answer, by
   `Connection: close`, so that the client knows before it sends the next request.
2. That goes on for longer than connections are kept alive, so that those which say nothing time out meanwhile.
3. The listener closes, what was accepted is finished, and the process ends.

The same word retires connections that have grown old, since what spreads load over replicas spreads connections only.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from time import monotonic
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from apidex.errors import SettingsError
from apidex.http.asgi import ASGIApp
from apidex.http.responses import PROBLEM_JSON, Headers, Problem, encode_headers, is_single_segment

HEAD_LIMIT = 64 * 2**10
"""The longest head of a request, in bytes."""

_TICKS_A_SECOND = 10
"""uvicorn's own rhythm."""

_LAST_WORD = 2.0
"""Seconds that a client which has just connected has for its first request once the listener is closed."""

_COPY_BELOW = 16 * 2**10
"""Bodies of fewer bytes are copied behind their head: one write is cheaper than two."""

_HEADS = {
    400: b"HTTP/1.1 400 Bad Request",
    408: b"HTTP/1.1 408 Request Timeout",
    431: b"HTTP/1.1 431 Request Header Fields Too Large",
}


SyncResponse = tuple[int, bytes, bytes]
"""Status, lines of the head, and body."""

RespondSync = Callable[[bytes, Headers, bool], SyncResponse | None]
"""What answers a GET of a path of one segment without waiting, or leaves it to ASGI, and raises nothing.

It is told whether it is too busy for what costs more than to turn it away.
"""

Probe = Callable[[bytes], SyncResponse | None]
"""What answers a GET of a probe's path without waiting, or leaves it to ASGI, and raises nothing."""

Shed = Callable[[], SyncResponse]
"""What to say to a request that there is no time for."""

_OPERATIONS = b"/-/"
"""Probes and metrics are answered however busy it is: what does not answer them is ended."""

_BY_ASGI = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""Headers of requests that are more than a question."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long things may take at a connection.

    *drain*: from SIGTERM to the closing of the listener. *keep_alive*: between two requests. *connection_age*: until a
    connection is retired, give or take half; 0 for never. *receive*: from the first byte of a request, or the connection, to
    the request's end. *lag*: that a request may have waited for its turn, and *concurrency*: how many may be in ASGI's hands,
    before others are turned away; a lag of 0 is none.
    """

    drain: timedelta
    keep_alive: timedelta
    connection_age: timedelta
    receive: timedelta
    lag: timedelta = timedelta(0)
    concurrency: int = 1000


class LoopLagDetector:
    """How long the turns of the event loop are, which is how long what it reads last in one has waited at least.

    One long turn is a process that was held up, and no more; a queue stands where turns have been longer than *lag* for ten
    times that (the idea is CoDel's, RFC 8289). A loop does not tell when a turn begins. A callback that is left with it is called
    in the next turn; as long as it was not, the turn goes on. A hundred times a second is often enough, and costs nothing beside
    thousands of requests.
    """

    _OFTEN = 0.01

    def __init__(self, lag: float) -> None:
        self._lag, self._patience = lag, 10 * lag
        self._left_at: float | None = None
        self._called_at = self._quick_at = float("-inf")

    def is_overloaded(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the present turn is, and those before it were."""
        now = monotonic()
        if self._left_at is not None:
            return now - self._left_at > self._lag and now - self._quick_at > self._patience
        if now - self._called_at > self._OFTEN:
            if now - self._called_at > self._patience:
                self._quick_at = now  # nobody asked for so long: no queue stands
            self._left_at = now
            loop.call_soon(self._called, now)
        return False

    def _called(self, left_at: float) -> None:
        self._left_at, self._called_at = None, monotonic()
        if self._called_at - left_at <= self._lag:
            self._quick_at = self._called_at


class _Config(uvicorn.Config):
    """What connections look up: the limits, and whether every answer is to be the last on its connection."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        random: Random,
        respond_sync: RespondSync | None,
        probe: Probe | None,
        shed: Shed | None,
    ) -> None:
        super().__init__(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(limits.keep_alive.total_seconds())),
            timeout_graceful_shutdown=max(1, round(limits.receive.total_seconds())),
        )
        self.limits, self.random, self.respond_sync, self.probe, self.shed = limits, random, respond_sync, probe, shed
        self._turns = LoopLagDetector(limits.lag.total_seconds() or float("inf"))
        self.draining = False
        self._dated_from: Headers | None = None
        self._dated = b""

    def retires_in(self) -> float:
        """Seconds until a new connection is old. Spread, so that those that came together do not leave together."""
        age = self.limits.connection_age.total_seconds()
        return age * self.random.uniform(0.5, 1.5) if age else float("inf")

    def is_too_busy(self, loop: asyncio.AbstractEventLoop, state: ServerState) -> bool:
        """Whether a request that is read now has waited too long in a queue that stands, or would be one too many."""
        return self._turns.is_overloaded(loop) or len(state.tasks) >= self.limits.concurrency

    def dated(self, state: ServerState) -> bytes:
        """The lines that uvicorn adds to every answer; it makes them anew every second."""
        if self._dated_from is not state.default_headers:
            self._dated_from = state.default_headers
            self._dated = encode_headers(state.default_headers)
        return self._dated


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which retires, does not wait for ever, and says in JSON what it cannot take."""

    config: _Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it may take its time for the first request, but not any."""
        super().connection_made(transport)
        self._receiving_since: float | None = self.loop.time()
        self._retires_at = self._receiving_since + self.config.retires_in()
        self._head_size = 0
        self._had_request = False
        self._by_asgi = self._is_answered = False

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        self._head_size += len(data)
        super().data_received(data)
        if self._head_size > HEAD_LIMIT:
            self._refuse(431, f"The head of the request is longer than {HEAD_LIMIT} bytes.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._by_asgi = self._is_answered = False
        if self._receiving_since is None:
            self._receiving_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head."""
        name = name.lower()
        if name in _BY_ASGI:
            self._by_asgi = True
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: decide whether the answer is to be the last one here, and give it if it needs no waiting."""
        self._head_size = 0
        self._had_request = True
        is_last = self.config.draining or self.loop.time() > self._retires_at
        answer = self._answer_at_once()
        if answer is not None:
            self._write(answer, is_last=is_last or self._by_asgi or not self.parser.should_keep_alive())
            return
        super().on_headers_complete()
        if is_last:
            self.cycle.keep_alive = False

    def _answer_at_once(self) -> SyncResponse | None:
        """The answer to a plain search or a probe, or to what there is no time for; None for what is ASGI's."""
        config, answer = self.config, None
        is_busy = config.is_too_busy(self.loop, self.server_state)
        if config.respond_sync is not None and is_single_segment(self.url) and self._is_plain():
            answer = config.respond_sync(self.url, self.headers, is_busy)
        elif config.probe is not None and self.url.startswith(_OPERATIONS) and self._is_plain():
            answer = config.probe(self.url)
        if answer is None and is_busy and config.shed is not None and self._may_be_turned_away():
            return config.shed()
        return answer

    def _may_be_turned_away(self) -> bool:
        return not self.url.startswith(_OPERATIONS) and not self._is_by_asgi_still() and not self.transport.is_closing()

    def _is_plain(self) -> bool:
        """Whether a request can be answered at once: a GET and no more, with nothing before it that is not yet read."""
        return (
            not self._by_asgi
            and b"?" not in self.url
            and b"#" not in self.url
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and not self._is_by_asgi_still()
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _is_by_asgi_still(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # there is none until ASGI is asked for the first time
        return cycle is not None and not cycle.response_complete

    def _write(self, answer: SyncResponse, *, is_last: bool) -> None:
        """What uvicorn does for ASGI in a task, in one go."""
        status, lines, body = answer
        last = b"connection: close\r\n" if is_last else b""
        head = b"".join((STATUS_LINE[status], self.config.dated(self.server_state), lines, last, b"\r\n"))
        self._is_answered = True
        if len(body) < _COPY_BELOW:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        if is_last:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body: it is no head."""
        self._head_size = 0
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there."""
        self._head_size = 0
        self._receiving_since = None
        if not self._is_answered:
            super().on_message_complete()

    def close_if_overdue(self, now: float) -> None:
        """Close if a request has been on its way for too long. Called once a second."""
        limit = self.config.limits.receive.total_seconds()
        if self._receiving_since is None or now - self._receiving_since < limit or self.transport.is_closing():
            return
        if self._is_by_asgi_still() and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, f"The request did not come whole within {limit:g} seconds.")

    def shutdown(self) -> None:
        """The listener is closed: close too, unless the client has just connected; then it has its first request."""
        if self._had_request:
            super().shutdown()
        else:
            self.loop.call_later(_LAST_WORD, super().shutdown)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which name no cause
        """Answer what is no HTTP request, and close."""
        self._refuse(400, "This is no HTTP/1.1 request. Characters beyond ASCII are percent-encoded, as in /Pok%C3%A9.")

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = Problem(status, detail).body()
        fields = b"\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(_HEADS[status] + fields % (PROBLEM_JSON, len(body)) + body)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which drains at SIGTERM, and tells when it listens and when it begins to end."""

    config: _Config

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        *,
        random: Random,
        respond_sync: RespondSync | None = None,
        probe: Probe | None = None,
        shed: Shed | None = None,
        on_listening: Callable[[], None],
        on_ending: Callable[[], None],
    ) -> None:
        super().__init__(_Config(app, limits, random, respond_sync, probe, shed))
        self._on_listening, self._on_ending = on_listening, on_ending
        self._is_hurried = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM ends with a drain. SIGINT, which a person sends, ends at once, but answers what was asked."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 - the signal module's
        """Note which signal came."""
        self._is_hurried |= sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        """Once a second, look for requests that do not come."""
        if counter % _TICKS_A_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.close_if_overdue(now)  # type: ignore[union-attr] # they are all ours
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close the listener, finish what was accepted, and end."""
        self._on_ending()
        self.config.draining = True
        await self._drain()
        # Closing a listener resets the connections that the kernel holds ready behind it. A second handle keeps it open for as
        # long as it takes to accept those.
        spare = [listener.dup() for listener in sockets or []]
        closing = asyncio.create_task(super().shutdown(sockets))
        await asyncio.sleep(0)
        for listener in spare:
            await self._accept_the_rest(listener)
        await closing

    async def _accept_the_rest(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            listener.setblocking(False)
            while True:
                try:
                    accepted, _ = listener.accept()
                except (BlockingIOError, ConnectionError):
                    return
                _, connection = await loop.connect_accepted_socket(self._connection, accepted)
                connection.shutdown()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    async def _drain(self) -> None:
        for tick in range(int(self.config.limits.drain.total_seconds() * _TICKS_A_SECOND)):
            if self._is_hurried:
                return
            await self.on_tick(tick)
            await asyncio.sleep(1 / _TICKS_A_SECOND)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens. Raises SettingsError, which says what to change, when it cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or "no address or name of a host").lower()
        text = f"APIDEX_HOST={host} APIDEX_PORT={port}: {reason}; allowed is an address of this machine with a port that is free"
        raise SettingsError(text) from None
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL at which *listener* is reached from this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
