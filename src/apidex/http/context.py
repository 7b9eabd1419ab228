"""The replica that handlers answer for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apidex.http.asgi import Send
from apidex.http.concurrency import SingleFlight, TimeSlices, WorkerThread
from apidex.http.metrics import Metrics
from apidex.http.response_cache import ResponseCache
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Snapshot

T = TypeVar("T")

OFFLOAD_ABOVE_ENTRIES, OFFLOAD_ABOVE_BYTES = 5000, 2**22
"""Searches among more entries, or in more JSON, may take longer than the use of a thread: a tenth of a millisecond."""

_OFFLOAD_ABOVE_PAGE_BYTES = 2**14
"""So may a page of hits with more JSON: its highlights take up to 8 ms for this much."""

REPLACED_SECONDS = 300.0
"""How long a response may continue from a catalogue that the replica has replaced and no longer needs."""


@dataclass(slots=True)
class ReplicaContext:
    """A replica. *draining* is set once it shuts down, and *balanced* once `/-/readyz` was requested.

    All routes share *responses*, and the objects that run long requests.
    """

    refresher: Refresher
    metrics: Metrics
    served_by: str
    responses: ResponseCache[Any, Any]
    slices: TimeSlices = field(default_factory=TimeSlices)
    flights: SingleFlight = field(default_factory=SingleFlight)
    thread: WorkerThread = field(default_factory=WorkerThread)
    draining: bool = False
    balanced: bool = False

    def why_unready(self) -> str:
        """The answer to the readiness probe; empty if this replica wants requests. Whatever requests it is a balancer."""
        self.balanced = True
        if self.draining:
            return "Replica is shutting down."
        return "Replica was held up, and has not polled since." if self.refresher.supervision.is_behind() else ""

    async def compute(self, snapshot: Snapshot, function: Callable[[], T], hits: int = 0) -> T:
        """The result of *function* for up to *hits* entries of *snapshot*; it runs in a thread if it may take long."""
        catalogue = snapshot.catalogue
        is_large = len(catalogue) > OFFLOAD_ABOVE_ENTRIES or len(catalogue.canonical) > OFFLOAD_ABOVE_BYTES
        if is_large or hits * catalogue.longest > _OFFLOAD_ABOVE_PAGE_BYTES:
            return await self.thread.run(function)
        return function()

    async def send_wide(self, snapshot: Snapshot, pieces: Iterator[bytes], send: Send) -> None:
        """Send a body that is made from *snapshot* slice by slice, and wait for a slow client.

        Some minutes after *snapshot* was replaced, the body is cut off, so the server closes the connection: otherwise a client
        that takes hours would keep the snapshot in memory.
        """
        ends_at, steady = float("inf"), self.refresher.clock.steady
        while (body := await self.slices.take(pieces)) is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if self.refresher.activation.find_version(snapshot.version) is None:
                ends_at = min(ends_at, steady() + REPLACED_SECONDS)
            if steady() > ends_at:
                self.metrics.connections.shed["replaced"] += 1
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
