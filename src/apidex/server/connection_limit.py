"""Which connection is closed when there are too many."""

import resource
from collections.abc import Set as AbstractSet
from heapq import nsmallest
from typing import Protocol

SPARE_DESCRIPTORS = 64
"""File descriptors for everything but connections: the listener, Redis, the upstream, the indexing process."""

_CANDIDATES = 64
"""Connections that one look at all of them selects, so that a new connection costs little beside thousands of others."""

_REQUEST_SECONDS = 1.0
"""How long a request may take to arrive before its connection is closed for another one."""

_LOOK_SECONDS = 0.1
"""How long a look that found nothing to close holds."""


class OpenConnection(Protocol):
    """A connection, as far as its closing is concerned."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""

    def abort(self) -> None:
        """Close at once, and do not count among the open ones from now on."""

    def seconds_receiving(self, now: float) -> float:
        """How long the present request has been arriving; 0 if the connection is not receiving one."""


class ConnectionLimit:
    """At most *most* connections are open: idle ones are closed first, then those whose request has been arriving longest."""

    def __init__(self, most: int) -> None:
        self._most, self._candidates, self._next_look_at = most, list[OpenConnection](), float("-inf")

    def to_close(
        self, connections: AbstractSet[OpenConnection], newest: OpenConnection, now: float
    ) -> OpenConnection | None:
        """The connection that is to be closed for *newest*: *newest* itself if there is no other. None if there is room."""
        if len(connections) <= self._most:
            return None
        if not self._candidates and now >= self._next_look_at:
            closable = (each for each in connections if each is not newest and self._may_close(each, now))
            found = nsmallest(_CANDIDATES, closable, key=lambda each: (not each.is_idle, -each.seconds_receiving(now)))
            self._candidates, self._next_look_at = found[::-1], now + _LOOK_SECONDS * (not found)
        while self._candidates:
            candidate = self._candidates.pop()
            if candidate in connections and self._may_close(candidate, now):
                return candidate
        return newest

    @staticmethod
    def _may_close(connection: OpenConnection, now: float) -> bool:
        return connection.is_idle or connection.seconds_receiving(now) >= _REQUEST_SECONDS


def raise_descriptor_limit(connections: int) -> None:
    """Allow this process descriptors for so many connections, or as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def allowed_connections(connections: int) -> int:
    """*connections*, or as many as there are descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - SPARE_DESCRIPTORS))
