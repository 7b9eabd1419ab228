"""The access log: one event for each request, when its response is complete or its client is gone.

It is a class of connections, so that connections without it cost nothing more. `logs` bounds what waits to be written.
"""

import re
from time import monotonic
from typing import Any

from apidex.http.asgi import Headers, SyncResponse
from apidex.http.headers import header_value
from apidex.logs import get_logger
from apidex.server.connection import Connection

log = get_logger()

PATH_LIMIT = 256
"""Characters of a path that are logged."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id(headers: Headers) -> str | None:
    """The trace that a request belongs to (W3C Trace Context, section 3.2); None if it names none, or not in the valid form.

    Version 00 has four parts; others may have more.
    """
    found = _TRACEPARENT.fullmatch(value := header_value(headers, b"traceparent"))
    if found is None or (found[2] and value.startswith(b"00")):
        return None
    return found[1].decode()


class LoggingConnection(Connection):
    """A connection whose requests are logged."""

    __slots__ = ("_began", "_sent", "_status")

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of Connection
        super().__init__(*arguments, **options)
        self._began, self._status, self._sent = 0.0, 0, 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Log the request whose response is not complete."""
        if self._task is not None:
            self._log(is_complete=False)
        super().connection_lost(exc)

    def _begin(self) -> None:
        super()._begin()
        self._began, self._status, self._sent = monotonic(), 0, 0

    def _respond(self, response: SyncResponse, *, is_last: bool) -> None:
        self._status, self._sent = response[0], len(response[2])
        super()._respond(response, is_last=is_last)

    def write(self, head: bytes, body: bytes) -> None:
        """Write a part of a response."""
        if head:
            self._status = int(head[9:12])  # HTTP/1.1 200 OK
        self._sent += len(body)
        super().write(head, body)

    def finish(self, *, is_last: bool) -> None:
        """The answer is complete."""
        self._log(is_complete=True)
        super().finish(is_last=is_last)

    def _log(self, *, is_complete: bool) -> None:
        request = self._request
        log.info(
            "request.ended",
            method=request.method.decode() if request.is_complete else None,
            path=request.url.partition(b"?")[0][:PATH_LIMIT].decode("latin-1"),
            status=self._status or None,
            bytes=self._sent,
            seconds=round(monotonic() - self._began, 6),
            complete=is_complete,
            trace_id=trace_id(request.headers),
        )
