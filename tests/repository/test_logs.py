"""A log that cannot be written stops nothing: its lines are lost and counted, and it recovers."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from loadtest.system import free_port

from apidex import logs
from fakes import file_of
from processes import HANG, wait_until

LINE = "a line of the log"


@pytest.fixture
def pipe():
    """A pipe, and a sink that writes to it."""
    reader, writer = os.pipe()
    sink = logs.LineSink()
    with os.fdopen(writer, "w") as stream:
        sink.open(stream)
    return reader, sink


def test_a_stalled_reader_blocks_nothing_and_gets_what_waited(pipe):
    reader, sink = pipe
    began = time.monotonic()
    for _ in range(5000):
        sink.write("x" * 1000)
    assert time.monotonic() - began < HANG / 4
    assert 5000 - sink.CAPACITY - 200 <= sink.lost < 5000, "a pipe holds 64 KiB, the queue CAPACITY lines"
    text = b""
    while text.count(b"\n") < 5000 - sink.lost:
        text += os.read(reader, 65_536)
    assert {*text.splitlines()} == {b"x" * 1000}


def test_a_reader_that_returns_gets_the_next_line(tmp_path):
    fifo, sink = tmp_path / "log", logs.LineSink()
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as stream:
        sink.open(stream)
    os.close(first)
    sink.write(LINE)
    sink.flush()
    assert sink.lost == 1
    second = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink.write(LINE)
    sink.flush()
    assert (os.read(second, 100), sink.lost) == (f"{LINE}\n".encode(), 1)


def test_the_log_recovers_after_its_thread_could_not_be_started(tmp_path, monkeypatch):
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    sink = logs.LineSink()
    with (tmp_path / "log").open("w") as stream:
        sink.open(stream)
    with monkeypatch.context() as patch:
        patch.setattr(logs, "Thread", NoThread)
        sink.write("lost")
    sink.write(LINE)
    sink.flush()
    assert ((tmp_path / "log").read_text(), sink.lost) == (f"{LINE}\n", 1)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "missing"])
def test_a_stream_that_is_missing_or_closed_loses_lines(tmp_path, closed):
    stream = None
    if closed:
        stream = (tmp_path / "log").open("w")
        stream.close()
    assert not logs.is_text("auto", stream) or stream is None
    sink = logs.LineSink()
    sink.open(stream)
    sink.write(LINE)
    sink.flush()
    assert sink.lost == 1


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@contextmanager
def configured(file: Path, monkeypatch) -> Iterator[None]:
    """Log to *file*, which is written at the end."""
    monkeypatch.setattr(logs, "sink", logs.LineSink())
    with file.open("w") as stream:
        logs.configure("json", "info", "replica-1", stream)
        yield
        logs.sink.flush()


def test_an_event_that_cannot_be_rendered_is_a_lost_line(tmp_path, monkeypatch):
    with configured(tmp_path / "log", monkeypatch):
        logs.get_logger().info("serve.ending", fact=Unprintable())
        logs.get_logger().info("serve.ending", fact="\udcff")
    assert logs.sink.lost == 1
    assert '"serve.ending"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "level", "lost"),
    [
        (("%d items", "x"), logging.WARNING, 1),
        (("%s", Unprintable()), logging.WARNING, 1),
        (("a line",), 35, 0),
        (("a line",), 99, 0),
    ],
)
def test_a_library_may_log_whatever_it_likes(tmp_path, monkeypatch, arguments, level, lost):
    with configured(tmp_path / "log", monkeypatch):
        logging.getLogger("library").log(level, *arguments)
    assert logs.sink.lost == lost
    assert ('"detail": "a line"' in (tmp_path / "log").read_text()) == (not lost)


REDIRECTIONS = {
    "no space": ">/dev/full",
    "standard output closed": ">&-",
    "all standard streams closed": "<&- >&- 2>&-",
    "no reader": "",
}


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_serve_starts_refreshes_and_ends_without_a_log(tmp_path, redirection, log_format):
    port = free_port()
    url, options = f"http://127.0.0.1:{port}", f"--log-format {log_format} --poll-seconds 0.05 --refresh-seconds 1"
    environ = {"APIDEX_UPSTREAM": file_of(tmp_path, "Cat"), "APIDEX_PORT": str(port), "APIDEX_DRAIN_SECONDS": "0"}
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", f'exec "{sys.executable}" -m apidex serve {options} {redirection}'],
        env=os.environ | environ,
        stdout=writer,
    )
    os.close(writer)
    os.close(reader)

    def refreshes() -> int:
        try:
            return httpx.get(f"{url}/v1/catalogue").json()["upstream"]["refreshes"].get("not_modified", 0)
        except httpx.HTTPError:
            return 0

    with process:
        try:
            wait_until(lambda: refreshes() > 1, "the replica goes on refreshing")
            if "&-" not in redirection:  # a closed stream is the null device
                wait_until(lambda: "lines_lost_total 0.0" not in httpx.get(f"{url}/-/metrics").text, "a lost line")
            assert httpx.get(f"{url}/Cat").json()
            process.terminate()
            assert process.wait(HANG) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "status"), [("search Cat --json", 0), ("search Cat", 0), ("search", 2), ("catalogue", 0)]
)
def test_a_command_without_standard_streams_has_the_same_status_and_no_traceback(tmp_path, arguments, status):
    environ = os.environ | {"APIDEX_UPSTREAM": file_of(tmp_path, "Cat")}
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        command = f'exec "{sys.executable}" -m apidex {arguments} {closed}'
        done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, timeout=HANG)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
