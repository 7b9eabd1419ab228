"""The line from one replica to Redis, where replicas are processes: it can be cut, and it can lead elsewhere."""

from contextlib import AbstractContextManager

from loadtest.proxy import Proxy
from loadtest.system import between


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
        act = self._loop.call_soon_threadsafe
        return between(lambda: act(self._passing.clear), lambda: act(self._passing.set))

    def redirected(self, port: int) -> AbstractContextManager[None]:
        """The line leads to *port* while the block runs. Connections end at both changes, as when a server moves."""
        before = self._leads_to
        return between(lambda: self._lead_to(port), lambda: self._lead_to(before))

    def _lead_to(self, port: int) -> None:
        self._leads_to = port
        for client in list(self._clients):
            self._loop.call_soon_threadsafe(client.transport.abort)
