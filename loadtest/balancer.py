"""A small balancer for replicas that run as plain processes. It does what a Service of a cluster does: it spreads connections, by
chance, over those that are ready, looks into nothing that passes through it, and tries nothing twice.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_CHECK_EVERY = 0.25
_CHECK = b"GET /-/readyz HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n"

Choice = Callable[[list[int]], int]


class Balancer:
    """Listens on a port of its own, and spreads over *ports*, which may change at any time.

    *choose* picks one of the ports that are ready.
    """

    def __init__(self, choose: Choice = random.choice) -> None:
        self.ports: list[int] = []
        self.port = 0
        self.open: set[asyncio.Transport] = set()
        self._choose, self._ready = choose, set[int]()

    def is_ready(self, port: int) -> bool:
        """Whether the last check of *port* went well."""
        return port in self._ready

    @contextmanager
    def running(self) -> Iterator["Balancer"]:
        """Runs in a thread while the block does."""
        started, self._ended = threading.Event(), asyncio.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            thread.join(10)

    async def _run(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await self._loop.create_server(self.client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        checking = asyncio.create_task(self._keep_checking())
        started.set()
        await self._ended.wait()
        checking.cancel()
        await asyncio.wait({checking})
        server.close()
        for transport in list(self.open):
            transport.abort()
        await asyncio.sleep(0)

    def client(self) -> "Client":
        """What stands for one client's connection."""
        return Client(self)

    def chosen(self) -> int | None:
        """The port for a new connection, if any is ready."""
        ready = [port for port in self.ports if port in self._ready]
        return self._choose(ready) if ready else None

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.gather(*map(self._check, list(self.ports)))
            self._ready &= set(self.ports)
            await asyncio.sleep(_CHECK_EVERY)

    async def _check(self, port: int) -> None:
        well = False
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                well = await self._is_well(port)
        (self._ready.add if well else self._ready.discard)(port)

    @staticmethod
    async def _is_well(port: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_CHECK)
            return (await reader.read(12)).endswith(b" 200")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Client(asyncio.Protocol):
    """A client's side of a connection. What comes before the other side stands is kept."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer, self._early = balancer, bytearray()
        self._other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._balancer.open.add(self._transport)
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop, port = asyncio.get_running_loop(), self._balancer.chosen()
        try:
            if port is None:
                raise ConnectionRefusedError
            other, _ = await loop.create_connection(lambda: _Replica(self._transport), "127.0.0.1", port)
        except OSError:
            self._transport.abort()
        else:
            self._other = other
            other.write(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        if self._other:
            self._other.write(data)
        else:
            self._early += data

    def connection_lost(self, _: Exception | None) -> None:
        self._balancer.open.discard(self._transport)
        self._task.cancel()
        if self._other:
            self._other.close()


class _Replica(asyncio.Protocol):
    """A replica's side of a connection. How it ends is how the client's ends."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc:
            self._client.abort()
        else:
            self._client.close()
