"""What the page of `python -m loadtest demo` shows: faults, shares and failures as they happen, and then the report."""

import threading
import time
import webbrowser
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import msgspec

from loadtest.charts import COLOURS
from loadtest.nemesis import ScenarioRun
from loadtest.observer import Progress
from loadtest.record import RequestRecord
from loadtest.report import STYLE
from loadtest.scenarios.demo import STORY
from loadtest.scenarios.scenario import Scenario
from loadtest.system import UnsupportedError
from loadtest.verdict import Verdict

NEEDS = (
    "Needed: redis-server, port {port} of this machine for a page, 500 MB of memory, and {seconds:.0f} s after a start of some "
    "seconds. Everything listens on 127.0.0.1 only, and ends with this command."
)

_PAGE = Path(__file__).with_suffix(".html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
_RECENT = 3
"""Seconds: shares, rates and latency are those of the last ones."""

_WATCHED, _PATIENCE = 2.0, 10.0
"""Seconds: a page is open if it sent a request so recently, and the command waits so long until open pages have the report."""


class LiveReplica(msgspec.Struct, frozen=True):
    """A replica that has answered: *counts* has the answers of each second, *share* is that of the last seconds."""

    name: str
    colour: str
    counts: list[int]
    share: float


class LiveFault(msgspec.Struct, frozen=True):
    """A fault, when it began and ended, and what is to be seen in it."""

    what: str
    expected: str
    began: float
    ended: float | None = None


class LiveFailure(msgspec.Struct, frozen=True):
    """How many requests failed in one way, and the detail of the last."""

    failure: str
    count: int
    detail: str


class LiveView(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page shows. *now* is in seconds since the run began, *p99* in milliseconds; *failed_in* counts by second."""

    phase: Literal["starting", "running", "judging", "over"] = "starting"
    now: float = 0.0
    seconds: float
    requests: int = 0
    failed: int = 0
    rate: float = 0.0
    p99: float = 0.0
    replicas: list[LiveReplica] = []
    failures: list[LiveFailure] = []
    failed_in: list[int] = []
    faults: list[LiveFault] = []
    summary: str = ""


class Tally:
    """Counts of the requests so far, by second, replica and failure."""

    def __init__(self) -> None:
        self.requests = 0
        self._answers: dict[str, Counter[int]] = defaultdict(Counter)
        self._failures: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._failed_in: Counter[int] = Counter()
        self._recent: deque[RequestRecord] = deque()

    def add(self, requests: Iterable[RequestRecord]) -> None:
        """Count more *requests*."""
        for request in requests:
            self.requests += 1
            self._recent.append(request)
            if request.failure:
                self._failures[request.failure] += 1
                self._details[request.failure] = request.detail
                self._failed_in[int(request.done)] += 1
            elif request.replica:
                self._answers[request.replica][int(request.done)] += 1

    def view(self, now: float, empty: LiveView) -> LiveView:
        """*empty* with the counts until *now*; a second that is not over is not shown."""
        seconds = range(int(now))
        while self._recent and self._recent[0].done < now - _RECENT:
            self._recent.popleft()
        latencies = sorted(request.latency for request in self._recent)
        answered = sum(not request.failure for request in self._recent) or 1
        recent = Counter(request.replica for request in self._recent if not request.failure)
        return msgspec.structs.replace(
            empty,
            now=round(now, 1),
            requests=self.requests,
            failed=self._failures.total(),
            rate=round(len(latencies) / _RECENT, 1),
            p99=round(latencies[int(0.99 * len(latencies))] * 1000, 1) if latencies else 0.0,
            replicas=[
                LiveReplica(
                    name, COLOURS[place % len(COLOURS)], [counts[each] for each in seconds], recent[name] / answered
                )
                for place, (name, counts) in enumerate(self._answers.items())
            ],
            failures=[
                LiveFailure(failure, count, self._details[failure]) for failure, count in self._failures.most_common()
            ],
            failed_in=[self._failed_in[each] for each in seconds],
        )


def faults_of(run: ScenarioRun) -> list[LiveFault]:
    """The faults so far, those that are over first, each with what its step of the story expects."""
    over = [(record.began, record.ended, record.fault) for record in run.faults]
    shown = [*over, *((began, None, fault) for began, fault in run.active)]
    return [
        LiveFault(str(fault), step.expected, began, ended)
        for (began, ended, fault), step in zip(shown, STORY, strict=False)
    ]


class LivePage:
    """A page on *port* of this machine, which shows a run of the scenario that `watched` gives, as long as it asks."""

    def __init__(self, port: int, seconds: float) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._port, self._lock = port, threading.Lock()
        self._view, self._tally = LiveView(seconds=seconds), Tally()
        self._run: ScenarioRun | None = None
        self._progress: Progress | None = None
        self._report, self._asked = b"", 0.0

    @contextmanager
    def running(self) -> Iterator["LivePage"]:
        """Answer while the block runs. Raises UnsupportedError where the port is in use."""
        try:
            server = ThreadingHTTPServer(("127.0.0.1", self._port), partial(_Handler, self))
        except OSError as error:
            raise UnsupportedError(
                f"port {self._port} cannot be used ({error.strerror}); --port names another"
            ) from None
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def watched(self, scenario: Scenario, folder: Path) -> Scenario:
        """*scenario*, whose run this page shows; the rows of its users come into *folder*."""

        def script(run: ScenarioRun) -> None:
            self._run, self._progress = run, Progress(folder, 0.0, print)
            self._is("running")
            try:
                scenario.script(run)
            finally:
                self._is("judging")

        return replace(scenario, script=script)

    def conclude(self, verdict: Verdict, report: Path) -> None:
        """Show the *report*, which takes the place of the page, and wait until each page that is open has it."""
        self._report = report.read_bytes()
        self._is("over", summary=verdict.summary, requests=verdict.requests, failed=verdict.failed)
        until = time.monotonic() + _PATIENCE
        while self._asked + _WATCHED > time.monotonic() < until:
            time.sleep(0.05)

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """The type and the bytes of the answer for *path*; None where there is nothing."""
        self._asked = time.monotonic()
        if path == "/":
            return "text/html; charset=utf-8", _PAGE.read_text().replace("/* style */", STYLE).encode()
        if path == "/live.json":
            return "application/json", msgspec.json.encode(self._look())
        if path == "/report.html" and self._report:
            return "text/html; charset=utf-8", self._report
        return None

    def _is(self, phase: Literal["running", "judging", "over"], **facts: Any) -> None:  # noqa: ANN401
        with self._lock:
            self._view = msgspec.structs.replace(self._view, phase=phase, **facts)

    def _look(self) -> LiveView:
        with self._lock:
            if self._run and self._progress and self._view.phase != "over":
                with suppress(FileNotFoundError):  # the rows are deleted once there is a verdict
                    self._progress.look()
                self._tally.add(self._progress.requests[self._tally.requests :])
                view = self._tally.view(self._run.now(), self._view)
                self._view = msgspec.structs.replace(view, faults=faults_of(self._run))
            return self._view


class _Handler(BaseHTTPRequestHandler):
    """Answers a browser."""

    def __init__(self, page: LivePage, *arguments: Any) -> None:  # noqa: ANN401 - the server's
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """The page, its data, or the report."""
        answer = self._page.answer(self.path)
        kind, body = answer or ("text/plain", b"There is no such page here.\n")
        self.send_response(200 if answer else 404)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": _POLICY,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def show(url: str) -> None:
    """Open *url* in a browser with windows; one in this terminal would cover what is printed."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)
