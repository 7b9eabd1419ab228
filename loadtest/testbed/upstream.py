"""An upstream that misbehaves as told, and logs what it gave. It runs beside the replicas, wherever these run.

    python upstream.py serve [--port 8080] [--control 8081] [--every 10]
    python upstream.py tell MODE        good, disconnect, slow or invalid
    python upstream.py log           what was given, as JSON

It gives the starter catalogue several times over, under other names, and changes one entry every so often. `invalid` gives bodies
that no replica may accept: an empty list, half of it, truncated JSON, a page of HTML, another service's JSON.
"""

import argparse
import itertools
import json
import sys
import threading
import time
import urllib.request
from email.message import Message
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from apidex.catalogue.formats import parse

MODES = ("good", "disconnect", "slow", "invalid")

_COPIES = 5
_BYTE_EVERY = 1.0


def catalogue(number: int) -> list[dict[str, object]]:
    """The entries of the *number*-th edition: one description differs from the edition before."""
    starter = json.loads(files("apidex.catalogue").joinpath("starter.json").read_bytes())["entries"]
    entries = [entry | {"API": f"{entry['API']} / {copy}"} for copy in range(1, _COPIES + 1) for entry in starter]
    entries[number % len(entries)]["Description"] = f"This is edition {number}."
    return entries


def body(entries: list[dict[str, object]]) -> bytes:
    """As the old service gave it."""
    return json.dumps({"count": len(entries), "entries": entries}).encode()


@cache
def edition(number: int) -> tuple[bytes, str]:
    """The bytes of an edition, and the digest of the catalogue that they stand for."""
    encoded = body(catalogue(number))
    return encoded, parse(encoded).catalogue.digest


def invalid_bodies(number: int) -> list[bytes]:
    """What no replica may accept in place of the *number*-th edition."""
    whole = catalogue(number)
    return [
        body([]),
        body(whole[: len(whole) // 3]),
        edition(number)[0][:-1000],
        b"<!doctype html><title>We have moved</title>",
        json.dumps({"entries": "soon"}).encode(),
        b"\xff\xfe\x00garbage",
    ]


class ScriptedUpstream:
    """What it is told to do, and what it has done."""

    def __init__(self, every: float) -> None:
        self.mode = "good"
        self.given: list[tuple[float, str]] = []
        self._every, self._began, self._invalid_sent = every, time.monotonic(), itertools.count()

    def number(self) -> int:
        """The edition of this moment."""
        return int((time.monotonic() - self._began) / self._every)

    def next_invalid(self) -> bytes:
        """The next invalid body in turn."""
        kinds = invalid_bodies(self.number())
        return kinds[next(self._invalid_sent) % len(kinds)]

    def gave(self, digest: str) -> None:
        """Log a whole answer, or a 304, for the catalogue of *digest*; it counts from when it was asked for."""
        self.given.append((time.monotonic(), digest))

    def log(self) -> bytes:
        """How many seconds ago it gave which catalogue, as JSON."""
        now = time.monotonic()
        given = [[round(now - moment, 3), digest] for moment, digest in self.given]
        return json.dumps({"mode": self.mode, "given": given}).encode()


class Handler(BaseHTTPRequestHandler):
    """What both of its ports have."""

    headers: Message

    def __init__(self, upstream: ScriptedUpstream, *arguments: Any) -> None:  # noqa: ANN401 - the server's
        self.upstream = upstream
        super().__init__(*arguments)

    def begin(self, length: int, tag: str = "") -> None:
        """Send the head of a 200."""
        self.send_response(200)
        self.send_header("content-length", str(length))
        if tag:
            self.send_header("etag", tag)
        self.end_headers()

    def send(self, encoded: bytes, tag: str = "") -> None:
        """Send a 200."""
        self.begin(len(encoded), tag)
        self.wfile.write(encoded)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class CatalogueHandler(Handler):
    """How replicas are answered."""

    def do_GET(self) -> None:
        mode = self.upstream.mode
        if mode == "disconnect":
            self.close_connection = True
        elif mode == "invalid":
            self.send(self.upstream.next_invalid())
        elif mode == "slow":
            self._send_slowly(edition(self.upstream.number())[0])
        else:
            self._send_catalogue(*edition(self.upstream.number()))

    def _send_catalogue(self, encoded: bytes, digest: str) -> None:
        self.upstream.gave(digest)
        if self.headers.get("if-none-match") == f'"{digest}"':
            self.send_response(304)
            self.end_headers()
        else:
            self.send(encoded, f'"{digest}"')

    def _send_slowly(self, encoded: bytes) -> None:
        self.begin(len(encoded))
        for place in range(len(encoded)):
            if self.upstream.mode != "slow":
                return
            self.wfile.write(encoded[place : place + 1])
            time.sleep(_BYTE_EVERY)


class ControlHandler(Handler):
    """How a run controls it: from inside of its container only."""

    def do_POST(self) -> None:
        self.upstream.mode = self.path.strip("/")
        self.do_GET()

    def do_GET(self) -> None:
        self.send(self.upstream.log())


def serve(host: str, port: int, control_port: int, every: float) -> None:
    """Until it is ended."""
    upstream = ScriptedUpstream(every)
    edition(0)
    control = ThreadingHTTPServer(("127.0.0.1", control_port), partial(ControlHandler, upstream))
    threading.Thread(target=control.serve_forever, daemon=True).start()
    ThreadingHTTPServer((host, port), partial(CatalogueHandler, upstream)).serve_forever()


def ask(control_port: int, mode: str = "") -> str:
    """Set the mode of the one that runs here, if *mode* is given; its log."""
    request = urllib.request.Request(f"http://127.0.0.1:{control_port}/{mode}", method="POST" if mode else "GET")
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(answer.read().decode())


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="upstream.py", description="An upstream that misbehaves as told.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving, telling, reading = (commands.add_parser(name) for name in ("serve", "tell", "log"))
    for each in (serving, telling, reading):
        each.add_argument("--control", type=int, default=8081)
    serving.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a pod's or a container's
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument("--every", type=float, default=10.0)
    telling.add_argument("mode", choices=MODES)
    given = parser.parse_args(arguments)
    if given.command == "serve":
        serve(given.host, given.port, given.control, given.every)
    else:
        print(ask(given.control, getattr(given, "mode", "")))


if __name__ == "__main__":
    main(sys.argv[1:])
