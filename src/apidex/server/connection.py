"""uvicorn's connection as Apidex runs it: it answers without ASGI where it can, sheds load, times out and retires."""

import asyncio
from random import uniform

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from apidex.http.asgi import Headers, SyncResponse
from apidex.http.headers import encode_headers
from apidex.http.paths import is_single_segment
from apidex.http.problem_details import PROBLEM_JSON, Problem
from apidex.server.options import ServerOptions
from apidex.server.overload import OPERATIONS, LoopLagDetector

MAX_HEAD_BYTES = 64 * 2**10

_FIRST_REQUEST_SECONDS = 2.0
"""For a client that has just connected, once the listener is closed."""

_COPY_BELOW_BYTES = 16 * 2**10
"""Smaller bodies are copied behind their head: one write is cheaper than two."""

_ASGI_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""A request with one of these has a body or changes the protocol, and is left to ASGI."""


class ServerConfig(uvicorn.Config):
    """What all connections of a server share."""

    def __init__(self, options: ServerOptions) -> None:
        limits = options.limits
        super().__init__(
            options.asgi,
            http=Connection,
            ws="none",
            lifespan="off",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(limits.keep_alive.total_seconds())),
            timeout_graceful_shutdown=max(1, round(limits.request_timeout.total_seconds())),
        )
        self.options, self.limits, self.draining = options, limits, False
        self.loop_lag = LoopLagDetector(limits.queue_delay_target.total_seconds())
        self._default_headers: Headers | None = None
        self._default_lines = b""

    def connection_lifetime(self) -> float:
        """Seconds until a new connection is retired. Random, so that those opened together do not close together."""
        age = self.limits.max_age.total_seconds()
        return age * uniform(0.5, 1.5) if age else float("inf")  # noqa: S311 - spreads connections in time, guards nothing

    def default_lines(self, state: ServerState) -> bytes:
        """The header lines that uvicorn adds to every response, encoded once a second."""
        if self._default_headers is not state.default_headers:
            self._default_headers = state.default_headers
            self._default_lines = encode_headers(state.default_headers)
        return self._default_lines


class Connection(HttpToolsProtocol):
    """uvicorn's connection with a fast path before ASGI. Its own errors are problem documents."""

    config: ServerConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._request_began: float | None = self.loop.time()
        self._retires_at = self._request_began + self.config.connection_lifetime()
        self._head_size = 0
        self._had_request = self._needs_asgi = self._responded = False

    def data_received(self, data: bytes) -> None:
        """Parse, and bound the head."""
        self._head_size += len(data)
        super().data_received(data)
        if self._head_size > MAX_HEAD_BYTES:
            self._send_error(431, f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Start the timer of a request, at its first byte."""
        super().on_message_begin()
        self._needs_asgi = self._responded = False
        if self._request_began is None:
            self._request_began = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        name = name.lower()
        if name in _ASGI_HEADERS:
            self._needs_asgi = True
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Respond if no waiting is needed, else leave the request to ASGI; decide whether the connection closes after it."""
        self._head_size = 0
        self._had_request = True
        is_last = self.config.draining or self.loop.time() > self._retires_at
        response = self._respond_sync()
        if response is not None:
            self._send(response, is_last=is_last or self._needs_asgi or not self.parser.should_keep_alive())
            return
        super().on_headers_complete()
        if is_last:
            self.cycle.keep_alive = False

    def _respond_sync(self) -> SyncResponse | None:
        """The response to a search or a probe, or to a request that is shed; None for what is left to ASGI."""
        config, options, response = self.config, self.config.options, None
        is_overloaded = (
            config.loop_lag.is_overloaded(self.loop) or len(self.server_state.tasks) >= config.limits.max_in_flight
        )
        if options.respond_sync is not None and is_single_segment(self.url) and self._is_simple_get():
            response = options.respond_sync(self.url, self.headers, is_overloaded)
        elif options.probe is not None and self.url.startswith(OPERATIONS) and self._is_simple_get():
            response = options.probe(self.url)
        if response is None and is_overloaded and options.shed is not None and self._may_be_shed():
            return options.shed()
        return response

    def _may_be_shed(self) -> bool:
        return not self.url.startswith(OPERATIONS) and not self._asgi_is_busy() and not self.transport.is_closing()

    def _is_simple_get(self) -> bool:
        """Whether this is a GET without query or body, and no earlier response of the connection is incomplete or unread."""
        return (
            not self._needs_asgi
            and b"?" not in self.url
            and b"#" not in self.url
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and not self._asgi_is_busy()
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _asgi_is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until ASGI gets its first request
        return cycle is not None and not cycle.response_complete

    def _send(self, response: SyncResponse, *, is_last: bool) -> None:
        """Write a response as uvicorn's task for ASGI does."""
        status, lines, body = response
        last = b"connection: close\r\n" if is_last else b""
        head = b"".join((STATUS_LINE[status], self.config.default_lines(self.server_state), lines, last, b"\r\n"))
        self._responded = True
        if len(body) < _COPY_BELOW_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        if is_last:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, which does not count as head."""
        self._head_size = 0
        if not self._responded:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer of the request."""
        self._head_size = 0
        self._request_began = None
        if not self._responded:
            super().on_message_complete()

    def enforce_request_timeout(self, now: float) -> None:
        """Close if a request is taking too long to arrive. Called once a second."""
        timeout = self.config.limits.request_timeout.total_seconds()
        if self._request_began is None or now - self._request_began < timeout or self.transport.is_closing():
            return
        if self._asgi_is_busy() and self.cycle.response_started:
            self.transport.close()
        else:
            self._send_error(408, f"The request did not arrive within {timeout:g} seconds.")

    def shutdown(self) -> None:
        """Close, as the listener is closed; a client that has just connected gets time for one request."""
        if self._had_request:
            super().shutdown()
        else:
            self.loop.call_later(_FIRST_REQUEST_SECONDS, super().shutdown)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which do not name the cause
        """Answer what cannot be parsed, and close."""
        self._send_error(
            400, "Malformed HTTP/1.1 request. Characters beyond ASCII are percent-encoded, as in /Pok%C3%A9."
        )

    def _send_error(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = Problem(status, detail).body()
        fields = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (PROBLEM_JSON, len(body))
        self.transport.write(STATUS_LINE[status] + fields + body)
        self.transport.close()
