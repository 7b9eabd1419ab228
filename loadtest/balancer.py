"""A small balancer for replicas that run as plain processes. It does what a Service of a cluster does: it spreads connections by
chance over those that are ready, does not look into what passes through it, and does not retry.
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
        self._choose, self._ready = choose, set[int]()

    def is_ready(self, port: int) -> bool:
        """Whether the last check of *port* succeeded."""
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
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        checking = asyncio.create_task(self._keep_checking())
        started.set()
        await self._ended.wait()
        checking.cancel()
        server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        ready = [port for port in self.ports if port in self._ready]
        try:
            if not ready:
                raise ConnectionRefusedError
            replica, to_replica = await asyncio.open_connection("127.0.0.1", self._choose(ready))
        except OSError:
            to_client.transport.abort()
            return
        sending = asyncio.create_task(_pass_on(client, to_replica, self.received))
        answering = asyncio.create_task(_pass_on(replica, to_client))
        ended = set[asyncio.Task[None]]()
        with suppress(asyncio.CancelledError):  # at the end of the run
            ended, _ = await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        answering.cancel()
        to_replica.close()
        # How the replica's side ends is how the client's does.
        (to_client.transport.abort if [task for task in ended if task.exception()] else to_client.close)()

    def received(self, data: bytes) -> bytes:
        """What of *data*, which a client sent, is passed on. An OSError aborts its connection."""
        return data

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.gather(*map(self._check, list(self.ports)))
            self._ready &= set(self.ports)
            await asyncio.sleep(_CHECK_EVERY)

    async def _check(self, port: int) -> None:
        ready = False
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(_CHECK)
                    ready = (await reader.read(12)).endswith(b" 200")
                finally:
                    writer.close()
        (self._ready.add if ready else self._ready.discard)(port)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[bytes], bytes] = bytes
) -> None:
    while data := await reader.read(2**16):
        writer.write(passed(data))
        await writer.drain()
