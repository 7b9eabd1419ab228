"""The fast path for `GET /{name}`: an ASGI application before the other one, which answers searches from memory.

Its responses equal those of Litestar's handler of the same route to the byte (a test compares them), at a fraction of the
cost. It passes every other request on. A server that can write a response at once needs no ASGI: see `FastPath.respond_sync`.
"""

from time import perf_counter
from typing import NamedTuple

from apidex import logs
from apidex.http.asgi import ASGIApp, Headers, Receive, Scope, Send, SyncResponse
from apidex.http.content_encoding import COMPRESS_FROM, IDENTITY, STREAM_ABOVE_BYTES, Encoding, negotiate
from apidex.http.context import ReplicaContext
from apidex.http.etag import check_if_match, entity_tag, identity_of, matching_etag
from apidex.http.headers import (
    JSON,
    age_headers,
    common_headers,
    decode_headers,
    encode_headers,
    header_value,
    version_headers,
)
from apidex.http.paths import is_single_segment, name_from_path
from apidex.http.problem_details import FAULT, Problem
from apidex.http.response_cache import ResponseCache
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.snapshot import Snapshot

log = logs.get_logger()

CHEAP_SCAN_BYTES = 2**20
"""Scanning this many bytes of names takes no more time than shedding the request."""

STREAM_ABOVE_ENTRIES = 2000
"""Responses with more entries are streamed, like those above STREAM_ABOVE_BYTES: finding this many takes a millisecond."""

_OVERLOADED = "Replica overloaded. Retry after 1 second."

_LINES = b"content-type: %b\r\ncontent-length: %d\r\netag: %b\r\n%b%b"
_STREAM_LINES = b"content-type: %b\r\netag: %b\r\n%b%b%b"


class CachedResponse(NamedTuple):
    """A 200 without the headers that depend on its age. *lines* are its headers as HTTP/1.1 sends them."""

    lines: bytes
    body: bytes


class SnapshotHeaders:
    """What all responses from one snapshot have in common: entity tags, header lines, and for a second those of its age."""

    def __init__(self, snapshot: Snapshot, policy: FreshnessPolicy, common: Headers) -> None:
        self.snapshot, self._policy = snapshot, policy
        self.lines = encode_headers([*version_headers(snapshot, policy), *common])
        self.age_lines, self.expires_at = b"", float("-inf")  # on the steady clock
        self.is_large = snapshot.index.text.nbytes > CHEAP_SCAN_BYTES
        self._etags: dict[Encoding, bytes] = {}

    def etag(self, encoding: Encoding) -> bytes:
        """The entity tag of responses in *encoding*."""
        etag = self._etags.get(encoding)
        if etag is None:
            etag = self._etags[encoding] = entity_tag(identity_of(self.snapshot), encoding)
        return etag

    def update_age(self, now: float, until: float) -> None:
        """Set the header lines of the age for this second, but not past *until*, when another snapshot is activated."""
        age = self.snapshot.age(now)
        self.expires_at = min(now + 1 - age % 1, until)
        self.age_lines = encode_headers(age_headers(self.snapshot, self._policy, age))


class FastPath:
    """Answers searches from the current snapshot of *replica*, and passes all other requests to *app*."""

    def __init__(self, app: ASGIApp, replica: ReplicaContext) -> None:
        self.app = app
        refresher = replica.refresher
        self._activation, self._policy, self._steady = refresher.activation, refresher.policy, refresher.clock.steady
        self._common, self._send_wide = common_headers(replica.served_by), replica.send_wide
        self._cache: ResponseCache[tuple[bytes, Encoding], CachedResponse] = replica.responses
        self._headers = self._headers_of(self._activation.current)
        self._activation.listeners.append(self._adopt)
        self._overloaded = Problem(503, _OVERLOADED).response([(b"retry-after", b"1"), *self._common])
        self._observe = replica.metrics.route("/{name}").observe
        self._observe_unrouted = replica.metrics.route("none").observe
        self._stats = replica.metrics.connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond by ASGI."""
        if (
            scope["type"] != "http"
            or scope["method"] not in ("GET", "HEAD")
            or not is_single_segment(scope["raw_path"])
        ):
            await self.app(scope, receive, send)
            return
        head_at = scope.get("head_at") or perf_counter()
        response = self.respond_sync(scope["raw_path"], scope["headers"], head_at=head_at)
        if response is None:
            self._observe(200, perf_counter() - head_at)
            await self._stream(scope, send)
            return
        status, lines, body = response
        await send({"type": "http.response.start", "status": status, "headers": decode_headers(lines)})
        body = body if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def respond_sync(
        self, raw_path: bytes, headers: Headers, is_overloaded: bool = False, head_at: float | None = None
    ) -> SyncResponse | None:
        """The response to a GET of a path of one segment; None where it is so long that it must be streamed by ASGI.

        While the replica is overloaded, searches are shed that are not in the cache and cost more than that. Raises nothing.
        """
        began = perf_counter() if head_at is None else head_at
        try:
            response = self._find(raw_path, headers, is_overloaded)
        except Problem as problem:
            response = problem.response(self._common)
        except Exception as error:
            log.error("request.broken", path=raw_path.decode("latin-1"), exc_info=error)
            response = Problem(500, FAULT).response(self._common)
        if response is not None:
            self._observe(response[0], perf_counter() - began)
        return response

    def shed(self, head_at: float) -> SyncResponse:
        """The response to a request that is shed."""
        self._stats.shed["overload"] += 1
        self._observe_unrouted(503, perf_counter() - head_at)
        return self._overloaded

    def refuse(self, problem: Problem) -> SyncResponse:
        """The response to a request that the server cannot read."""
        self._observe_unrouted(problem.status, 0.0)
        return problem.response(self._common)

    async def _stream(self, scope: Scope, send: Send) -> None:
        """Send a long response in slices. Other requests are answered in between; each slice waits for a slow client."""
        headers, name = self._current_headers(), name_from_path(scope["raw_path"])
        encoding = negotiate(header_value(scope["headers"], b"accept-encoding"))
        content_encoding = _content_encoding(encoding)
        lines = _STREAM_LINES % (JSON, headers.etag(encoding), content_encoding, headers.lines, headers.age_lines)
        await send({"type": "http.response.start", "status": 200, "headers": decode_headers(lines)})
        if scope["method"] == "GET":
            pieces = headers.snapshot.catalogue.select_in_pieces(headers.snapshot.index.batches(name))
            await self._send_wide(headers.snapshot, encoding.encode_pieces(pieces), send)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _find(self, raw_path: bytes, request_headers: Headers, is_overloaded: bool) -> SyncResponse | None:
        accept_encoding = if_none_match = if_match = b""
        for name, value in request_headers:
            if name == b"accept-encoding":
                accept_encoding = b"%b,%b" % (accept_encoding, value) if accept_encoding else value
            elif name == b"if-none-match":
                if_none_match = b"%b,%b" % (if_none_match, value) if if_none_match else value
            elif name == b"if-match":
                if_match = b"%b,%b" % (if_match, value) if if_match else value
        headers = self._current_headers()
        encoding = negotiate(accept_encoding)
        if if_match or if_none_match:
            name_from_path(raw_path)  # an invalid name comes before a condition (RFC 9110, section 13.2.1)
            etags = (headers.etag(encoding), headers.etag(IDENTITY))
            if if_match:
                check_if_match(if_match, etags)
            etag = matching_etag(if_none_match, etags) if if_none_match else None
            if etag is not None:
                return 304, b"etag: %b\r\n%b%b" % (etag, headers.lines, headers.age_lines), b""
        cached = self._cache.get((raw_path, encoding))
        if cached is None:
            if is_overloaded and headers.is_large:
                self._stats.shed["overload"] += 1
                return self._overloaded
            cached = self._search(raw_path, encoding, headers)
            if cached is None:
                return None
        return 200, cached.lines + headers.age_lines, cached.body

    def _search(self, raw_path: bytes, encoding: Encoding, headers: SnapshotHeaders) -> CachedResponse | None:
        snapshot = headers.snapshot
        positions = snapshot.index.find(name_from_path(raw_path), limit=STREAM_ABOVE_ENTRIES + 1)
        catalogue = snapshot.catalogue
        # before they are joined: 2,000 entries can have 200 MB
        if len(positions) > STREAM_ABOVE_ENTRIES or catalogue.is_wide(positions, STREAM_ABOVE_BYTES):
            return None
        body = catalogue.select(positions)
        if len(body) < COMPRESS_FROM:
            used = IDENTITY
        else:
            used, body = encoding, encoding.encode(body)
        lines = _LINES % (JSON, len(body), headers.etag(used), _content_encoding(used), headers.lines)
        response = CachedResponse(lines, body)
        self._cache.put((raw_path, encoding), response, len(body), len(raw_path))
        return response

    def _current_headers(self) -> SnapshotHeaders:
        """The headers of the current snapshot, with its age of this second."""
        snapshot, headers = self._activation.current, self._headers
        if headers.snapshot is not snapshot:
            headers = self._adopt(snapshot)
        now = self._steady()
        if now >= headers.expires_at:
            if now >= self._activation.next_at:
                self._activation.activate_due()
                return self._current_headers()
            headers.update_age(now, self._activation.next_at)
        return headers

    def _adopt(self, snapshot: Snapshot) -> SnapshotHeaders:
        """Answer from *snapshot*. On activation, too: without a search, the memory of the one before would stay in use."""
        headers = self._headers_of(snapshot)
        if (
            headers.lines != self._headers.lines
        ):  # they name the version; where only the age is new, responses stay good
            self._cache.clear()
        self._headers = headers
        return headers

    def _headers_of(self, snapshot: Snapshot) -> SnapshotHeaders:
        return SnapshotHeaders(snapshot, self._policy, self._common)


def _content_encoding(encoding: Encoding) -> bytes:
    return b"" if encoding is IDENTITY else b"content-encoding: %b\r\n" % encoding.token
