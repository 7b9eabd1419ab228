"""A TCP proxy in a thread: what the small balancer has in common with the line from one replica to Redis, where replicas are
processes. The line can be cut, and it can lead elsewhere.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Self

from loadtest.system import between


class Proxy(ABC):
    """Listens on *port*, and passes each connection on to the port of this machine that `backend` names."""

    def __init__(self) -> None:
        self.port = 0
        self._clients = set[asyncio.StreamWriter]()
        self._passing = asyncio.Event()
        self._passing.set()

    @abstractmethod
    def backend(self) -> int:
        """The port for a new connection. An OSError aborts the connection."""

    def received(self, data: bytes) -> bytes:
        """What of *data*, which a client sent, is passed on. An OSError aborts its connection."""
        return data

    def observe(self, data: bytes) -> None:  # noqa: B027 - most do not look into it
        """Look at what is passed on."""

    async def keep_running(self) -> None:  # noqa: B027 - most have nothing else
        """Whatever else runs in the thread."""

    @contextmanager
    def running(self) -> Iterator[Self]:
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
        beside = asyncio.create_task(self.keep_running())
        started.set()
        await self._ended.wait()
        beside.cancel()
        server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.backend())
        except OSError:
            to_client.transport.abort()
            return
        self._clients.add(to_client)
        sending = asyncio.create_task(self._pass_on(client, to_server, is_request=True))
        answering = asyncio.create_task(self._pass_on(server, to_client))
        ended = set[asyncio.Task[None]]()
        with suppress(asyncio.CancelledError):  # at the end of the run
            ended, _ = await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        self._clients.discard(to_client)
        sending.cancel()
        answering.cancel()
        to_server.close()
        # How the server's side ends is how the client's does.
        (to_client.transport.abort if [task for task in ended if task.exception()] else to_client.close)()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool = False
    ) -> None:
        while data := await reader.read(2**16):
            await self._passing.wait()
            if is_request:
                data = self.received(data)
                self.observe(data)
            writer.write(data)
            await writer.drain()


class RedisLine(Proxy):
    """A proxy before Redis on *port*, for one replica."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._leads_to = port

    def backend(self) -> int:
        """Redis, or what is there in its place."""
        return self._leads_to

    def partitioned(self) -> AbstractContextManager[None]:
        """Nothing passes while the block runs. As with TCP, what was sent meanwhile arrives afterwards."""
        return between(lambda: self._act(self._passing.clear), lambda: self._act(self._passing.set))

    def _act(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended with its replica
            self._loop.call_soon_threadsafe(what)

    def lead_to(self, port: int) -> None:
        """The line leads to *port* from now on. Connections that led elsewhere end, as when a server moves."""
        if port == self._leads_to:
            return
        self._leads_to = port
        for client in list(self._clients):
            self._act(client.transport.abort)
