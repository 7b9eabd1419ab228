"""uvicorn, as Apidex runs it: one process, one event loop, requests as they come from real clients."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apidex.answers import PROBLEM_JSON, Problem
from apidex.asgi import ASGIApp
from apidex.errors import SettingsError


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which says in JSON what it cannot take."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which name no cause
        """Answer what is no HTTP request with a problem document, and close."""
        detail = "This is no HTTP/1.1 request. Characters beyond ASCII are written percent-encoded, as in /Pok%C3%A9."
        body = Problem(400, detail).body()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (PROBLEM_JSON, len(body)) + body)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens and when it begins to end."""

    def __init__(self, app: ASGIApp, *, on_listening: Callable[[], None], on_ending: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                loop="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=30,
            )
        )
        self._on_listening, self._on_ending = on_listening, on_ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at SIGTERM or SIGINT, and with exit status 0; at a second SIGINT at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that the end begins, then close."""
        self._on_ending()
        await super().shutdown(sockets)


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
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"APIDEX_HOST={host} APIDEX_PORT={port}: {reason}; allowed is an address of this machine with a port that is free"
        raise SettingsError(text) from None
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL at which *listener* is reached from this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def run(main: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever main gives back
    """Run the coroutine function *main* on uvloop, or on asyncio where there is none."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
