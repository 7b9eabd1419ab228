"""The output of a connection: what is written to its client, and how much of it the client has read."""

import asyncio

from apidex.server.socket_buffers import reset_at_close, unacknowledged
from apidex.server.timers import SendWindow

_COPY_BELOW = 16 * 2**10
"""Shorter bodies are copied to follow their head: one write is cheaper than two."""


class Output:
    """The output to one client. It *is_paused* while the client reads more slowly than responses are made."""

    __slots__ = ("_acknowledged", "_transport", "_window", "_writable", "_written", "is_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written = self._acknowledged = 0
        self.is_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._window: SendWindow | None = None

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Write head and body. A long body is not copied: many connections may wait with the same one."""
        size = len(body)
        self._written += len(head) + size
        if size < _COPY_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def resume(self) -> None:
        """End the pause: the client has read most of what was written."""
        self.is_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def resumed(self) -> None:
        """Wait until the pause ends. Cancelled when the client disconnects."""
        self._writable = asyncio.get_running_loop().create_future()
        await self._writable

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not accepted yet."""
        return self._transport.get_write_buffer_size()

    def unacknowledged(self) -> int:
        """Bytes that the client has not acknowledged, including those in the kernel."""
        if self._acknowledged < self._written:  # a client that has read everything costs no system call
            connection = self._transport.get_extra_info("socket")
            self._acknowledged = self._written - self.unsent - unacknowledged(connection)
        return self._written - self._acknowledged

    def is_stalled(self, now: float, limit: float) -> bool:
        """Whether the client reads too little over *limit* seconds. Must be called repeatedly while bytes are unsent."""
        acknowledged = self._written - self.unacknowledged()
        if self._window is None:
            self._window = SendWindow(now, acknowledged)
            return False
        return self._window.is_stalled(now, acknowledged, limit)

    def all_sent(self) -> None:
        """Stop the send timer: nothing is unsent."""
        self._window = None

    def abort(self) -> None:
        """Close at once. What the client has not read is lost, and the kernel drops it."""
        if self.unacknowledged():
            reset_at_close(self._transport.get_extra_info("socket"))
        self._transport.abort()
