"""A small balancer for replicas that run as plain processes. It does what a Service of a cluster does: it spreads connections by
chance over those that are ready, does not look into what passes through it, and does not retry.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from loadtest.proxy import Proxy
from loadtest.stalls import BEAT, StallLog

_CHECK_EVERY = 0.25
_ID = re.compile(rb"^x-request-id: (\S+)", re.IGNORECASE | re.MULTILINE)
_CHECK = b"GET /-/readyz HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n"

Choice = Callable[[list[int]], int]


class Balancer(Proxy):
    """Listens on a port of its own, and spreads over *ports*, which may change at any time.

    *choose* picks one of the ports that are ready.
    """

    def __init__(self, choose: Choice = random.choice) -> None:
        super().__init__()
        self.ports: list[int] = []
        self._choose, self._ready = choose, set[int]()
        self._ids: Counter[bytes] = Counter()
        self.stalls = StallLog(time.monotonic())

    def is_ready(self, port: int) -> bool:
        """Whether the last check of *port* succeeded."""
        return port in self._ready

    def observe(self, data: bytes) -> None:
        """Count the requests by their IDs."""
        self._ids.update(_ID.findall(data))

    def repeated(self) -> int:
        """How many requests came a second time, by their IDs."""
        return self._ids.total() - len(self._ids)

    def backend(self) -> int:
        """One of the ports that are ready."""
        ready = [port for port in self.ports if port in self._ready]
        if not ready:
            raise ConnectionRefusedError
        return self._choose(ready)

    async def keep_running(self) -> None:
        """Check every port again and again, and record stalls of this thread."""
        await asyncio.gather(self._keep_checking(), self._beat())

    async def _beat(self) -> None:
        while True:
            self.stalls.beat(time.monotonic())
            await asyncio.sleep(BEAT)

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
