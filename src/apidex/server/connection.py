"""One client's connection: bytes in, requests one after the other, responses in the same order.

`RequestParser` is given one request at a time. Input after the request is held unparsed, and nothing more is read, until the
response is complete and the client reads what was written to its `Output`. So a connection holds at most one response, one head
and one read of further input. `timers` says when it ends.

A plain search and a probe are answered as soon as their head is complete (decision 5); everything else is an ASGI exchange.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from uvicorn.server import ServerState

from apidex.http.asgi import SyncResponse
from apidex.http.headers import header_value
from apidex.http.paths import is_single_segment
from apidex.http.problem_details import FAULT, Problem
from apidex.logs import get_logger
from apidex.server.config import ServerConfig
from apidex.server.exchange import STATUS_LINES, Exchange, scope_of
from apidex.server.framing import check_head, target_of
from apidex.server.output import Output
from apidex.server.request_parser import MALFORMED, RequestParser, skip_empty_lines
from apidex.server.socket_buffers import drop_after_close, unread
from apidex.server.timers import ConnectionState

log = get_logger()

BURST = 8
"""Pipelined requests that are answered in one go. One pipeline goes on in each turn of the event loop."""

_FIRST_REQUEST_SECONDS = 2.0
"""How long a client that has just connected may take for its first request once the listener is closed."""

# CPython 3.11 is slow to find a member in its enumeration
_NEW, _HEAD, _ANSWER, _BODY, _IDLE, _LINGER = ConnectionState


class Connection(asyncio.Protocol):
    """The protocol that uvicorn makes for each connection."""

    __slots__ = (
        "__weakref__",
        "_body_left",
        "_config",
        "_connections",
        "_held",
        "_held_from",
        "_is_at_end",
        "_is_ending",
        "_is_followed",
        "_is_queued",
        "_is_reading_paused",
        "_is_unreadable",
        "_output",
        "_pending",
        "_request",
        "_request_since",
        "_retires_at",
        "_server_state",
        "_since",
        "_state",
        "_task",
        "loop",
        "transport",
    )

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
        self._state, self._since = _NEW, self.loop.time()
        self._request_since = self._since
        self._retires_at = self._since + config.connection_lifetime()
        # bytes after the current request, and where the next request begins in them
        self._held, self._held_from = b"", 0
        self._is_at_end = self._is_reading_paused = self._is_queued = False
        self._request = RequestParser()
        self._body_left = 0
        self._task: asyncio.Task[None] | None = None
        self._is_unreadable = self._is_ending = self._is_followed = False
        self._pending = 0

    # --- the transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a client. When there are too many, one connection is closed."""
        self.transport, self._output = transport, Output(transport)
        self._connections.add(self)
        self._config.stats.open += 1
        self._config.stats.accepted += 1
        excess = self._config.connection_limit.to_close(self._connections, self, self.loop.time())
        if excess is not None:
            self._config.stats.shed["connections"] += 1
            excess.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Release everything, and cancel the exchange in progress."""
        drop_after_close(self.transport.get_extra_info("socket"), self._config.timers.send)
        self._connections.discard(self)
        self._config.stats.open -= 1
        self._config.slow_clients.hold(self, 0)
        self._held = b""
        self._request.close()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the current request, and hold what follows it."""
        if self._state is _LINGER:
            return
        if self._held:
            self._held, self._held_from = self._held[self._held_from :] + data, 0
        elif self._must_wait():
            self._hold(data, 0)
        else:
            self._parse(data, 0)

    def eof_received(self) -> bool:
        """The client sends nothing more. Its requests are answered first."""
        self._is_at_end = True
        return self._state is _ANSWER or bool(self._held)

    def pause_writing(self) -> None:
        """The client reads more slowly than responses are made."""
        self._output.is_paused = True
        self._count_held()

    def resume_writing(self) -> None:
        """The client has read most of what was written."""
        self._output.resume()
        self._pending = 0
        self._config.slow_clients.hold(self, 0)  # it reads, so it goes to the end of the queue
        self._count_held()
        self._go_on()

    # --- input

    def _must_wait(self) -> bool:
        """Whether the next request must wait for the current response, or for the client to read it."""
        return self._state is _ANSWER or self._output.is_paused or self._is_ending

    def _hold(self, data: bytes, start: int) -> None:
        self._held, self._held_from = data, start
        self._count_held()
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _count_held(self) -> None:
        """Report how many bytes are held: output that the client has not read, input after the request, an incomplete head."""
        size = len(self._held) + self._output.unacknowledged() + self._pending
        if self._is_reading_paused:
            size += unread(self.transport.get_extra_info("socket"))
        if self._state is _HEAD:
            size += self._request.memory()
        self._config.slow_clients.hold(self, size)

    def _go_on(self) -> None:
        """Parse what was held, and read on when all of it is parsed."""
        if self._must_wait() or self.transport.is_closing():
            return
        if self._held:
            held, start, self._held, self._held_from = self._held, self._held_from, b"", 0
            self._parse(held, start)
        if self._is_reading_paused and not self._held and not self._is_ending:
            self._is_reading_paused = False
            self._count_held()
            self.transport.resume_reading()
        if self._is_at_end and not self._held and self._state is not _ANSWER:
            self.transport.close()

    def _parse(self, data: bytes, start: int) -> None:
        """Answer a few of the requests that begin at *start*, while none of them must wait."""
        for _ in range(BURST):
            start = self._parse_some(data, start)
            if start == len(data) or self._must_wait():
                break
        if start < len(data) and not self._is_ending:
            self._hold(data, start)
            if not self._must_wait():
                self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        """Continue after the pipelines of other clients. A client that sends one request at a time does not wait for them."""
        if not self._is_queued:
            self._is_queued = True
            self._config.pipeline_queue.enter(self._take_turn, self.loop)

    def _take_turn(self) -> bool:
        self._is_queued = False
        is_open = not self.transport.is_closing()
        self._go_on()
        return is_open

    def _parse_some(self, data: bytes, start: int) -> int:
        """Parse only what belongs to the current request, and respond. Return where it ends."""
        if self._body_left:
            return self._parse_body(data, start)
        was_begun = self._state is _HEAD
        if not was_begun:
            if data[start] in b"\r\n":
                start = skip_empty_lines(data, start)
                if start == len(data):
                    return start
            self._begin()
        try:
            start = self._request.feed_head(data, start)
            self._is_followed = start < len(data)
            if self._request.is_complete:
                self._on_request()
        except Problem as problem:
            self._refuse(problem)
        except Exception as error:
            log.error("request.broken", path=self._request.url.decode("latin-1"), exc_info=error)
            self._refuse(Problem(500, FAULT))
        if was_begun or self._state is _HEAD:  # the head arrived in several pieces
            self._count_held()
        return start

    def _parse_body(self, data: bytes, start: int) -> int:
        end = min(len(data), start + self._body_left)
        self._body_left -= end - start
        self._request.feed_body(data[start:end])
        if not self._body_left and self._state is _BODY:
            self._idle()
        return end

    def _begin(self) -> None:
        """The first byte of a request."""
        self._state, self._request_since = _HEAD, self.loop.time()
        self._since = self._request_since

    # --- requests

    def _on_request(self) -> None:
        """The head is complete: respond now if that needs no wait, else begin an exchange. Raises Problem."""
        config, request = self._config, self._request
        method = request.method
        is_overloaded = config.is_overloaded(self.loop)
        is_last = config.draining or (self.loop.time() > self._retires_at and self._retire())
        if method == b"GET" and request.is_plain():
            response = self._respond_sync(is_overloaded)
            if response is not None:
                self._respond(response, is_last=is_last or not request.is_kept_alive)
                return
        self._exchange(method, is_overloaded=is_overloaded, is_last=is_last)

    def _retire(self) -> bool:
        """Make the next response the last one, because the connection is too old."""
        self._config.stats.closed["age"] += 1
        return True

    def _respond_sync(self, is_overloaded: bool) -> SyncResponse | None:
        """The response to a search or a probe; None for what is left to ASGI."""
        options, request = self._config.options, self._request
        if options.respond_sync is not None and is_single_segment(request.url):
            return options.respond_sync(request.url, request.headers, is_overloaded)
        return None if options.probe is None else options.probe(request.url)

    def _exchange(self, method: bytes, *, is_overloaded: bool, is_last: bool) -> None:
        """Check the head, then shed the request or start its ASGI exchange. Raises Problem."""
        request, config, version, head_at = self._request, self._config, self._request.version, perf_counter()
        # llhttp keeps spaces behind a value, which are no part of it (RFC 9112, section 5)
        request.headers = [(name, value.strip(b" \t")) for name, value in request.headers]
        # llhttp allows any number of zeros, and int() no more than 4,300 digits
        self._body_left = int(header_value(request.headers, b"content-length").lstrip(b"0") or 0)
        target = target_of(method, request.url)
        check_head(method, version, target, request.headers)
        if request.is_malformed:
            raise Problem(400, MALFORMED)
        if target.authority is not None:  # it overrides Host (RFC 9112, section 3.2.2)
            request.headers = [(b"host", target.authority), *[pair for pair in request.headers if pair[0] != b"host"]]
        is_last |= version == "1.0" or request.is_chunked or request.is_upgrade or not request.is_kept_alive
        # the client may send the body or not, and what follows the head may be the next request (RFC 9110, section 10.1.1)
        is_last |= self._body_left > 0 and header_value(request.headers, b"expect") != b""
        is_overloaded |= config.exchange_queue.is_overloaded(self.loop.time()) or config.is_behind()
        is_sheddable = config.is_sheddable(target.origin)
        if is_overloaded and is_sheddable and config.options.shed is not None:
            self._shed(config.options.shed, head_at, is_last=is_last)
            return
        scope = scope_of(method, version, target.origin, request.headers, self.transport, head_at)
        self._state = _ANSWER
        config.stats.in_flight += 1
        exchange = Exchange(self, scope, config.default_lines(self._server_state), is_last=is_last)
        self._task = self.loop.create_task(self._answer(exchange, head_at, is_sheddable=is_sheddable, is_last=is_last))
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._ended)

    async def _answer(self, exchange: Exchange, head_at: float, *, is_sheddable: bool, is_last: bool) -> None:
        options = self._config.options
        is_in_time = await self._config.exchange_queue.turn(self.loop) and not self._config.is_behind()
        if is_in_time or not is_sheddable or options.shed is None:
            await exchange.run(options.asgi)
        else:
            self._shed(options.shed, head_at, is_last=is_last)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._config.stats.in_flight -= 1
        self._server_state.tasks.discard(task)

    # --- responses

    def _respond(self, response: SyncResponse, *, is_last: bool) -> None:
        """Write a whole response in one go."""
        status, lines, body = response
        last = b"connection: close\r\n" if is_last else b""
        head = b"".join((STATUS_LINES[status], self._config.default_lines(self._server_state), lines, last, b"\r\n"))
        self._output.write(head, body)
        self.finish(is_last=is_last)

    def _shed(self, shed: Callable[[float], SyncResponse], head_at: float, *, is_last: bool) -> None:
        self._respond(self._without_body_for_head(shed(head_at)), is_last=is_last)

    def _refuse(self, problem: Problem) -> None:
        """Answer a request that cannot be read, and close: where the next one begins is unknown."""
        self._is_unreadable = True
        self._respond_with(problem)

    def fail(self) -> None:
        """Answer a request with a 500, which the application has not answered, and close."""
        self._respond_with(Problem(500, FAULT))

    def _respond_with(self, problem: Problem) -> None:
        refuse = self._config.options.refuse
        response = problem.response([]) if refuse is None else refuse(problem)
        self._respond(self._without_body_for_head(response), is_last=True)

    def _without_body_for_head(self, response: SyncResponse) -> SyncResponse:
        """*response* for HEAD (RFC 9110, section 9.3.2)."""
        return (*response[:2], b"") if self._request.is_head() else response

    def write(self, head: bytes, body: bytes) -> None:
        """Write a part of a response."""
        self._output.write(head, body)

    async def drained(self, pending: int) -> None:
        """As `Wire.drained`."""
        if self._output.is_paused:
            self._pending = pending
            self._count_held()
            with self._config.waiting_for_client():
                await self._output.resumed()

    def finish(self, *, is_last: bool) -> None:
        """The response is complete: close, or continue with the next request."""
        self._server_state.total_requests += 1
        was_exchange, self._task = self._task is not None, None
        if is_last:
            self._end()
            return
        self._request.clear()
        if self._body_left:
            self._state, self._since = _BODY, self._request_since
        else:
            self._idle()
        if was_exchange:
            self._go_on()

    def _idle(self) -> None:
        self._state, self._since = _IDLE, self.loop.time()

    def _end(self) -> None:
        """Close after the last response; if the client may still be sending, only after it has had time to read the response."""
        self._is_ending = True
        self._state, self._since = _LINGER, self.loop.time()
        is_more_expected = self._is_unreadable or self._request.is_chunked or self._body_left or self._is_followed
        if not (is_more_expected or self._held or self._is_reading_paused):
            self.transport.close()
        if self.transport.is_closing():
            return
        self._held = b""
        self._request.clear()
        if self._is_reading_paused:
            self._is_reading_paused = False
            self.transport.resume_reading()
        self._count_held()
        if self._is_at_end:
            self.transport.close()
        else:
            self.transport.write_eof()

    def abort(self) -> None:
        """Close at once; what was written may be lost."""
        self._is_ending = True
        self._connections.discard(self)  # it makes room for others that come in the same turn of the event loop
        self._output.abort()

    # --- the server's calls

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress, so that closing the connection loses nothing."""
        return self._state in (_IDLE, _NEW) and not self._held

    @property
    def waiting_since(self) -> float | None:
        """When the connection began to wait for a request, for the rest of one, or for its end. None while it answers."""
        if self.is_idle or (self._state is _LINGER and not self._output.unsent):
            return self._since
        return self._request_since if self._state in (_HEAD, _BODY) else None

    def close_if_overdue(self, now: float) -> None:
        """Close if a timer has run out. Called once a second, with the time of the event loop."""
        timers, output, state = self._config.timers, self._output, self._state
        self._count_held()  # also what is too little for pause_writing
        if output.unsent:
            if output.is_stalled(now, timers.send):
                self._config.stats.closed["send"] += 1
                self.abort()
            elif state is _IDLE or state is _LINGER:
                self._since = now
            return
        output.all_sent()
        if now - self._since < timers.limits[state] or self.transport.is_closing():
            return
        self._config.stats.closed[state.name.lower()] += 1
        if state is _HEAD:
            self._refuse(Problem(408, f"The request was not complete within {timers.request:g} seconds."))
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The listener is closed: close as soon as nothing is in progress. A new client may send one request."""
        if self._state is _NEW:
            self._retires_at = self.loop.time() + _FIRST_REQUEST_SECONDS
        self.close_if_waiting()

    def close_if_waiting(self) -> None:
        """Close if nothing is in progress."""
        if self.is_idle and (self._state is _IDLE or self.loop.time() > self._retires_at):
            self.transport.close()
