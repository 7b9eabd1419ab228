"""One request and its response by ASGI: what the application sends becomes bytes in the HTTP version of the client."""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

from apidex.http.asgi import ASGIApp, Headers, Message, Scope
from apidex.http.content_encoding import COMPRESSOR_BYTES
from apidex.http.headers import encode_headers
from apidex.logs import get_logger

log = get_logger()

STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


def scope_of(
    method: bytes, version: str, origin: bytes, headers: Headers, transport: asyncio.BaseTransport, head_at: float
) -> Scope:
    """The ASGI scope of a request whose target has the *origin* form. Its head was complete at *head_at*, by `perf_counter`."""
    raw_path, _, query = (b"/" if origin == b"*" else origin).partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": version,
        "method": method.decode(),
        "scheme": "http",
        "root_path": "",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "server": _address(transport.get_extra_info("sockname")),
        "client": _address(transport.get_extra_info("peername")),
        "state": {},
        "head_at": head_at,
    }


def _address(name: tuple[str, int] | None) -> tuple[str, int] | None:
    """Host and port of a socket's *name*; None if the client has already reset the connection."""
    return name and name[:2]


class Wire(Protocol):
    """What an exchange writes to: a connection."""

    def write(self, head: bytes, body: bytes, /) -> None:
        """Write a part of the response."""

    def drained(self, pending: int, /) -> Awaitable[None]:
        """Wait until the client has read most of what was written. Cancelled when the client disconnects.

        During the wait the response holds *pending* bytes, besides what was written.
        """

    def finish(self, *, is_last: bool) -> None:
        """Note that the response is complete; *is_last* closes the connection."""

    def fail(self) -> None:
        """Answer with a 500, and close: nothing was written yet."""

    def abort(self) -> None:
        """Close at once, because the response cannot be completed."""


class Exchange:
    """ASGI's receive and send for one request. The task is cancelled when the client is gone.

    The application does not get the body of the request: no route reads one.
    """

    def __init__(self, wire: Wire, scope: Scope, common: bytes, *, is_last: bool) -> None:
        self._wire, self._scope, self._common, self._is_last = wire, scope, common, is_last
        self._is_received = self._is_started = self._is_complete = self._is_chunked = False
        self._head = b""
        self._left: int | None = None  # bytes of the body that are still to be sent; None if the length is unknown
        self._compressor_bytes = 0

    async def run(self, app: ASGIApp) -> None:
        """Let *app* answer. If it fails, the response is a 500, or the connection is closed if a part was already sent."""
        try:
            await self._answer(app)
        finally:  # Litestar may keep this in a cycle, and the connection must not wait for the garbage collector
            self._is_complete = True
            del self._wire

    async def _answer(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:
            log.error("request.broken", path=self._scope["path"], exc_info=error)
        if not self._is_complete:
            self._fail()

    def _fail(self) -> None:
        if self._is_started and not self._head:
            self._wire.abort()
            return
        self._is_complete = True
        self._wire.fail()

    async def _receive(self) -> Message:
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if not self._is_complete:
            await asyncio.get_running_loop().create_future()  # until the task is cancelled
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._is_complete:
            return  # as after a disconnect (ASGI): the next response may have begun
        await self._wire.drained(len(message.get("body", b"")) + self._compressor_bytes)
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
        else:
            self._body(message.get("body", b""), is_end=not message.get("more_body", False))

    def _start(self, status: int, headers: Headers) -> None:
        """Keep the head until the first part of the body, so that both are one write."""
        self._is_started = True
        for name, value in headers:
            if name.lower() == b"content-length":
                self._left = int(value)
            elif name.lower() == b"content-encoding":
                self._compressor_bytes = COMPRESSOR_BYTES
            elif name.lower() == b"connection" and value.lower() == b"close":
                self._is_last = True
        has_body = self._scope["method"] != "HEAD" and status not in (204, 304)
        lines = [STATUS_LINES[status], self._common, encode_headers(headers)]
        if has_body and self._left is None:
            # RFC 9112, section 6.1: no chunks to a client of HTTP/1.0; the end of the connection ends the body
            self._is_chunked = self._scope["http_version"] == "1.1"
            self._is_last |= not self._is_chunked
            lines.append(b"transfer-encoding: chunked\r\n" if self._is_chunked else b"")
        if not has_body:
            self._left = 0
        if self._is_last and (b"connection", b"close") not in headers:
            lines.append(b"connection: close\r\n")
        self._head = b"".join((*lines, b"\r\n"))

    def _body(self, body: bytes, *, is_end: bool) -> None:
        if self._left is not None:
            body = body[: self._left]
            self._left -= len(body)
        if self._is_chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if is_end else b"")
        self._wire.write(self._head, body)
        self._head = b""
        if is_end:
            self._is_complete = True
            self._wire.finish(is_last=self._is_last or bool(self._left))
