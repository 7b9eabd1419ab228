"""A real HTTP upstream that counts requests and can hold back the end of a body."""

import base64
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fakes import publicapis


class UpstreamServer:
    """Serves a catalogue with entity tags. Replicas say who they are by the user in the URL that they are given."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str, int]] = []
        """Requests so far: when, by whom, and the status of the response."""
        self.before_the_last_byte: Callable[[str], object] = lambda who: None
        self.has("first")
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def has(self, *names: str) -> None:
        """Serve a catalogue with *names*, and two hundred more."""
        self.serves(publicapis(*names, *(f"Cat {number}" for number in range(200))))

    def serves(self, body: bytes) -> None:
        self._body, self._tag = body, f'"{hashlib.md5(body).hexdigest()}"'

    def url(self, who: str = "") -> str:
        return f"http://{who}{'@' * bool(who)}127.0.0.1:{self._server.server_port}/entries"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        word = handler.headers.get("authorization", "").partition(" ")[2]
        who = base64.b64decode(word).decode().rstrip(":")
        body, tag = self._body, self._tag
        status = 304 if handler.headers.get("if-none-match") == tag else 200
        self.asked.append((time.monotonic(), who, status))
        handler.send_response(status)
        handler.send_header("etag", tag)
        handler.send_header("content-length", str(len(body) if status == 200 else 0))
        handler.end_headers()
        with contextlib.suppress(OSError):  # the client is gone
            if status == 200:
                handler.wfile.write(body[:-1])
                handler.wfile.flush()
                self.before_the_last_byte(who)
                handler.wfile.write(body[-1:])


@contextlib.contextmanager
def upstream_server() -> Iterator[UpstreamServer]:
    """An UpstreamServer that is closed at the end."""
    with contextlib.closing(UpstreamServer()) as server:
        yield server


@contextlib.contextmanager
def raw_server(parts: Callable[[], Iterable[bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a server that sends *parts* to each connection as long as its client takes them, and what it was asked."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    asked.append(connection.recv(2**16))
                    for part in parts():
                        connection.sendall(part)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", asked
        listener.shutdown(socket.SHUT_RDWR)  # closing alone does not end the wait of another thread


def endless_head() -> Iterator[bytes]:
    """The parts of an answer whose next header arrives soon, again and again: no wait for one part of it is long."""
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        time.sleep(0.05)
        yield b"x: y\r\n"


@contextlib.contextmanager
def http_server(body: bytes) -> Iterator[str]:
    """The URL of a web server that serves *body*."""
    with upstream_server() as server:
        server.serves(body)
        yield server.url()
