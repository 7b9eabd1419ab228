"""Many clients of one kind that cause a server as much cost as they can. One process, ended by its parent.

    python -m loadtest.hostile_clients KIND HOST PORT

There are a thousand of most kinds. A client whose connection ends opens another, a second after it opened the last one; ten
seconds after if each costs a long answer: a replica cannot make a thousand of those a second, whatever it does with connections.
On the loopback, source addresses are 127.0.0.2 and the following, so that there are ports enough.
"""

import asyncio
import os
import random
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import uvloop

SMALL, WIDE = "/Cat", "/v1/entries"
"""A short answer and the longest one. Other servers in the table have files of these names."""

_PAUSE = 1.0
"""Seconds between two bytes, and from one connection of a client to its next one at least."""

_WIDE_PAUSE = 10.0
"""The same where a client asks for a long answer on each connection."""

_ADDRESSES = 16
_RECEIVE_BUFFER = 4096
_GARBAGE_BYTES = 4096
_PIPELINE = 500


class HostileClient(NamedTuple):
    """What a client does on a connection, until it is over or the server closes it, and how many such clients there are."""

    act: Callable[[socket.socket], Awaitable[None]]
    number: int = 1000
    is_reading: bool = True

    @property
    def pause(self) -> float:
        """Seconds from one connection to the next one at least."""
        return _PAUSE if self.is_reading else _WIDE_PAUSE


def _request(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


async def _read(connection: socket.socket) -> None:
    """Read all until the server closes."""
    while await asyncio.get_running_loop().sock_recv(connection, 2**16):
        pass


async def _send(connection: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, data)


def _dripping(first: bytes, byte: bytes) -> Callable[[socket.socket], Awaitable[None]]:
    """Send *first*, and then *byte* again and again, and read meanwhile."""

    async def act(connection: socket.socket) -> None:
        await _send(connection, first)
        reading = asyncio.create_task(_read(connection))
        try:
            while not reading.done():
                await asyncio.sleep(_PAUSE)
                await _send(connection, byte)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    return act


def _idle(first: bytes) -> Callable[[socket.socket], Awaitable[None]]:
    async def act(connection: socket.socket) -> None:
        await _send(connection, first)
        await _read(connection)

    return act


async def _never_read(connection: socket.socket) -> None:
    """Ask, and find out that the connection is closed by sending a byte a second."""
    await _send(connection, _request(WIDE))
    while True:
        await asyncio.sleep(_PAUSE)
        await _send(connection, b"\r\n")


async def _read_a_byte(connection: socket.socket) -> None:
    await _send(connection, _request(WIDE))
    while await asyncio.get_running_loop().sock_recv(connection, 1):  # noqa: ASYNC110 - it waits for the server
        await asyncio.sleep(_PAUSE)


async def _pipeline(connection: socket.socket) -> None:
    while True:
        await _send(connection, _request(WIDE) + _request(SMALL) * _PIPELINE)


async def _reset(connection: socket.socket) -> None:
    await _send(connection, _request(SMALL))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _half_close(connection: socket.socket) -> None:
    """Send nothing more, and do not close, whatever the server does."""
    await _send(connection, _request(WIDE))
    connection.shutdown(socket.SHUT_WR)
    await asyncio.sleep(_WIDE_PAUSE)


async def _send_garbage(connection: socket.socket) -> None:
    await _send(connection, random.randbytes(_GARBAGE_BYTES))
    await _read(connection)


KINDS = {
    "silent": HostileClient(_idle(b"")),
    "head, a byte a second": HostileClient(_dripping(_request(SMALL)[:-2] + b"X: ", b"x")),
    "body, a byte a second": HostileClient(_dripping(_request(SMALL, "Content-Length: 100000\r\n"), b"x")),
    "empty lines after an answer": HostileClient(_dripping(_request(SMALL), b"\r\n")),
    "never reading": HostileClient(_never_read, is_reading=False),
    "reading a byte a second": HostileClient(_read_a_byte, is_reading=False),
    "pipelining, not reading": HostileClient(_pipeline, is_reading=False),
    "resets": HostileClient(_reset),
    "half-closed, not reading": HostileClient(_half_close, is_reading=False),
    "idle": HostileClient(_idle(_request(SMALL)), number=4000),
    "garbage": HostileClient(_send_garbage),
}


@contextmanager
def attacking(kind: str, host: str, port: int, prefix: Sequence[str] = ()) -> Iterator[int]:
    """Let the clients of one *kind* attack during the block; yields the number of their process. *prefix* begins its command."""
    command = [*prefix, sys.executable, "-P", __file__, kind, host, str(port)]
    with subprocess.Popen(command) as process:  # noqa: S603 - this interpreter
        try:
            yield process.pid
        finally:
            process.kill()


async def _connect(client: HostileClient, number: int, address: tuple[str, int]) -> None:
    """One connection of a client."""
    with socket.socket() as connection:
        connection.setblocking(False)
        if not client.is_reading:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if address[0].startswith("127."):
            connection.bind((f"127.0.0.{2 + number % _ADDRESSES}", 0))
        with suppress(OSError):  # closed by the server
            await asyncio.get_running_loop().sock_connect(connection, address)
            await client.act(connection)


async def _stay(client: HostileClient, number: int, address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(random.uniform(0, client.pause))
    while True:
        began = loop.time()
        await _connect(client, number, address)
        await asyncio.sleep(max(0, began + client.pause - loop.time()))


async def _attack(client: HostileClient, address: tuple[str, int]) -> None:
    await asyncio.gather(*(_stay(client, number, address) for number in range(client.number)))


def main() -> None:
    """Attack until the process is ended."""
    kind, host, port = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.nice(19)  # honest clients on the same core are measured, and are not to wait for this
    uvloop.run(_attack(KINDS[kind], (host, int(port))))


if __name__ == "__main__":
    main()
