"""Real `apidex serve` processes, each on a port of its own."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import msgspec


class Process:
    """A replica that has said where it listens; its log is read as it comes."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("APIDEX_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "apidex", "serve", "--port", "0", "--log-format", "json", *arguments],
            env=clean | {"APIDEX_DRAIN_SECONDS": "0"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._started.wait(120) or not self.events("serve.started"):
            self.popen.kill()
            raise AssertionError("the replica did not start:\n" + "".join(self.lines))
        self.url: str = self.events("serve.started")[0]["address"]
        self.port = int(re.findall(r":(\d+)$", self.url)[0])

    def _read(self) -> None:
        for line in self.popen.stdout:
            self.lines.append(line)
            if '"serve.started"' in line:
                self._started.set()
        self._started.set()

    def events(self, name: str) -> list[dict]:
        return [event for line in list(self.lines) if (event := msgspec.json.decode(line))["event"] == name]

    def catalogue(self) -> dict:
        """What /v1/catalogue says."""
        return httpx.get(f"{self.url}/v1/catalogue", timeout=5).json()

    def until(self, holds: Callable[[dict], bool], seconds: float = 10) -> None:
        """Wait until what /v1/catalogue says is so."""
        deadline = time.monotonic() + seconds
        while not holds(catalogue := self.catalogue()):
            assert time.monotonic() < deadline, f"not within {seconds} s; now it is {catalogue}"
            time.sleep(0.02)

    def has_another_catalogue_after(self, change: Callable[[], None]) -> None:
        """Make a *change* upstream, and wait until it is seen."""
        before = self.catalogue()["digest"]
        change()
        self.until(lambda catalogue: catalogue["digest"] != before)

    def is_killed(self) -> None:
        """As `kill -9`."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)
        self._reader.join(5)
        self.popen.stdout.close()

    def ends(self) -> int:
        """Ask it to end, and give its exit status."""
        self.popen.terminate()
        status = self.popen.wait(40)
        self._reader.join(5)
        return status


@contextmanager
def replica(*arguments: str, **environ: str) -> Iterator[Process]:
    process = Process(*arguments, **environ)
    try:
        yield process
    finally:
        process.is_killed()


@contextmanager
def http_server(body: bytes) -> Iterator[str]:
    """An ordinary web server that has one thing to give; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/README.md"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
