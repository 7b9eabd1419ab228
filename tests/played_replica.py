"""Replicas that a test plays: servers that answer probes, and do with other requests what they are told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class PlayedReplica:
    """Answers probes, as one that is ready or is not, and does with requests what it is told to."""

    def __init__(self, behaviour: Behaviour, port: int = 0, *, ready: bool = True) -> None:
        self.heads: list[str] = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/-/readyz":
                    respond(200 if ready else 503)(self)
                else:
                    self.rfile.read(int(self.headers["content-length"] or 0))
                    played.heads.append(f"{self.requestline}\n{self.headers}".lower())
                    behaviour(self)

            do_HEAD = do_POST = do_GET  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def respond(status: int) -> Behaviour:
    def behaviour(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(b"[]")

    return behaviour


@contextmanager
def played(*behaviours: Behaviour, ready: bool = True) -> Iterator[list[PlayedReplica]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(PlayedReplica(behaviour, ready=ready))) for behaviour in behaviours]
