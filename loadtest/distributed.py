"""Users on several machines: each worker learns the master's clock and sends its rows there, for one history."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from loadtest.record import COLUMNS, RequestFailure, RequestRecord, Writer

PINGS = 10
"""So many messages to the master and back are compared, since the fastest of them says most."""

CLOCK, ROWS = "clock", "rows"
"""The types of the messages."""


class RunClock:
    """The clock of the run, on the machine where it began."""

    is_known = True

    def __init__(self, epoch: float) -> None:
        self._epoch = epoch

    def time(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._epoch


class WorkerClock:
    """The master's clock, as a worker knows it (Cristian's algorithm): the master's moment lies between a message and its answer.

    *skew* is the most by which it may be wrong, in seconds, a drift since the beginning included.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._offset, self.skew = now, 0.0, 0.0
        self._pings = deque[tuple[float, float]](maxlen=PINGS)

    @property
    def is_known(self) -> bool:
        """Whether there were enough messages."""
        return len(self._pings) == PINGS

    def time(self) -> float:
        """Seconds since the run began, by the master's clock."""
        return self._now() + self._offset

    def answered(self, sent: float, at: float) -> None:
        """The master has answered a message that was *sent* at a moment of this machine; it was *at* that moment of the run."""
        received, began = self._now(), not self.is_known
        self._pings.append((at - (sent + received) / 2, (received - sent) / 2))
        if not self.is_known:
            return
        if began:
            self._offset = min(self._pings, key=lambda ping: ping[1])[0]
        self.skew = max(self.skew, min(abs(offset - self._offset) + half for offset, half in self._pings))


class WorkerReport(msgspec.Struct, frozen=True):
    """What a worker has told of itself: its CPU seconds, those that it waited for a CPU, and how wrong its clock may be."""

    cpu: float
    waited: float
    skew: float


def reports(record: str | Path) -> Path:
    """The file of what the workers told of themselves, beside the rows with this prefix."""
    return Path(f"{record}-workers.json")


class RowSender:
    """Sends rows instead of writing them, twice a second at most."""

    def __init__(
        self, send: Callable[[Mapping[str, Any]], None], clock: WorkerClock, usage: Callable[[], tuple[float, float]]
    ) -> None:
        self._send, self._clock, self._usage = send, clock, usage
        self._rows, self._sent = list[list[Any]](), 0.0

    def write(self, request: RequestRecord) -> None:
        """Send *request* with those that came since the last time."""
        values = msgspec.structs.astuple(request)
        self._rows.append([str(value) if isinstance(value, RequestFailure) else value for value in values])
        if request.done > self._sent + 0.5:
            self._sent = request.done
            self.close()

    def close(self) -> None:
        """Send what was not sent yet."""
        cpu, waited = self._usage()
        self._send({"rows": self._rows, "cpu": cpu, "waited": waited, "skew": self._clock.skew})
        self._rows = []


class RowCollector:
    """Writes the rows that workers send: a file for each, and what they told of themselves."""

    def __init__(self, record: str) -> None:
        self._record, self._writers, self._reports = record, dict[str, Writer](), dict[str, WorkerReport]()

    def received(self, worker: str, message: Mapping[str, Any]) -> None:
        """Write the rows of a message."""
        if worker not in self._writers:
            self._writers[worker] = Writer(Path(f"{self._record}-{len(self._writers)}.csv"))
        for values in message["rows"]:
            self._writers[worker].write(msgspec.convert(dict(zip(COLUMNS, values, strict=True)), RequestRecord))
        self._reports[worker] = WorkerReport(message["cpu"], message["waited"], message["skew"])
        new = Path(f"{self._record}.new")
        new.write_bytes(msgspec.json.encode(list(self._reports.values())))
        new.replace(reports(self._record))  # at once: it is read meanwhile

    def close(self) -> None:
        """Flush and close the files."""
        for writer in self._writers.values():
            writer.close()
