"""Who calls, and how often: the users of a load test that anyone can open.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000

Each kind of request is one line in Locust's tables, whatever was searched. Nothing is asked twice, and response times count from
when a request was due, so that waiting behind another one is not hidden. What makes a request a failure stands in `checks.py`: it
is refused, reset, torn or late, has another status than 200 or 304, other bytes than its catalogue's version demands, or an older
version than its replica gave before.
"""

import os
import time
from pathlib import Path
from random import random
from urllib.parse import quote

import gevent
from locust import FastHttpUser, events, task

from loadtest.checks import Order
from loadtest.client import OneTry, fault_of
from loadtest.names import Names
from loadtest.oracles import Oracles
from loadtest.record import Request, Writer
from loadtest.shapes import SHAPES, Shaped

__all__ = ["Browser", "Passer", "Revalidator", "Searcher", "Shaped"]

LATE = 5.0
"""Seconds after which nobody waits any more."""


class Run:
    """What the users of one process share while a test runs."""

    def __init__(self, host: str, epoch: float, record: str) -> None:
        self.epoch, self.order = epoch, Order()
        self.writer = Writer(Path(f"{record}-{os.getpid()}.csv")) if record else None
        self.oracles = Oracles(host, self.note)
        self.names = Names(self.oracles.first().names)

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.epoch

    def note(self, request: Request) -> None:
        """A request has ended, and its bytes have been looked at."""
        self.order.note(request)
        if self.writer:
            self.writer.write(request)


RUN: Run


@events.init_command_line_parser.add_listener
def options(parser) -> None:  # noqa: ANN001 - Locust's
    """What can be said beside Locust's own options."""
    parser.add_argument(
        "--shape", choices=list(SHAPES), default="steady", help="How many of the users there are, and when"
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
    RUN.oracles.give_up()
    if RUN.writer:
        RUN.writer.close()


class Searcher(FastHttpUser):
    """Searches, and keeps its connection as long as the service does."""

    weight = 6
    kind, headers, slower = "search, kept alive", {}, 1.0
    network_timeout = connection_timeout = LATE

    def on_start(self) -> None:
        """Begin at a moment of its own."""
        self.client.client.clientpool = OneTry(network_timeout=LATE, connection_timeout=LATE)
        self.interval = self.slower / self.environment.parsed_options.rate
        gevent.sleep(random() * self.interval)
        self.due = self.free = RUN.now()

    def wait_time(self) -> float:
        """Until the next one is due: who was kept waiting does not skip what he missed."""
        self.due += self.interval
        return max(0.0, self.due - RUN.now())

    @task
    def search(self) -> None:
        """Look for a name, and look at what is found."""
        self.ask(RUN.names.one(), self.headers)

    def ask(self, name: str, headers: dict[str, str]) -> dict[str, str]:
        """Search for *name*, note what came of it, and give the answer's headers."""
        sent = RUN.now()
        with self.client.get(
            f"/{quote(name, safe='')}", name=self.kind, headers=headers, catch_response=True, allow_redirects=False
        ) as response:
            request = self._seen(response, sent)
            response.request_meta["response_time"] = request.latency * 1000
            if request.fault:
                response.failure(f"{request.fault} {request.detail}".strip())
            else:
                response.success()
            if request.fault or request.status == 304:
                RUN.note(request)
            else:
                RUN.oracles.check(request, name, response.content)
            return dict(response.headers or {})

    def _seen(self, response, sent: float) -> Request:  # noqa: ANN001 - Locust's
        """What can be said before the bytes are looked at."""
        headers = response.headers or {}
        done = RUN.now()
        fault, detail = _transport_fault(response)
        request = Request(
            self.kind,
            "Connection" not in self.headers,
            min(self.due, sent),
            sent,
            done,
            max(0.0, sent - max(self.due, self.free)),
            response.status_code or 0,
            headers.get("X-Served-By", ""),
            headers.get("Catalogue-Version", ""),
            int(headers.get("Age", -1)),
            fault,
            detail,
        )
        self.free = done
        return request if fault else RUN.order.judged(request)


def _transport_fault(response) -> tuple[str, str]:  # noqa: ANN001 - Locust's
    """What went wrong on the way, or with the status."""
    error = response.request_meta["exception"]
    if response.status_code in (200, 304) and error is None:
        return "", ""
    if response.status_code and response.status_code != 200:
        return f"status {response.status_code}", ""
    return fault_of(error) if error else ("closed unanswered", "")


class Passer(Searcher):
    """Comes with a connection of its own for each search."""

    weight = 3
    kind, headers = "search, new connection", {"Connection": "close"}


class Revalidator(Searcher):
    """Asks again for what it has."""

    weight = 2
    kind = "search, held already"

    def on_start(self) -> None:
        """It holds nothing yet."""
        super().on_start()
        self.name, self.tag = RUN.names.one(), ""

    @task
    def search(self) -> None:
        """Ask with the tag of the last answer."""
        headers = self.ask(self.name, {"If-None-Match": self.tag} if self.tag else {})
        self.tag = headers.get("ETag") or headers.get("etag") or self.tag


class Browser(Searcher):
    """Asks for half of the catalogue at once, compressed."""

    weight = 1
    kind, headers, slower = "a letter, compressed", {"Accept-Encoding": "gzip"}, 5.0

    @task
    def search(self) -> None:
        """Search for one letter."""
        self.ask("aeiou"[int(random() * 5)], self.headers)
