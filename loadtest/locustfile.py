"""Who calls, and how often: the users of a load test that anyone can open.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000

Each kind of request is one line in Locust's tables, whatever was searched. There are no retries, and response times count from
when a request was due, so that waiting behind another one is not hidden. `oracle.py` and `ordering.py` say what makes a request a
failure: it is refused, reset, torn or late, has another status than 200 or 304, other bytes than its catalogue's version demands,
or an older version than its replica gave before.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from platform import node
from random import choice, random
from typing import Any
from urllib.parse import quote

import gevent
import msgspec
from locust import FastHttpUser, LoadTestShape, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastResponse, ResponseContextManager
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.client import NoRetryPool, failure_of
from loadtest.distributed import CLOCK, ROWS, RowCollector, RowSender, RunClock, WorkerClock
from loadtest.load_generator import Load, scheduled
from loadtest.names import Names
from loadtest.oracle import Oracle, digest_of
from loadtest.ordering import VersionOrder
from loadtest.record import RequestFailure, RequestRecord, Writer
from loadtest.shapes import SHAPES
from loadtest.stalls import BEAT, StallLog, delay
from loadtest.verifier import BodyVerifier

__all__ = ["ConditionalUser", "GzipUser", "KeepAliveUser", "NewConnectionUser", "PagingUser", "Shaped"]

OK, NOT_MODIFIED, GONE = 200, 304, 410

PAGE = 100
"""Entries on a page, which is as many as there may be."""

_NUMBERS, _MACHINE = count(), node()

Check = Callable[[FastResponse, RequestRecord], RequestRecord | None]
"""Checks an answer that came whole; None where that must wait."""


class UserProcess:
    """What the users of one process share while a test runs: the clock of the run, and where rows go."""

    def __init__(self, host: str, clock: RunClock | WorkerClock, rows: Writer | RowSender | None) -> None:
        self.clock, self.rows, self.order = clock, rows, VersionOrder()
        self.verifier = BodyVerifier(host, self.note)
        self.names = Names(self.verifier.fetch().names)
        self.stalls = StallLog(time.monotonic())
        self.beating = gevent.spawn(self._beat)

    def _beat(self) -> None:
        while True:
            gevent.sleep(BEAT)
            self.stalls.beat(time.monotonic())

    def stalled(self, seconds: float) -> float:
        """Seconds of the longest stall of this process in the last *seconds*."""
        now = time.monotonic()
        return self.stalls.longest(now - seconds, now)

    def note(self, request: RequestRecord) -> RequestRecord:
        """Record a request that has ended, its body checked."""
        self.order.note(request)
        if self.rows:
            self.rows.write(request)
        return request


SHARED: UserProcess
MASTERS_CLOCK = WorkerClock()


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    """Add our options to Locust's."""
    add = parser.add_argument
    add("--shape", choices=list(SHAPES), default=Load.shape, help="How many of the users there are, and when")
    add("--shape-time", type=float, default=0.0, help="Seconds that the shape takes; else all of the run")
    add("--rate", type=float, default=Load.rate, help="Requests a second of each user that searches")
    add("--request-timeout", type=float, default=Load.timeout, help="Seconds after which a request has failed")
    add("--record", default="", help="Prefix of a CSV file per process, a row per request", include_in_web_ui=False)
    add("--collect", action="store_true", help="Have workers send their rows to the master", include_in_web_ui=False)
    add("--epoch", type=float, default=0.0, help="When the run began", include_in_web_ui=False)


@events.init.add_listener
def connect(environment: Environment, runner: Runner, **_: object) -> None:
    """Have a worker learn the master's clock, and the master write the rows of its workers."""
    given: Any = environment.parsed_options
    if isinstance(runner, WorkerRunner):
        runner.register_message(CLOCK, lambda msg, **_: MASTERS_CLOCK.answered(**msg.data))
    elif isinstance(runner, MasterRunner) and given.collect:
        clock, rows = RunClock(given.epoch or time.monotonic()), RowCollector(given.record)
        runner.register_message(
            CLOCK, lambda msg, **_: runner.send_message(CLOCK, msg.data | {"at": clock.time()}, msg.node_id)
        )
        runner.register_message(ROWS, lambda msg, **_: rows.received(msg.node_id, msg.data))
        events.quit.add_listener(lambda **_: rows.close())
        gevent.signal_handler(signal.SIGTERM, _end_with_workers, runner)


def _end_with_workers(runner: MasterRunner) -> None:
    """End the run, so that workers send their last rows and end too. Locust handles no SIGTERM while a shape is followed."""
    if runner.shape_greenlet is None:
        os._exit(1)  # it waits for workers
    runner.shape_greenlet.kill(block=False)


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    """Learn the catalogue from the service that is to be searched."""
    global SHARED
    given: Any = environment.parsed_options
    runner, host = environment.runner, environment.host or ""
    if given.collect and isinstance(runner, WorkerRunner):
        rows = RowSender(partial(runner.send_message, ROWS), MASTERS_CLOCK, lambda: scheduled(os.getpid()))
        SHARED = UserProcess(host, MASTERS_CLOCK, rows)
        gevent.spawn(_ping, runner)
    elif not (given.collect and isinstance(runner, MasterRunner)):
        written = Writer(Path(f"{given.record}-{os.getpid()}.csv")) if given.record else None
        SHARED = UserProcess(host, RunClock(given.epoch or time.monotonic()), written)


def _ping(runner: WorkerRunner) -> None:
    """Ask for the master's clock again and again: soon at first, since users wait for it."""
    while True:
        runner.send_message(CLOCK, {"sent": time.monotonic()})
        gevent.sleep(0.5 if MASTERS_CLOCK.is_known else 0.02)


@events.test_stop.add_listener
def end(**_: object) -> None:
    """Write every row; a master that collects rows has no users of its own."""
    if "SHARED" in globals():
        SHARED.beating.kill()
        SHARED.verifier.give_up()
        if SHARED.rows:
            SHARED.rows.close()


class Shaped(LoadTestShape):
    """Locust's users, as many as `--shape` says at each moment.

    After `--run-time` there are none, and the run is over; after `--shape-time` there are as many as at its end. Without either a
    run is steady, and has no end.
    """

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """As Locust's: users, and users a second; None at the end."""
        options: Any = self.runner and self.runner.environment.parsed_options
        users, rate = options.num_users or 1, options.spawn_rate or 1
        run, now = float(options.run_time or 0), float(self.get_run_time())
        if run and now >= run:
            return None
        length = float(options.shape_time) or run
        return max(1, round(users * SHAPES[options.shape](min(now / length, 1.0)))) if length else users, rate


class ApidexUser(FastHttpUser):
    """Sends requests at a steady rate. Subclasses inherit its only task, and may differ in what they `send`."""

    abstract = True
    kind, slower = "", 1.0
    headers: Mapping[str, str] = {}
    statuses: frozenset[int] = frozenset((OK, NOT_MODIFIED))
    in_order = True

    def on_start(self) -> None:
        """Begin at a random moment of the first interval."""
        options: Any = self.environment.parsed_options
        self.timeout = options.request_timeout
        self.client.client.clientpool = NoRetryPool(network_timeout=self.timeout, connection_timeout=self.timeout)
        self.interval = self.slower / options.rate
        gevent.sleep(random() * self.interval)
        while not SHARED.clock.is_known:
            gevent.sleep(0.01)
        self.due = self.free = SHARED.clock.time()
        self.delay = 0.0

    def wait_time(self) -> float:
        """Until the next one is due: a user that was kept waiting does not skip what it missed."""
        self.due += self.interval
        return max(0.0, self.due - SHARED.clock.time())

    @task
    def search(self) -> None:
        """Send one request."""
        self.send()

    def send(self) -> None:
        """Search for a name."""
        self.ask(SHARED.names.one(), self.headers)

    def ask(self, name: str, headers: Mapping[str, str], held: bytes | None = None) -> None:
        """Search for *name*, and record the outcome. *held* is the body that a 304 confirms."""

        def check(response: FastResponse, request: RequestRecord) -> RequestRecord | None:
            body = (held if request.status == NOT_MODIFIED else response.content) or b""
            checked = SHARED.verifier.check(request, request.version, partial(_judged, name, body))
            self.answered(response, body)
            return checked

        self.fetch(f"/{quote(name, safe='')}", headers, held, check)

    def fetch(self, path: str, headers: Mapping[str, str], held: bytes | None, check: Check) -> None:
        """Ask for *path*, and record the outcome; an answer that came whole is left to *check*."""
        sent = SHARED.clock.time()
        try:
            with gevent.Timeout(self.timeout):
                self._fetch(path, headers, held, sent, check)
        except gevent.Timeout:
            SHARED.note(self._row(sent, failure=RequestFailure.LATE, detail=f"not whole within {self.timeout:g} s"))
        except Exception as error:
            SHARED.note(self._row(sent, failure=RequestFailure.UNREADABLE, detail=repr(error)))

    def _fetch(self, path: str, headers: Mapping[str, str], held: bytes | None, sent: float, check: Check) -> None:
        numbered = {**headers, "X-Request-Id": f"{_MACHINE}-{os.getpid()}-{next(_NUMBERS)}"}
        with self.client.get(
            path, name=self.kind, headers=numbered, catch_response=True, allow_redirects=False
        ) as response:
            request = self._record(response, sent, held, headers.get("If-None-Match", ""))
            response.request_meta["response_time"] = request.latency * 1000
            checked = SHARED.note(request) if request.failure else check(response, request)
            if checked and checked.failure:
                response.failure(f"{checked.failure} {checked.detail}".strip())
            else:
                response.success()

    def answered(self, response: FastResponse, body: bytes) -> None:
        """Look at a response, and at the body that it stands for."""

    def _record(self, response: ResponseContextManager, sent: float, held: bytes | None, tag: str) -> RequestRecord:
        """What can be said before the body is checked."""
        replica, version, age = (_header(response, name) for name in ("X-Served-By", "Catalogue-Version", "Age"))
        seconds = int(age) if age.isdecimal() else -1
        failure, detail = _transport_failure(response, self.statuses)
        if response.status_code == NOT_MODIFIED and (held is None or _header(response, "ETag") != tag):
            failure, detail = RequestFailure.NOT_HELD, f"304 for {_header(response, 'ETag')!r}, held was {tag!r}"
        if not failure and response.status_code != GONE and not (replica and version and seconds >= 0):
            failure, detail = (
                RequestFailure.UNIDENTIFIED,
                f"X-Served-By {replica!r}, Catalogue-Version {version!r}, Age {age!r}",
            )
        status = response.status_code or 0
        request = self._row(
            sent, status=status, replica=replica, version=version, age=seconds, failure=failure, detail=detail
        )
        return request if failure or not self.in_order else SHARED.order.judged(request)

    def _row(self, sent: float, *, status: int = 0, **facts: Any) -> RequestRecord:  # noqa: ANN401
        """A row, as of now."""
        done, free = SHARED.clock.time(), self.free
        self.free = done
        due, possible = min(self.due, sent), min(sent, max(self.due, free))
        self.delay = delay(max(sent - possible, SHARED.stalled(done - possible)), self.delay, sent - due)
        return RequestRecord(self.kind, "Connection" not in self.headers, due, sent, done, self.delay, status, **facts)


def _header(response: FastResponse, name: str) -> str:
    """The value of a header; "" where it is missing or repeated."""
    value = response.headers.get(name, "") if response.headers else ""
    return value if isinstance(value, str) else ""


def _judged(name: str, body: bytes, oracle: Oracle, request: RequestRecord) -> RequestRecord:
    """*request*, failed if *body* is not the answer to a search for *name*."""
    right = body == oracle.answer(name)
    return request if right else request.failed(RequestFailure.WRONG_BODY, f"for {name!r}, {len(body)} bytes")


def _transport_failure(response: ResponseContextManager, statuses: frozenset[int]) -> tuple[RequestFailure, str]:
    """What went wrong on the way, or with the status."""
    error, status = response.request_meta["exception"], response.status_code
    if status in statuses and (error is None or status == GONE):
        return RequestFailure.NONE, ""
    if status and status != OK:
        return RequestFailure.BAD_STATUS, str(status)
    return failure_of(error) if error else (RequestFailure.CLOSED, "")


class KeepAliveUser(ApidexUser):
    """Searches, and keeps its connection as long as the service does."""

    weight = 6
    kind = "search, kept alive"


class NewConnectionUser(ApidexUser):
    """Opens a connection for each search."""

    weight = 3
    kind, headers = "search, new connection", {"Connection": "close"}


class ConditionalUser(ApidexUser):
    """Revalidates the response that it holds; a 304 says that its bytes are still right."""

    weight = 2
    kind = "search, revalidated"

    def on_start(self) -> None:
        """It holds nothing yet."""
        super().on_start()
        self.name, self.tag, self.held = SHARED.names.one(), "", b""

    def send(self) -> None:
        """Send the tag of the last response."""
        if self.tag:
            self.ask(self.name, {"If-None-Match": self.tag}, self.held)
        else:
            self.ask(self.name, {})

    def answered(self, response: FastResponse, body: bytes) -> None:
        """Hold it."""
        if response.status_code == OK:
            self.tag, self.held = _header(response, "ETag"), body


class GzipUser(ApidexUser):
    """Searches for a letter, which half of the names have, compressed."""

    weight = 1
    kind, headers, slower = "a letter, compressed", {"Accept-Encoding": "gzip"}, 5.0

    def send(self) -> None:
        """Search for one letter."""
        self.ask(choice("aeiou"), self.headers)


class PagingUser(ApidexUser):
    """Reads the whole catalogue page by page, each page from whichever replica answers, and all of one version.

    Where that version is gone (410), it begins again: a check says when that may be.
    """

    weight = 1
    kind, headers, slower = "a page", {"Connection": "close"}, 2.0
    statuses, in_order = frozenset((OK, GONE)), False

    def on_start(self) -> None:
        """Begin at the first page of the current version."""
        super().on_start()
        self.version, self.offset = "", 0

    def send(self) -> None:
        """Ask for the next page."""
        of_version = f"&version={self.version}" if self.version else ""
        path = f"/v1/search?sort=catalogue&limit={PAGE}&offset={self.offset}{of_version}"
        self.fetch(path, self.headers, None, self.check_page)

    def check_page(self, response: FastResponse, request: RequestRecord) -> RequestRecord | None:
        """Compare a page with its version, which is that of the first page, whatever is current by now."""
        version, offset, given = self.version or request.version, self.offset, request.version
        request = msgspec.structs.replace(request, version="", age=-1)
        self.version, self.offset = version, offset + PAGE
        if request.status == GONE:
            self.version, self.offset = "", 0
            return SHARED.note(request)
        if not msgspec.json.decode(response.content)["hits"]:
            self.version, self.offset = "", 0
        if digest_of(given) != digest_of(version):
            return SHARED.note(request.failed(RequestFailure.WRONG_PAGE, f"{given} instead of {version}"))
        return SHARED.verifier.check(request, version, partial(_judged_page, response.content, offset))


def _judged_page(body: bytes, offset: int, oracle: Oracle, request: RequestRecord) -> RequestRecord:
    """*request*, failed if *body* is not the page at *offset*."""
    right = oracle.is_page(body, offset, PAGE)
    return request if right else request.failed(RequestFailure.WRONG_PAGE, f"at {offset}, {len(body)} bytes")
