"""uvicorn in one process and one event loop, and a shutdown that loses no request.

uvicorn alone closes idle connections at SIGTERM, and a request that is on its way to one is lost. Here:
1. SIGTERM: the replica becomes unready and continues to accept connections. Each connection is closed with its next response, by
   `Connection: close`, so that the client knows before it sends another request.
2. That lasts longer than connections are kept alive, so that the idle ones time out meanwhile. It lasts one second if no client
   is connected or comes, and `/-/readyz` was never requested: then no balancer has to notice anything.
3. The listener closes, accepted requests are answered, and the process ends.

`Connection: close` also retires old connections: load balancers spread connections, not requests.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from typing import Any, cast

import uvicorn

from apidex.errors import SettingsError
from apidex.server import socket_buffers
from apidex.server.access_log import LoggingConnection
from apidex.server.config import ServerConfig
from apidex.server.connection import Connection
from apidex.server.options import ServerOptions

BACKLOG = 2048
"""Connections that the kernel holds until they are accepted."""

_ACCEPTS_PER_TURN = 8
"""The largest number of connections that are accepted in one turn of the event loop: libuv takes one from each handle of a
listener. With one handle, each connection waited for the requests of those before it, and was not measured, because a connection
that is not accepted is in no queue of this process."""

_TICKS_PER_SECOND = 10
"""uvicorn's own rhythm."""

_SWEPT_TOGETHER = 16
"""Connections whose timers are looked at in one turn of the event loop."""

_UNUSED_TICKS = _TICKS_PER_SECOND
"""When a drain that serves no client ends. Until then a balancer that sends no probe may still send requests."""


class Server(uvicorn.Server):
    """uvicorn's server with a drain at SIGTERM. It calls back when it listens and when it begins to drain."""

    config: ServerConfig

    def __init__(
        self,
        options: ServerOptions,
        *,
        on_listening: Callable[[], None] = lambda: None,
        on_draining: Callable[[], None] = lambda: None,
    ) -> None:
        self._protocol = LoggingConnection if options.access_log else Connection
        super().__init__(ServerConfig(options, self._protocol))
        self._on_listening, self._on_draining = on_listening, on_draining
        self._skip_drain = False
        self._swept: list[Connection] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM drains. SIGINT, which a person sends, skips the drain, but finishes the requests in flight."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 - the signal module's
        """Remember which signal came. The first SIGINT does not end requests in flight, even behind a SIGTERM; a second does."""
        is_first_interrupt = sig == signal.SIGINT and not self._skip_drain
        self._skip_drain |= sig == signal.SIGINT
        if is_first_interrupt:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report it."""
        await super().startup([listener.dup() for listener in sockets or [] for _ in range(_ACCEPTS_PER_TURN)] or None)
        gc.freeze()  # frozen objects are not examined, which took 50 ms whenever many connections had opened and closed
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        """Look at the timers of each connection once a second, spread evenly over it: there may be thousands.

        Clients whose connections were closed together would connect again together, and others would wait for them.
        """
        loop, part = asyncio.get_running_loop(), counter % _TICKS_PER_SECOND
        if part == 0:
            self._swept = cast("list[Connection]", [*self.server_state.connections])
        swept = self._swept[part::_TICKS_PER_SECOND]
        for start in range(0, len(swept), _SWEPT_TOGETHER):
            delay = start / len(swept) / _TICKS_PER_SECOND
            loop.call_later(delay, self._close_overdue, swept[start : start + _SWEPT_TOGETHER])
        return await super().on_tick(counter)

    def _close_overdue(self, connections: Iterable[Connection]) -> None:
        now = asyncio.get_running_loop().time()
        for connection in connections:
            if connection in self.server_state.connections:
                connection.close_if_overdue(now)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close the listener and finish what was accepted."""
        self._on_draining()
        self.config.draining = True
        await self._drain()
        # Closing a listener resets the connections in its backlog. A second handle keeps it open until they are accepted.
        spare = [listener.dup() for listener in sockets or []]
        closing = asyncio.create_task(super().shutdown(sockets))
        timers = asyncio.create_task(self._keep_timers())
        await asyncio.sleep(0)
        for listener in spare:
            await self._accept_backlog(listener)
        await closing
        timers.cancel()

    async def _keep_timers(self) -> None:
        """Continue to close connections: those whose timers run out, those that have become idle, and at last all.

        uvicorn takes connections that are left at the end of its patience for an error of the server, and logs one.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + max(1.0, self.config.limits.request_timeout.total_seconds())
        for tick in count(1):
            await asyncio.sleep(1 / _TICKS_PER_SECOND)
            await self.on_tick(tick)
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                if loop.time() < ends_at:
                    connection.close_if_waiting()
                else:
                    connection.abort()

    async def _accept_backlog(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            listener.setblocking(False)
            for _ in range(BACKLOG):  # as many as the kernel held; new ones arrive while the listener is open
                try:
                    accepted, _ = listener.accept()
                except OSError:  # there is none; it is gone; or there are too many open files
                    return
                _, connection = await loop.connect_accepted_socket(self._connection, accepted)
                connection.shutdown()

    def _is_unused_since(self, accepted: int) -> bool:
        """Whether a drain would serve no client: none is connected, none came since *accepted* did, and nothing balances."""
        is_without_clients = not self.server_state.connections and self.config.stats.accepted == accepted
        return is_without_clients and not self.config.options.is_balanced()

    def _connection(self) -> Connection:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    async def _drain(self) -> None:
        accepted = self.config.stats.accepted
        for tick in range(int(self.config.limits.drain.total_seconds() * _TICKS_PER_SECOND)):
            if self._skip_drain or (tick == _UNUSED_TICKS and self._is_unused_since(accepted)):
                return
            await self.on_tick(tick)
            await asyncio.sleep(1 / _TICKS_PER_SECOND)


class _AdminServer(Server):
    """A server beside another one. It takes no signals, and does not wait for its clients when it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the other server."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - they are the servers'
        """Close the listener and all connections."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()


@asynccontextmanager
async def serving(options: ServerOptions, listener: socket.socket) -> AsyncIterator[None]:
    """Answer on *listener* while the block runs: also while another server drains in it, and after that has closed its own."""
    server = _AdminServer(options)
    task = asyncio.create_task(server.serve([listener]), name="admin")
    try:
        yield
    finally:
        server.should_exit = True
        await task


def listen(host: str, port: int, variable: str = "APIDEX_PORT") -> socket.socket:
    """A listening socket, whose connections have bounded buffers.

    Raises SettingsError if *host* and *port*, which *variable* gives, cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            socket_buffers.bound(listener)  # set before clients learn the receive window
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or "not a host name or address").lower()
        text = f"APIDEX_HOST={host} {variable}={port}: {reason}; allowed is an address of this machine with a port that is free"
        raise SettingsError(text) from None
    listener.setblocking(False)
    return listener


@contextmanager
def listening(host: str, ports: Mapping[str, int]) -> Iterator[list[socket.socket]]:
    """The listening sockets for *ports*, which are named by their variables. Raises SettingsError if one cannot be bound."""
    with ExitStack() as stack:
        yield [stack.enter_context(listen(host, port, variable)) for variable, port in ports.items()]


def address_of(listener: socket.socket) -> str:
    """The URL of *listener* on this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
