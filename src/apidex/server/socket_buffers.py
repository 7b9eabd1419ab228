"""The kernel's buffers of a connection: their bounds, and how much they hold now."""

import fcntl
import socket
import struct
import termios

SEND_BUFFER = 128 * 2**10
"""Bytes of responses that the kernel buffers for a connection; Linux adds the same amount for its own records. Without this, it
takes up to 4 MiB from a process that answers faster than its client reads."""

UNSENT_LIMIT = 128 * 2**10
"""The part of them that is not sent yet; for a client that does not read, this is everything. The kernel takes an answer of that
size in one write: it reaches its client even if the process is killed then."""

RECEIVE_BUFFER = 64 * 2**10
"""Bytes of input, as above: the longest head."""


def bound(listener: socket.socket) -> None:
    """Bound what the kernel holds for each connection that *listener* accepts."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def unacknowledged(connection: socket.socket | None) -> int:
    """Bytes that were written to *connection* and that its client has not acknowledged; 0 if unknown."""
    return _queued(connection, termios.TIOCOUTQ)


def unread(connection: socket.socket | None) -> int:
    """Bytes that were received for *connection* and not read."""
    return _queued(connection, termios.FIONREAD)


def _queued(connection: socket.socket | None, queue: int) -> int:
    if connection is None:
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), queue, b"\0\0\0\0"))[0])
    except OSError:
        return 0


def reset_at_close(connection: socket.socket | None) -> None:
    """Have the kernel drop what is not acknowledged when *connection* is closed, instead of keeping it for minutes."""
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drop_after_close(connection: socket.socket | None, seconds: float) -> None:
    """Have the kernel drop *connection*, once it is closed, if its client acknowledges nothing for so long.

    Not before: that would come before the send timer, which counts, and which leaves a client that has read enough until then.
    """
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
