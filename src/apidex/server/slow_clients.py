"""The memory of all connections that wait for their clients: one bound for the total."""

from typing import Protocol

from apidex.http.connection_stats import ConnectionStats


class SlowClient(Protocol):
    """A connection that waits for its client: to take what was written, or to complete a head."""

    def abort(self) -> None:
        """Close at once."""


class SlowClients:
    """Connections that wait for their clients, the one that waits longest first. They hold at most *limit* bytes together."""

    def __init__(self, limit: int, stats: ConnectionStats) -> None:
        self._limit, self._stats, self._held = limit, stats, 0
        self._sizes: dict[SlowClient, int] = {}

    def hold(self, client: SlowClient, size: int) -> None:
        """Note that *size* bytes are held for *client* now. It keeps its place in the queue until that is 0.

        Above the limit, those that have waited longest are closed, until one is left.
        """
        if not size:
            self._remove(client)
            return
        self._held += size - self._sizes.get(client, 0)
        self._sizes[client] = size
        while self._held > self._limit and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self._remove(oldest)
            self._stats.shed["unsent"] += 1
            oldest.abort()

    def _remove(self, client: SlowClient) -> None:
        self._held -= self._sizes.pop(client, 0)
