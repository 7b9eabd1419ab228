"""An upstream that misbehaves as told, and logs what it gave. It runs beside the replicas, wherever these run.

    python upstream.py serve [--port 8080] [--every 10]
    python upstream.py begin MODE       disconnect, slow, invalid, shrinking or flapping
    python upstream.py end MODE         what was begun before it goes on
    python upstream.py log              what was given, as JSON

It gives the starter catalogue several times over, under other names, and changes one entry every so often. `invalid` gives bodies
that no replica may accept: an empty list, half of it, truncated JSON, a page of HTML, another service's JSON. `shrinking` gives
ever fewer entries, a third at most, and `flapping` answers for a second and closes connections unanswered for the next one.
"""

import argparse
import itertools
import json
import signal
import sys
import time
import urllib.request
from contextlib import suppress
from email.message import Message
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from apidex.catalogue.formats import parse

MODES = ("disconnect", "slow", "invalid", "shrinking", "flapping")

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
        self.begun: list[str] = []
        self.given: list[tuple[float, str]] = []
        self._every, self._began, self._invalid_sent = every, time.monotonic(), itertools.count()

    @property
    def mode(self) -> str:
        """The mode that was begun last, of those that have not ended."""
        mode = self.begun[-1] if self.begun else "good"
        if mode == "flapping":
            return "good" if int(time.monotonic()) % 2 else "disconnect"
        return mode

    def number(self) -> int:
        """The edition of this moment."""
        return int((time.monotonic() - self._began) / self._every)

    def next_invalid(self) -> bytes:
        """The next invalid body in turn."""
        kinds = invalid_bodies(self.number())
        return kinds[next(self._invalid_sent) % len(kinds)]

    def next_shrunk(self) -> bytes:
        """A third of the entries, and each time fewer of them."""
        whole = catalogue(self.number())
        return body(whole[: max(1, len(whole) // (3 + next(self._invalid_sent)))])

    def gave(self, digest: str) -> None:
        """Log a whole answer, or a 304, for the catalogue of *digest*; it counts from when it was asked for."""
        self.given.append((time.monotonic(), digest))

    def log(self) -> bytes:
        """How many seconds ago it gave which catalogue, as JSON."""
        now = time.monotonic()
        given = [[round(now - moment, 3), digest] for moment, digest in self.given]
        return json.dumps({"mode": self.mode, "given": given}).encode()


class UpstreamHandler(BaseHTTPRequestHandler):
    """How replicas are answered, and, under /log and /mode, whoever controls the run."""

    headers: Message

    def __init__(self, upstream: ScriptedUpstream, *arguments: Any) -> None:  # noqa: ANN401 - the server's
        self.upstream = upstream
        super().__init__(*arguments)

    def do_POST(self) -> None:
        verb, mode = self.path.split("/")[1:]
        with suppress(ValueError):  # it has ended before
            (self.upstream.begun.append if verb == "begin" else self.upstream.begun.remove)(mode)
        self._send(self.upstream.log())

    def do_GET(self) -> None:
        mode = self.upstream.mode
        if self.path == "/log":
            self._send(self.upstream.log())
        elif mode == "disconnect":
            self.close_connection = True
        elif mode == "invalid":
            self._send(self.upstream.next_invalid())
        elif mode == "shrinking":
            self._send(self.upstream.next_shrunk())
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
            self._send(encoded, f'"{digest}"')

    def _send_slowly(self, encoded: bytes) -> None:
        self._send(b"", length=len(encoded))
        for place in range(len(encoded)):
            if self.upstream.mode != "slow":
                return
            self.wfile.write(encoded[place : place + 1])
            time.sleep(_BYTE_EVERY)

    def _send(self, encoded: bytes, tag: str = "", length: int = 0) -> None:
        """Send a 200, with *encoded* as its body or as the beginning of one of *length*."""
        self.send_response(200)
        self.send_header("content-length", str(length or len(encoded)))
        if tag:
            self.send_header("etag", tag)
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def serve(host: str, port: int, every: float) -> None:
    """Until it is ended."""
    edition(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
    with suppress(KeyboardInterrupt):
        ThreadingHTTPServer((host, port), partial(UpstreamHandler, ScriptedUpstream(every))).serve_forever()


def ask(method: str, url: str) -> str:
    """The log of the one that runs here; a POST sets its mode."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:  # noqa: S310
        return str(answer.read().decode())


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="upstream.py", description="An upstream that misbehaves as told.")
    parser.add_argument("command", choices=("serve", "begin", "end", "log"))
    parser.add_argument("mode", nargs="?", choices=MODES, default=MODES[0])
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a pod's or a container's
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--every", type=float, default=10.0)
    given = parser.parse_args(arguments)
    here = f"http://127.0.0.1:{given.port}"
    if given.command == "serve":
        serve(given.host, given.port, given.every)
    else:
        print(
            ask("GET", f"{here}/log") if given.command == "log" else ask("POST", f"{here}/{given.command}/{given.mode}")
        )


if __name__ == "__main__":
    main(sys.argv[1:])
