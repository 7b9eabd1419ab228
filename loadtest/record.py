"""One row for each request: written by the users as it ends, read for the verdict. Pure, but for the file.

Times are seconds on the machine's steady clock, from the moment that the run began: one clock for all processes of a machine.
"""

import csv
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec


class RequestFailure(StrEnum):
    """What was wrong with a request."""

    NONE = ""
    REFUSED = "refused"
    RESET = "reset"
    CLOSED = "closed unanswered"
    TORN = "torn"
    LATE = "late"
    UNREACHABLE = "unreachable"
    TRANSPORT = "transport"
    ERROR = "error"
    UNREADABLE = "unreadable"
    UNIDENTIFIED = "unidentified"
    BAD_STATUS = "bad status"
    WRONG_BODY = "wrong body"
    WRONG_PAGE = "wrong page"
    NOT_HELD = "not held"
    WENT_BACK = "went back"
    BEHIND = "behind"
    BAD_CATALOGUE = "bad catalogue"
    FALSE_AGE = "false age"


TRANSPORT_FAILURES = {
    RequestFailure.REFUSED,
    RequestFailure.RESET,
    RequestFailure.CLOSED,
    RequestFailure.TORN,
    RequestFailure.LATE,
    RequestFailure.UNREACHABLE,
    RequestFailure.TRANSPORT,
}
"""How a request fails that no replica has answered, or not to the end."""


class RequestRecord(msgspec.Struct, frozen=True, gc=False):
    """What came of one request.

    *due* is when it should have been sent, *sent* when it was, *done* when its answer was whole or it failed; *lag* is how long
    the load generator delayed it: it was sent later than it could, with no earlier request of its user in the way, the generator
    stalled meanwhile, or its user had not caught up with an earlier delay. *status* is 0 where there was no answer; *age* is its
    `Age` in seconds, -1 where it had none. *checked* says whether its body could be compared.
    """

    kind: str
    kept_alive: bool
    due: float
    sent: float
    done: float
    lag: float
    status: int
    replica: str = ""
    version: str = ""
    age: int = -1
    failure: RequestFailure = RequestFailure.NONE
    detail: str = ""
    checked: bool = True

    @property
    def latency(self) -> float:
        """From the intended start, so that waiting behind another request is not hidden."""
        return self.done - self.due

    def failed(self, failure: RequestFailure, detail: str) -> "RequestRecord":
        """This request, with a failure."""
        return msgspec.structs.replace(self, failure=failure, detail=detail)

    @property
    def stamp(self) -> int:
        """The order of the catalogue that answered; -1 for none."""
        stamp = self.version.partition("-")[0]
        return int(stamp) if stamp.isdecimal() else -1


COLUMNS = RequestRecord.__struct_fields__


class Writer:
    """Writes rows to a file; its first line names the columns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=2**16, newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._flushed = 0.0

    def write(self, request: RequestRecord) -> None:
        """A row, to the tenth of a millisecond; within a second of the next one it can be read."""
        values = msgspec.structs.astuple(request)
        self._rows.writerow([round(value, 4) if isinstance(value, float) else value for value in values])
        if request.done > self._flushed + 0.5:
            self._file.flush()
            self._flushed = request.done

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


class Tail:
    """The rows that are added to *path* by another process; a row is given once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def rows(self) -> Iterator[RequestRecord]:
        """Those that came since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, ending, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(ending)
        for values in csv.reader(whole.decode().split("\n")):
            if values and tuple(values) != COLUMNS:
                yield msgspec.convert(dict(zip(COLUMNS, values, strict=True)), RequestRecord, strict=False)


def read(path: Path) -> list[RequestRecord]:
    """All rows of *path*. Raises OSError and msgspec.ValidationError."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.name}")
    return list(Tail(path).rows())


def write(path: Path, requests: Iterable[RequestRecord]) -> None:
    """*requests* as rows of *path*."""
    rows = Writer(path)
    for request in requests:
        rows.write(request)
    rows.close()
