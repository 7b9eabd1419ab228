"""The fast path for `GET /{name}`: an ASGI application in front of the other, which answers a search by itself.

It gives to the byte what Litestar's handler of the same route gives (a test compares them), at a fraction of the cost.
Everything else it hands on. A server that can write an answer at once need not even go by ASGI: see `FastPath.respond_sync`.
"""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

from apidex import logs
from apidex.http.asgi import ASGIApp, Receive, Scope, Send
from apidex.http.metrics import Metrics
from apidex.http.response_cache import ResponseCache
from apidex.http.responses import (
    COMPRESS_FROM,
    FAULT,
    IDENTITY,
    JSON,
    Encoding,
    Headers,
    Problem,
    age_headers,
    common_headers,
    decode_headers,
    encode_headers,
    entity_tag,
    header_value,
    is_single_segment,
    matching_etag,
    name_from_path,
    negotiate,
    problem_headers,
    version_headers,
)
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Snapshot

log = logs.get_logger()

CHEAP_SCAN_BYTES = 2**20
"""Bytes of names that are searched in less time than a request takes to be turned away."""

_TOO_BUSY = "This replica has more to answer than it can; ask again in a second, or another replica."

STREAM_ABOVE_ENTRIES = 2000
"""Answers with more entries are given in pieces: so many are found and joined in about a millisecond."""

_PIECE = 500

_LINES = b"content-type: %b\r\ncontent-length: %d\r\netag: %b\r\n%b%b"
_WIDE_LINES = b"content-type: %b\r\netag: %b\r\n%b%b%b"


class CachedResponse(NamedTuple):
    """An answer as far as it does not depend on the moment. *lines* are its headers, as HTTP/1.1 sends them."""

    status: int
    lines: bytes
    body: bytes
    ages: bool = True


class SnapshotHeaders:
    """What is the same in every answer from one snapshot: tags and headers, and for a second the age."""

    def __init__(self, snapshot: Snapshot, lines: bytes) -> None:
        self.snapshot = snapshot
        self.lines = lines
        self.until = float("-inf")  # when the age is another, on the steady clock
        self.age_lines = b""
        self.tags: dict[Encoding, bytes] = {}
        self.is_large = snapshot.index.text.nbytes > CHEAP_SCAN_BYTES

    def tag(self, encoding: Encoding) -> bytes:
        tag = self.tags.get(encoding)
        if tag is None:
            tag = self.tags[encoding] = entity_tag(self.snapshot, encoding)
        return tag

    def ages(self, now: float, policy: FreshnessPolicy) -> None:
        age = self.snapshot.age(now)
        self.until = now + 1 - age % 1
        self.age_lines = encode_headers(age_headers(self.snapshot, policy, age))


class FastPath:
    """Answers searches from `refresher.current`, and hands all other requests to *app*.

    *answer_cache* is the memory, in bytes, for answers given before.
    """

    def __init__(self, app: ASGIApp, refresher: Refresher, metrics: Metrics, served_by: str, answer_cache: int) -> None:
        self.app = app
        self._answered, self._answered_away = metrics.route("/{name}").answered, metrics.route("none").answered
        self._refresher = refresher
        self._steady = refresher.clock.steady
        self._common = common_headers(served_by)
        self._cache: ResponseCache[tuple[bytes, Encoding], CachedResponse] = ResponseCache(answer_cache)
        metrics.add(self._cache)  # type: ignore[arg-type] # it only counts
        self._edition = self._edition_of(refresher.current)
        self._too_busy = self._problem(Problem(503, _TOO_BUSY), (b"retry-after", b"1"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if (
            scope["type"] != "http"
            or scope["method"] not in ("GET", "HEAD")
            or not is_single_segment(scope["raw_path"])
        ):
            await self.app(scope, receive, send)
            return
        answer = self.respond_sync(scope["raw_path"], scope["headers"])
        if answer is None:
            await self._stream(scope, send)
            return
        status, lines, body = answer
        await send({"type": "http.response.start", "status": status, "headers": decode_headers(lines)})
        body = body if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def respond_sync(self, raw_path: bytes, headers: Headers, is_busy: bool = False) -> tuple[int, bytes, bytes] | None:
        """As ASGI's GET, for a path of one segment and a server that writes at once: status, lines of the head, and body.

        None for an answer so wide that others would wait for it: ASGI gives it in pieces. Too busy, what is not known is not
        searched for, where that costs more than to say so. Raises nothing.
        """
        began = perf_counter()
        try:
            answer = self._find(raw_path, headers, is_busy)
        except Problem as problem:
            answer = self._problem(problem)
        except Exception as error:
            log.error("request.broken", path=raw_path.decode("latin-1"), exc_info=error)
            answer = self._problem(Problem(500, FAULT))
        if answer is None:
            return None
        self._answered(answer.status, perf_counter() - began)
        return answer.status, answer.lines + self._edition.age_lines if answer.ages else answer.lines, answer.body

    def shed(self) -> tuple[int, bytes, bytes]:
        """What a request hears for which there is no time: as `respond_sync`."""
        self._answered_away(503, 0.0)
        status, lines, body, _ = self._too_busy
        return status, lines, body

    def _problem(self, problem: Problem, *more: tuple[bytes, bytes]) -> CachedResponse:
        body = problem.body()
        return CachedResponse(
            problem.status, encode_headers([*problem_headers(body), *more, *self._common]), body, ages=False
        )

    async def _stream(self, scope: Scope, send: Send) -> None:
        """A wide answer, a piece at a time: other requests are answered in between, and a slow client is waited for."""
        self._answered(200, 0.0)
        edition, name = self._current_edition(), name_from_path(scope["raw_path"])
        encoding = negotiate(header_value(scope["headers"], b"accept-encoding"))
        lines = _WIDE_LINES % (JSON, edition.tag(encoding), _coding(encoding), edition.lines, edition.age_lines)
        await send({"type": "http.response.start", "status": 200, "headers": decode_headers(lines)})
        if scope["method"] == "GET":
            stream = encoding.stream()
            for piece in _pieces(edition.snapshot, name):
                await send({"type": "http.response.body", "body": stream.compress(piece), "more_body": True})
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": stream.flush(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _find(self, raw_path: bytes, request_headers: Headers, is_busy: bool) -> CachedResponse | None:
        accept_encoding = if_none_match = b""
        for name, value in request_headers:
            if name == b"accept-encoding":
                accept_encoding = b"%b,%b" % (accept_encoding, value) if accept_encoding else value
            elif name == b"if-none-match":
                if_none_match = b"%b,%b" % (if_none_match, value) if if_none_match else value
        edition = self._current_edition()
        encoding = negotiate(accept_encoding)
        if if_none_match:
            tag = matching_etag(if_none_match, (edition.tag(encoding), edition.tag(IDENTITY)))
            if tag is not None:
                name_from_path(raw_path)
                return CachedResponse(304, b"etag: %b\r\n%b" % (tag, edition.lines), b"")
        answer = self._cache.get((raw_path, encoding))
        if answer is not None:
            return answer
        if is_busy and edition.is_large:
            return self._too_busy
        return self._search(raw_path, encoding, edition)

    def _search(self, raw_path: bytes, encoding: Encoding, edition: SnapshotHeaders) -> CachedResponse | None:
        snapshot = edition.snapshot
        positions = snapshot.index.find(name_from_path(raw_path), most=STREAM_ABOVE_ENTRIES + 1)
        if len(positions) > STREAM_ABOVE_ENTRIES:
            return None
        body = snapshot.catalogue.select(positions)
        if len(body) < COMPRESS_FROM:
            encoding_used = IDENTITY
        else:
            encoding_used, body = encoding, encoding.encode(body)
        tag, coding = edition.tag(encoding_used), _coding(encoding_used)
        lines = _LINES % (JSON, len(body), tag, coding, edition.lines)
        answer = CachedResponse(200, lines, body)
        self._cache.put((raw_path, encoding), answer, len(body), len(raw_path))
        return answer

    def _current_edition(self) -> SnapshotHeaders:
        """The edition of the current snapshot, with its age brought up to this second."""
        snapshot, edition = self._refresher.current, self._edition
        if edition.snapshot is not snapshot:
            edition = self._edition_of(snapshot)
            if (
                edition.lines != self._edition.lines
            ):  # they name the version; where only the age is new, answers stay good
                self._cache.clear()
            self._edition = edition
        now = self._steady()
        if now >= edition.until:
            edition.ages(now, self._refresher.policy)
        return edition

    def _edition_of(self, snapshot: Snapshot) -> SnapshotHeaders:
        headers = [*version_headers(snapshot, self._refresher.policy), *self._common]
        return SnapshotHeaders(snapshot, encode_headers(headers))


def _coding(encoding: Encoding) -> bytes:
    return b"" if encoding is IDENTITY else b"content-encoding: %b\r\n" % encoding.token


def _pieces(snapshot: Snapshot, name: str) -> Iterator[bytes]:
    """What `Catalogue.select` makes of all that `NameIndex.find` finds, a few entries at a time."""
    before, begin, end = b"[", 0, len(snapshot.catalogue)
    while begin < end and (positions := snapshot.index.find(name, begin, _PIECE)):
        yield before + snapshot.catalogue.select(positions)[1:-1]
        before, begin = b",", positions[-1] + 1
    yield b"]"
