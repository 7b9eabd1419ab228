"""Which connection is closed when there are too many."""

import resource
from collections.abc import Set as AbstractSet
from heapq import nsmallest
from operator import itemgetter
from typing import Protocol

SPARE_DESCRIPTORS = 64
"""File descriptors for everything but connections: the listener, Redis, the upstream, the indexing process."""

_CANDIDATES = 64
"""Connections that one look at all of them selects, so that a new connection costs little beside thousands of others."""

_REQUEST_SECONDS = 1.0
"""How long a request may take to arrive, or its client to leave, before its connection is closed for another one."""

_LOOK_SECONDS = 0.1
"""How long a look that found nothing to close holds."""


class OpenConnection(Protocol):
    """A connection, as far as its closing is concerned."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""

    @property
    def waiting_since(self) -> float | None:
        """When the connection began to wait for a request, for the rest of one, or for its end. None while it answers."""

    def abort(self) -> None:
        """Close at once, and do not count among the open ones from now on."""


class ConnectionLimit:
    """At most *most* connections are open. The one that has waited longest for its client makes room for another.

    It is idle, or its request has been arriving, or its last answer been sent, for a second at least. So those that send whole
    requests and come back soon stay.
    """

    def __init__(self, most: int) -> None:
        self._most, self._next_look_at = most, float("-inf")
        self._candidates: list[tuple[float, OpenConnection]] = []

    def to_close(
        self, connections: AbstractSet[OpenConnection], newest: OpenConnection, now: float
    ) -> OpenConnection | None:
        """The connection that is to be closed for *newest*: *newest* itself if there is no other. None if there is room."""
        if len(connections) <= self._most:
            return None
        if not self._candidates and now >= self._next_look_at:
            waiting = ((_since(each, now), each) for each in connections if each is not newest)
            closable = ((since, each) for since, each in waiting if since is not None)
            self._candidates = nsmallest(_CANDIDATES, closable, key=itemgetter(0))[::-1]
            self._next_look_at = now + _LOOK_SECONDS * (not self._candidates)
        while self._candidates:
            since, candidate = self._candidates.pop()
            if candidate in connections and _since(candidate, now) == since:
                return candidate
        return newest


def _since(connection: OpenConnection, now: float) -> float | None:
    """When a connection that may be closed began to wait. None for one that may not."""
    since = connection.waiting_since
    return since if since is not None and (connection.is_idle or now - since >= _REQUEST_SECONDS) else None


def raise_descriptor_limit(connections: int) -> None:
    """Allow this process descriptors for this number of *connections*, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def allowed_connections(connections: int) -> int:
    """*connections*, or as many as there are descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - SPARE_DESCRIPTORS))
