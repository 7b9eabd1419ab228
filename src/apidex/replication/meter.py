"""Counts the bytes of the upstream as they arrive, before a library reads them.

Libraries drop data without meaning, such as interim responses (RFC 9110, section 15.2), and do not limit it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apidex.errors import UpstreamError

HEAD_BYTES, HEAD_LINES = 2**15, 500
"""The most that an answer may have before its body, including interim responses. The number of lines decides the CPU time."""

_HEAD_PIECE, _CHUNKED_PIECE = 2**10, 2**12
"""Bytes of a head, or of a chunked body, that are read at a time. A library processes them in one step, while all other tasks
wait."""

_TRAILER_BYTES = 2**12
"""The most bytes between two parts of a body, or after the last one."""

_FRAMING = 8
"""Framing, such as that of chunks, may add one byte for this many bytes of the body."""

Read = Callable[..., Awaitable[bytes]]


class Meter:
    """Counts the bytes that one fetch receives, over all its connections, and lets other tasks run between them.

    *limit* is the largest body. Reading more than such a body needs raises UpstreamError with the reason `too_large`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit + limit // _FRAMING + HEAD_BYTES
        self.reset()

    def reset(self) -> None:
        """Begin to count another fetch."""
        self._received, self._is_head, self._piece = 0, True, _HEAD_PIECE
        self._head_bytes = self._head_lines = self._without_body = 0

    def progress(self) -> None:
        """Record that a part of the body has arrived."""
        self._without_body = 0

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The `trace` extension of httpcore for a request. Each new connection is read through the meter."""
        stream: Any = info.get("return_value")
        if hasattr(stream, "read"):
            stream.read = self._metered(stream.read)
        elif event.endswith("receive_response_headers.started"):
            self._is_head, self._head_bytes, self._head_lines, self._piece = True, 0, 0, _HEAD_PIECE
        elif event.endswith("receive_response_headers.complete"):
            is_chunked = any(name.lower() == b"transfer-encoding" for name, _ in stream[3])
            self._is_head, self._piece, self._without_body = False, _CHUNKED_PIECE if is_chunked else sys.maxsize, 0

    def _metered(self, read: Read) -> Read:
        async def read_metered(max_bytes: int, timeout: float | None = None) -> bytes:
            self._check()  # checked here, because the head may have ended within the last bytes
            data = await read(min(max_bytes, self._piece), timeout)
            self._received += len(data)
            self._without_body += len(data)
            if self._is_head:
                self._head_bytes += len(data)
                self._head_lines += data.count(b"\n")
            await asyncio.sleep(0)
            return data

        return read_metered

    def _check(self) -> None:
        if self._is_head and (self._head_bytes > HEAD_BYTES or self._head_lines > HEAD_LINES):
            allowed = f"{HEAD_BYTES} bytes in {HEAD_LINES} lines are allowed"
            raise UpstreamError("too_large", f"the head of the upstream's answer is too long; {allowed}")
        if not self._is_head and self._without_body > _TRAILER_BYTES:
            allowed = f"{_TRAILER_BYTES} bytes are allowed"
            raise UpstreamError("too_large", f"the upstream sent too much between two parts of its body; {allowed}")
        if self._received > self._limit:
            raise UpstreamError("too_large", f"the upstream sent more than {self._limit} bytes")
