"""`python -m loadtest demo`: what its page shows while replicas are broken, its verdict, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from loadtest.demo import LiveFailure, LiveFault, LivePage, LiveReplica, LiveView
from loadtest.scenarios.demo import STORY
from loadtest.system import free_port
from playwright.sync_api import sync_playwright

from conftest import ROOT
from processes import HANG, left_running, need, wait_until

pytestmark = pytest.mark.real


class Demo:
    """The command, and what its page has shown."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        options = ["--no-browser", "--users", "12", "--seconds", str(seconds), "--output", str(folder)]
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "loadtest", "demo", *options, "--port", self.url.rpartition(":")[2]],
            env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.views: list[LiveView] = []

    def shows(self, phase: str) -> bool:
        """Whether the page is in this phase now; what it shows is kept."""
        try:
            answer = httpx.get(f"{self.url}/live.json", timeout=HANG)
            self.views.append(msgspec.json.decode(answer.content, type=LiveView))
        except httpx.TransportError:
            assert self.popen.poll() is None, self.popen.communicate()[0]
        return bool(self.views) and self.views[-1].phase == phase


@contextmanager
def demo_of(seconds: int, folder: Path) -> Iterator[Demo]:
    """A demo that is ended with all that it started, whatever a test found."""
    demo = Demo(folder, seconds)
    try:
        yield demo
    finally:
        demo.popen.terminate()
        demo.popen.communicate(timeout=HANG)


def test_the_page_shows_each_fault_as_it_happens_and_then_the_report(tmp_path):
    need("redis-server")
    with demo_of(10, tmp_path) as demo:
        wait_until(lambda: demo.shows("over"), "the demo is not over")
        report = httpx.get(f"{demo.url}/report.html", timeout=HANG).text
        printed = demo.popen.communicate(timeout=HANG)[0]
    verdict = msgspec.json.decode((tmp_path / "demo-processes/verdict.json").read_bytes())

    last = demo.views[-1]
    assert [fault.what for fault in last.faults] == [each["what"] for each in verdict["faults"]]
    assert [fault.expected for fault in last.faults] == [step.expected for step in STORY[: len(last.faults)]]
    seen_while_active = {fault.what for view in demo.views for fault in view.faults if fault.ended is None}
    assert {"Redis is stopped", "the upstream's mode is invalid"} <= seen_while_active
    assert {replica.name for replica in last.replicas} >= {f"replica-{number}" for number in range(1, 5)}
    assert any(sum(replica.share > 0 for replica in view.replicas) == 4 for view in demo.views)
    assert 0 < sum(sum(replica.counts) for replica in last.replicas) <= verdict["requests"] == last.requests

    assert last.summary == verdict["summary"]
    assert verdict["summary"] in printed
    assert report == (tmp_path / "demo-processes/report.html").read_text()
    assert demo.popen.returncode == (0 if verdict["passed"] else 1)
    assert left_running(tmp_path) == []


def test_an_interrupt_ends_every_process_and_leaves_a_report(tmp_path):
    need("redis-server")
    with demo_of(60, tmp_path) as demo:
        wait_until(lambda: demo.shows("running"), "the demo does not run")
        assert len(left_running(tmp_path)) >= 8  # itself, Redis, upstream, four replicas, Locust
        demo.popen.send_signal(signal.SIGINT)
        printed = demo.popen.communicate(timeout=HANG)[0]
    assert demo.popen.returncode == 130, printed
    assert printed.endswith("loadtest: interrupted; every fault is undone\n")
    assert (tmp_path / "demo-processes/report.html").exists()
    assert left_running(tmp_path) == []


def test_a_narrow_page_shows_what_it_is_told_as_text():
    chromium = need("chromium")
    hostile = "<img src=x onerror='document.title=1'>" * 3
    view = LiveView(
        phase="running",
        now=3.0,
        seconds=60.0,
        requests=3,
        failed=1,
        replicas=[LiveReplica(hostile, "#30638e", [1, 0, 1], 1.0)],
        failures=[LiveFailure(hostile, 1, hostile)],
        failed_in=[0, 1, 0],
        faults=[LiveFault(hostile, hostile, 1.0)],
    )
    with LivePage(free_port(), 60.0).running() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.route("**/live.json", lambda route: route.fulfill(body=msgspec.json.encode(view)))
        page.goto(server.url)
        page.wait_for_selector("#failures li", timeout=HANG * 1000)
        assert page.locator("main img").count() == 0
        assert hostile in page.inner_text("#failures")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert wrong == []
        browser.close()
