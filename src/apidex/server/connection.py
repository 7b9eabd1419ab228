"""One client's connection: bytes in, requests one after the other, responses in the same order.

llhttp parses heads (httptools); `framing` checks what it does not. The parser is given one request at a time. What comes
behind it is held unparsed, and nothing more is read, until the response is complete and the client takes what was written.
So a connection holds at most one response, one head and one read of further input. `timers` says when it ends.

A plain search and a probe are answered while the head is parsed (decision 5); everything else is an ASGI exchange.
"""

import asyncio
import fcntl
import re
import struct
import termios
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.server import ServerState

from apidex.http.asgi import Headers, Scope, SyncResponse
from apidex.http.headers import header_value
from apidex.http.paths import is_single_segment
from apidex.http.problem_details import FAULT, Problem
from apidex.logs import get_logger
from apidex.server.config import ServerConfig
from apidex.server.exchange import STATUS_LINES, Exchange
from apidex.server.framing import HOST_LIMIT, check_head, is_host, target_of
from apidex.server.overload import OPERATIONS
from apidex.server.timers import ConnectionState, SendWindow

log = get_logger()

HEAD_LIMIT = 64 * 2**10
"""The longest head of a request, in bytes."""

BURST = 8
"""Pipelined requests that are answered in one go. One pipeline goes on in each turn of the event loop."""

_HEAD_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"[\r\n]*")
_HEADER_OVERHEAD = 160
"""Bytes that CPython holds for each header beside its text: a tuple and two bytes objects."""

_COPY_BELOW = 16 * 2**10
"""Bodies of fewer bytes are copied behind their head: one write is cheaper than two."""

_FIRST_REQUEST_SECONDS = 2.0
"""How long a client that has just connected may take for its first request once the listener is closed."""

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""Headers that decide how a request is framed or routed."""

# CPython 3.11 is slow to find a member in its enumeration
_NEW, _HEAD, _ANSWER, _BODY, _IDLE, _LINGER = ConnectionState

_is_host = lru_cache(maxsize=256)(is_host)


def _address(name: tuple[str, int] | None) -> tuple[str, int] | None:
    """Host and port of a socket's *name*; None for a client that has reset the connection meanwhile."""
    return name and name[:2]


class Connection(asyncio.Protocol):
    """The protocol that uvicorn makes for each connection."""

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn's lifespan, which is off
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self._config = config
        self._server_state = server_state
        self._connections = cast("set[Connection]", server_state.connections)  # they are all ours
        self._parser = httptools.HttpRequestParser(self)
        self._state, self._since = _NEW, self.loop.time()
        self._request_since = self._since
        self._retires_at = self._since + self._config.connection_lifetime()
        # input: bytes behind the present request, where in them the next one begins, and what the parser has seen of it
        self._held, self._held_from = b"", 0
        self._head_size, self._tail, self._body_left = 0, b"", 0
        self._is_at_end = self._is_reading_paused = self._is_queued = False
        # the present request
        self._url = b""
        self._headers: Headers = []
        self._hosts, self._is_special, self._is_chunked = 0, False, False
        self._task: asyncio.Task[None] | None = None
        # output
        self._written = 0
        self._is_writing_paused = self._is_ending = False
        self._writable: asyncio.Future[None] | None = None
        self._window: SendWindow | None = None

    # --- the transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a client. When there are too many, one connection is closed."""
        self.transport = transport
        self._connections.add(self)
        self._config.stats.open += 1
        excess = self._config.connection_limit.to_close(self._connections, self, self.loop.time())
        if excess is not None:
            self._config.stats.shed["connections"] += 1
            excess.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let go of everything; an exchange in progress is told."""
        self._connections.discard(self)
        self._config.stats.open -= 1
        self._config.slow_clients.hold(self, 0)
        self._held, self._headers = b"", []
        del self._parser  # it refers to this connection: both would wait for the garbage collector
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the present request; hold what comes behind it."""
        if self._state is _LINGER:
            return
        if self._held:
            self._held, self._held_from = self._held[self._held_from :] + data, 0
        elif self._must_wait():
            self._hold(data, 0)
        else:
            self._parse(data, 0)

    def eof_received(self) -> bool:
        """The client sends nothing more. What it has asked for is answered first."""
        self._is_at_end = True
        return self._state is _ANSWER or bool(self._held)

    def pause_writing(self) -> None:
        """The client does not take what was written as fast as it is made."""
        self._is_writing_paused = True
        self._count_held()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._is_writing_paused = False
        self._count_held()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._go_on()

    # --- input

    def _must_wait(self) -> bool:
        """Whether the next request has to wait for the present answer, or for the client to take it."""
        return self._state is _ANSWER or self._is_writing_paused or self._is_ending

    def _hold(self, data: bytes, start: int) -> None:
        self._held, self._held_from = data, start
        self._count_held()
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _count_held(self) -> None:
        """Tell how many bytes this connection holds while it waits for its client, or because the client sends ahead."""
        size = len(self._held) + self.transport.get_write_buffer_size()
        if self._state is _HEAD:
            size += self._head_size + len(self._headers) * _HEADER_OVERHEAD
        self._config.slow_clients.hold(self, size)

    def _go_on(self) -> None:
        """Parse what was held, and read on when all of it is parsed."""
        if self._must_wait() or self.transport.is_closing():
            return
        held, start, self._held, self._held_from = self._held, self._held_from, b"", 0
        self._parse(held, start)
        if self._is_reading_paused and not self._held and not self._is_ending:
            self._count_held()
            self._is_reading_paused = False
            self.transport.resume_reading()
        if self._is_at_end and not self._held and self._state is not _ANSWER:
            self.transport.close()

    def _parse(self, data: bytes, start: int) -> None:
        for _ in range(BURST):
            if start == len(data) or self._must_wait():
                break
            start = self._parse_some(data, start)
        if start < len(data) and not self._is_ending:
            self._hold(data, start)
            if not self._must_wait():
                self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        """Go on after the pipelines of others; who sends one request at a time does not wait for them."""
        if not self._is_queued:
            self._is_queued = True
            self._config.pipeline_queue.enter(self._take_turn, self.loop)

    def _take_turn(self) -> None:
        self._is_queued = False
        self._go_on()

    def _parse_some(self, data: bytes, start: int) -> int:
        """Give the parser what belongs to the present request, and no more. Return where that ends."""
        if self._body_left:
            end = min(len(data), start + self._body_left)
            self._body_left -= end - start
            self._feed(data[start:end])
            if not self._body_left and self._state is _BODY:
                self._idle()
            return end
        if self._state is not _HEAD:
            if data[start] in b"\r\n":  # an empty line begins no request (RFC 9112, section 2.2)
                start = _EMPTY_LINES.match(data, start).end()  # type: ignore[union-attr] # it matches nothing, too
                if start == len(data):
                    return start
            self._begin()
        end = self._end_of_head(data, start)
        self._head_size += end - start
        if self._head_size > HEAD_LIMIT:
            self._refuse(Problem(431, f"The request head is too long. At most {HEAD_LIMIT} bytes are allowed."))
            return len(data)
        self._feed(data[start:end])
        if self._state is _HEAD or self._tail:  # the head came in pieces
            self._count_held()
        return end

    def _begin(self) -> None:
        """The first byte of a request."""
        self._state, self._request_since = _HEAD, self.loop.time()
        self._since = self._request_since
        self._head_size, self._tail = 0, b""
        self._hosts, self._is_special, self._is_chunked = 0, False, False

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Where the head ends, or the data."""
        if self._tail:
            spanning = (self._tail + data[start : start + 3]).find(_HEAD_END)
            if spanning >= 0:
                return start + spanning + len(_HEAD_END) - len(self._tail)
        found = data.find(_HEAD_END, start)
        if found >= 0:
            return found + len(_HEAD_END)
        self._tail = (self._tail + data[start:])[-3:]
        return len(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered like any request, and then closed: the parser takes the rest for another protocol
        except httptools.HttpParserCallbackError as error:
            log.error("request.broken", path=self._url.decode("latin-1"), exc_info=error.__context__)
            if not self._is_ending:
                self._refuse(Problem(500, FAULT))
        except httptools.HttpParserError:
            if self._task is not None:  # llhttp looks at Transfer-Encoding after it has said that the head is complete
                self._task.cancel()
                self._task = None
            if not self._is_ending:
                text = "Malformed HTTP/1.1 request. Characters beyond ASCII are percent-encoded, as in /Pok%C3%A9."
                self._refuse(Problem(400, text))

    # --- the parser's calls

    def on_url(self, url: bytes) -> None:
        """Some of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head."""
        name = name.lower()
        if name in _SPECIAL:
            self._note(name, value)
        self._headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._is_special |= len(value) > HOST_LIMIT or not _is_host(value)
            return
        self._is_special = True
        self._is_chunked |= name == b"transfer-encoding"

    def on_headers_complete(self) -> None:
        """The head is complete: respond at once if that needs no waiting, else begin an exchange."""
        config = self._config
        method = self._parser.get_method()
        is_overloaded = config.is_overloaded(self.loop)
        is_last = config.draining or self.loop.time() > self._retires_at
        if method == b"GET" and self._is_plain():
            response = self._respond_sync(is_overloaded)
            if response is not None:
                self._respond(response, is_last=is_last or not self._parser.should_keep_alive())
                return
        self._exchange(method, is_overloaded=is_overloaded, is_last=is_last)

    def _respond_sync(self, is_overloaded: bool) -> SyncResponse | None:
        """The response to a search or a probe; None for what is left to ASGI."""
        options = self._config.options
        if options.respond_sync is not None and is_single_segment(self._url):
            return options.respond_sync(self._url, self._headers, is_overloaded)
        if options.probe is not None and self._url.startswith(OPERATIONS):
            return options.probe(self._url)
        return None

    def _is_plain(self) -> bool:
        """Whether the head has nothing that needs a closer look, and the target is just a path."""
        return (
            not self._is_special
            and self._hosts == 1
            and self._parser.get_http_version() == "1.1"
            and b"?" not in self._url
            and b"#" not in self._url
        )

    def _exchange(self, method: bytes, *, is_overloaded: bool, is_last: bool) -> None:
        """Check the head, then shed the request or start its ASGI exchange."""
        version = self._parser.get_http_version()
        self._body_left = int(header_value(self._headers, b"content-length") or 0)  # not before: heads come in pieces
        try:
            target = target_of(method, self._url)
            check_head(method, version, target, self._headers)
        except Problem as problem:
            self._refuse(problem)
            return
        if target.authority is not None:  # it overrides Host (RFC 9112, section 3.2.2)
            self._headers = [(b"host", target.authority), *[pair for pair in self._headers if pair[0] != b"host"]]
        is_last |= (
            version == "1.0"
            or self._is_chunked
            or self._parser.should_upgrade()
            or not self._parser.should_keep_alive()
        )
        is_overloaded |= self._config.exchange_queue.is_overloaded(self.loop.time())
        options = self._config.options
        if is_overloaded and options.shed is not None and not target.origin.startswith(OPERATIONS):
            self._respond(self._without_body_for_head(options.shed()), is_last=is_last)
            return
        scope = self._scope(method, version, target.origin)
        self._state = _ANSWER
        self._config.stats.in_flight += 1
        exchange = Exchange(self, scope, self._config.default_lines(self._server_state), is_last=is_last)
        self._task = self.loop.create_task(self._answer(exchange))
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._ended)

    async def _answer(self, exchange: Exchange) -> None:
        await self._config.exchange_queue.turn(self.loop)
        await exchange.run(self._config.options.asgi)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._config.stats.in_flight -= 1
        self._server_state.tasks.discard(task)

    def _scope(self, method: bytes, version: str, origin: bytes) -> Scope:
        raw_path, _, query = (b"/" if origin == b"*" else origin).partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "method": method.decode(),
            "scheme": "http",
            "root_path": "",
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "server": _address(self.transport.get_extra_info("sockname")),
            "client": _address(self.transport.get_extra_info("peername")),
            "state": {},
        }

    # --- output

    def _respond(self, response: SyncResponse, *, is_last: bool) -> None:
        """Write a whole response in one go."""
        status, lines, body = response
        last = b"connection: close\r\n" if is_last else b""
        head = b"".join((STATUS_LINES[status], self._config.default_lines(self._server_state), lines, last, b"\r\n"))
        if len(body) < _COPY_BELOW:
            self.write(head + body)
        else:
            self._written += len(head) + len(body)
            self.transport.writelines((head, body))
        self.finish(is_last=is_last)

    def _refuse(self, problem: Problem) -> None:
        """Answer a request that cannot be read, and close: what follows it has no known beginning."""
        self._is_chunked = True  # so that the rest is discarded
        refuse = self._config.options.refuse
        response = problem.response([]) if refuse is None else refuse(problem)
        self._respond(self._without_body_for_head(response), is_last=True)

    def _without_body_for_head(self, response: SyncResponse) -> SyncResponse:
        """*response* as HEAD gets it (RFC 9110, section 9.3.2). The method is known once the target is."""
        is_head = self._url and self._parser.get_method() == b"HEAD"
        return (*response[:2], b"") if is_head else response

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""
        self._written += len(data)
        self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written. Cancelled when it is gone."""
        if self._is_writing_paused:
            self._writable = self.loop.create_future()
            with self._config.waiting_for_client():
                await self._writable

    def finish(self, *, is_last: bool) -> None:
        """The answer is complete: close, or go on with the next request."""
        self._server_state.total_requests += 1
        was_exchange, self._task = self._task is not None, None
        self._url, self._headers = b"", []
        if is_last:
            self._end()
            return
        if self._body_left:
            self._state, self._since = _BODY, self._request_since
        else:
            self._idle()
        if was_exchange:
            self._go_on()

    def _idle(self) -> None:
        self._state, self._since = _IDLE, self.loop.time()

    def _end(self) -> None:
        """Close behind the last answer; where the client may be sending, not before it has had the time to read it."""
        self._is_ending = True
        self._state, self._since = _LINGER, self.loop.time()
        if not (self._body_left or self._is_chunked or self._held or self._is_reading_paused):
            self.transport.close()
        if self.transport.is_closing():
            return
        self._held = b""
        self._count_held()
        if self._is_reading_paused:
            self._is_reading_paused = False
            self.transport.resume_reading()
        if self._is_at_end:
            self.transport.close()
        else:
            self.transport.write_eof()

    def abort(self) -> None:
        """Close at once; what was written may be lost."""
        self._is_ending = True
        self._connections.discard(self)  # it makes room for others that come in the same turn of the event loop
        self.transport.abort()

    # --- the server's calls

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress, so that closing the connection loses nothing."""
        return self._state in (_IDLE, _NEW) and not self._held

    @property
    def waiting_since(self) -> float | None:
        """When the connection began to wait for a request, or for the rest of one. None while it answers."""
        if self.is_idle:
            return self._since
        return self._request_since if self._state in (_HEAD, _BODY) else None

    def close_if_overdue(self, now: float) -> None:
        """Close if a timer has run out. Called once a second, with the time of the event loop."""
        timers = self._config.timers
        self._count_held()  # also what is too little for pause_writing
        if unsent := self.transport.get_write_buffer_size():
            taken = self._written - unsent - self._unacknowledged()
            if self._window is None:
                self._window = SendWindow(now, taken)
            elif self._window.is_stalled(now, taken, timers.send):
                self._config.stats.closed["send"] += 1
                self.transport.abort()
            self._since = now if self._state in (_IDLE, _LINGER) else self._since
            return
        self._window = None
        if now - self._since < timers.limit(self._state) or self.transport.is_closing():
            return
        self._config.stats.closed[timers.name(self._state)] += 1
        if self._state is _HEAD:
            self._refuse(Problem(408, f"The request was not complete within {timers.request:g} seconds."))
        else:
            self.transport.close()

    def _unacknowledged(self) -> int:
        """Bytes that the kernel has not got rid of yet."""
        connection = self.transport.get_extra_info("socket")
        try:
            return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except (AttributeError, OSError, ValueError):
            return 0

    def shutdown(self) -> None:
        """The listener is closed: close as soon as nothing is in progress. Who has just connected has one request."""
        if self._state is _NEW:
            self._retires_at = self.loop.time() + _FIRST_REQUEST_SECONDS
        self.close_if_waiting()

    def close_if_waiting(self) -> None:
        """Close if nothing is in progress."""
        if self.is_idle and (self._state is _IDLE or self.loop.time() > self._retires_at):
            self.transport.close()
