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

OFFLOAD_ABOVE_ENTRIES = 5000
"""Searches among more entries may take longer than a thread costs, which is a tenth of a millisecond."""

REPLACED_SECONDS = 300.0
"""How long a response may go on from a catalogue that the replica has replaced, and does not hold for other reasons."""


@dataclass(slots=True)
class ReplicaContext:
    """A replica. *draining* is set once it shuts down. All routes share *responses*, and what runs long requests."""

    refresher: Refresher
    metrics: Metrics
    served_by: str
    responses: ResponseCache[Any, Any]
    slices: TimeSlices = field(default_factory=TimeSlices)
    flights: SingleFlight = field(default_factory=SingleFlight)
    thread: WorkerThread = field(default_factory=WorkerThread)
    draining: bool = False

    async def compute(self, snapshot: Snapshot, function: Callable[[], T]) -> T:
        """What *function* finds in *snapshot*; in a thread where that is large."""
        if len(snapshot.catalogue) <= OFFLOAD_ABOVE_ENTRIES:
            return function()
        return await self.thread.run(function)

    async def send_wide(self, snapshot: Snapshot, pieces: Iterator[bytes], send: Send) -> None:
        """Send a body that is made of *snapshot* slice by slice, and wait for a slow client.

        The body is not completed, and so the server ends the connection, some minutes after *snapshot* was replaced: a client
        that takes hours would keep it in memory beside its successors.
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
