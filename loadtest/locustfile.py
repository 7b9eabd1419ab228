"""Who calls, and how often: the users of a load test that anyone can open.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000

Each kind of request is one line in Locust's tables, whatever was searched. There are no retries, and response times count from
when a request was due, so that waiting behind another one is not hidden. `oracle.py` and `ordering.py` say what makes a request a
failure: it is refused, reset, torn or late, has another status than 200 or 304, other bytes than its catalogue's version demands,
or an older version than its replica gave before.
"""

import os
import time
from pathlib import Path
from random import random
from urllib.parse import quote

import gevent
from locust import FastHttpUser, LoadTestShape, events, task

from loadtest.client import NoRetryPool, fault_of
from loadtest.names import Names
from loadtest.ordering import VersionOrder
from loadtest.record import RequestRecord, Writer
from loadtest.shapes import SHAPES
from loadtest.verifier import BodyVerifier

__all__ = ["ConditionalUser", "GzipUser", "KeepAliveUser", "NewConnectionUser", "Shaped"]

LATE = 5.0
"""Seconds after which nobody waits any more."""

OK, NOT_MODIFIED = 200, 304


class Run:
    """What the users of one process share while a test runs."""

    def __init__(self, host: str, epoch: float, record: str) -> None:
        self.epoch, self.order = epoch, VersionOrder()
        self.writer = Writer(Path(f"{record}-{os.getpid()}.csv")) if record else None
        self.verifier = BodyVerifier(host, self.note)
        self.names = Names(self.verifier.first().names)

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.epoch

    def note(self, request: RequestRecord) -> RequestRecord:
        """A request has ended, and its bytes have been looked at."""
        self.order.note(request)
        if self.writer:
            self.writer.write(request)
        return request


RUN: Run


@events.init_command_line_parser.add_listener
def options(parser) -> None:  # noqa: ANN001 - Locust's
    """What can be said beside Locust's own options."""
    parser.add_argument(
        "--shape", choices=list(SHAPES), default="steady", help="How many of the users there are, and when"
    )
    parser.add_argument(
        "--shape-time", type=float, default=0.0, help="Seconds that the shape takes; else all of the run"
    )
    parser.add_argument("--rate", type=float, default=5.0, help="Requests a second of each user that searches")
    parser.add_argument(
        "--record",
        default="",
        help="Write a row for each request to a file for each process, whose name begins so",
        include_in_web_ui=False,
    )
    parser.add_argument("--epoch", type=float, default=0.0, help="When the run began", include_in_web_ui=False)


@events.test_start.add_listener
def begin(environment, **_) -> None:  # noqa: ANN001, ANN003 - Locust's
    """Learn the catalogue from the service that is to be searched."""
    global RUN
    given = environment.parsed_options
    RUN = Run(environment.host, given.epoch or time.monotonic(), given.record)


@events.test_stop.add_listener
def end(**_) -> None:  # noqa: ANN003 - Locust's
    """Have every row written."""
    RUN.verifier.give_up()
    if RUN.writer:
        RUN.writer.close()


class Shaped(LoadTestShape):
    """Locust's users, as many as `--shape` says at each moment.

    After `--run-time` there are none, and the run is over; after `--shape-time` there are as many as at its end. Without either a
    run is steady, and has no end.
    """

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """As Locust's: users, and users a second; None at the end."""
        options = self.runner.environment.parsed_options
        users, rate = options.num_users or 1, options.spawn_rate or 1
        shape, run, drawn_out = SHAPES[options.shape], float(options.run_time or 0), options.shape_time
        now = self.get_run_time()
        if run and now >= run:
            return None
        length = drawn_out or run
        return max(1, round(users * shape(min(now / length, 1.0)))) if length else users, rate


class ApidexUser(FastHttpUser):
    """Asks at a steady rate. Each kind has a task of its own: Locust would give it those of what it descends from, too."""

    abstract = True
    kind, headers, slower = "", {}, 1.0
    network_timeout = connection_timeout = LATE

    def on_start(self) -> None:
        """Begin at a moment of its own."""
        self.client.client.clientpool = NoRetryPool(network_timeout=LATE, connection_timeout=LATE)
        self.interval = self.slower / self.environment.parsed_options.rate
        gevent.sleep(random() * self.interval)
        self.due = self.free = RUN.now()

    def wait_time(self) -> float:
        """Until the next one is due: who was kept waiting does not skip what he missed."""
        self.due += self.interval
        return max(0.0, self.due - RUN.now())

    def ask(self, name: str, headers: dict[str, str], held: bytes | None = None) -> None:
        """Search for *name*, and note what came of it, whatever that is. *held* is what a 304 stands for."""
        sent = RUN.now()
        try:
            with gevent.Timeout(LATE):
                self._ask(name, headers, held, sent)
        except gevent.Timeout:
            self._lost(sent, "late", f"not whole within {LATE:g} s")
        except Exception as error:
            self._lost(sent, "unreadable", repr(error))

    def _ask(self, name: str, headers: dict[str, str], held: bytes | None, sent: float) -> None:
        with self.client.get(
            f"/{quote(name, safe='')}", name=self.kind, headers=headers, catch_response=True, allow_redirects=False
        ) as response:
            request = self._seen(response, sent, held)
            response.request_meta["response_time"] = request.latency * 1000
            body = held if request.status == NOT_MODIFIED else response.content
            judged = RUN.note(request) if request.fault else RUN.verifier.check(request, name, body or b"")
            if judged and judged.fault:
                response.failure(f"{judged.fault} {judged.detail}".strip())
            else:
                response.success()
            self.answered(response, body or b"")

    def answered(self, response, body: bytes) -> None:  # noqa: ANN001 - Locust's
        """Look at an answer, and at the bytes that it stands for."""

    def _seen(self, response, sent: float, held: bytes | None) -> RequestRecord:  # noqa: ANN001 - Locust's
        """What can be said before the bytes are looked at."""
        replica, version, age = _facts(response.headers or {})
        fault, detail = _transport_fault(response, held)
        if not fault and not (replica and version and age >= 0):
            fault, detail = "says not what it is", f"X-Served-By {replica!r}, Catalogue-Version {version!r}, Age {age}"
        request = self._request(sent, response.status_code or 0, replica, version, age, fault, detail)
        return request if fault else RUN.order.judged(request)

    def _lost(self, sent: float, fault: str, detail: str) -> None:
        RUN.note(self._request(sent, 0, "", "", -1, fault, detail))

    def _request(self, sent: float, *facts: object) -> RequestRecord:
        """A row, as of now."""
        done, free = RUN.now(), self.free
        self.free = done
        due, lag = min(self.due, sent), max(0.0, sent - max(self.due, free))
        return RequestRecord(self.kind, "Connection" not in self.headers, due, sent, done, lag, *facts)


def _facts(headers) -> tuple[str, str, int]:  # noqa: ANN001 - geventhttpclient's
    """What an answer says of itself: the replica, the version, the age; nothing, or -1, where it does not, or says it twice."""
    said = [headers.get(name, "") for name in ("X-Served-By", "Catalogue-Version", "Age")]
    replica, version, age = (value if isinstance(value, str) else "" for value in said)
    return replica, version, int(age) if age.isdecimal() else -1


def _transport_fault(response, held: bytes | None) -> tuple[str, str]:  # noqa: ANN001 - Locust's
    """What went wrong on the way, or with the status. A 304 is for those who hold something."""
    error, status = response.request_meta["exception"], response.status_code
    if error is None and (status == OK or (status == NOT_MODIFIED and held is not None)):
        return "", ""
    if status and status != OK:
        return f"status {status}", ""
    return fault_of(error) if error else ("closed unanswered", "")


class KeepAliveUser(ApidexUser):
    """Searches, and keeps its connection as long as the service does."""

    weight = 6
    kind = "search, kept alive"

    @task
    def search(self) -> None:
        """Look for a name, and look at what is found."""
        self.ask(RUN.names.one(), self.headers)


class NewConnectionUser(ApidexUser):
    """Comes with a connection of its own for each search."""

    weight = 3
    kind, headers = "search, new connection", {"Connection": "close"}

    @task
    def search(self) -> None:
        """Search, and leave."""
        self.ask(RUN.names.one(), self.headers)


class ConditionalUser(ApidexUser):
    """Asks again for what it has."""

    weight = 2
    kind = "search, held already"

    def on_start(self) -> None:
        """It holds nothing yet."""
        super().on_start()
        self.name, self.tag, self.held = RUN.names.one(), "", b""

    @task
    def search(self) -> None:
        """Ask with the tag of the last answer; a 304 says that its bytes are still right."""
        if self.tag:
            self.ask(self.name, {"If-None-Match": self.tag}, self.held)
        else:
            self.ask(self.name, {})

    def answered(self, response, body: bytes) -> None:  # noqa: ANN001 - Locust's
        """Hold it."""
        tag = response.headers.get("ETag", "") if response.headers else ""
        if response.status_code == OK and isinstance(tag, str):
            self.tag, self.held = tag, body


class GzipUser(ApidexUser):
    """Asks for a letter, which half of the names have, compressed."""

    weight = 1
    kind, headers, slower = "a letter, compressed", {"Accept-Encoding": "gzip"}, 5.0

    @task
    def search(self) -> None:
        """Search for one letter."""
        self.ask("aeiou"[int(random() * 5)], self.headers)
