"""The short cut for `GET /{name}`: an ASGI application in front of the other, which answers a search by itself.

It gives to the byte what Litestar's handler of the same route gives (a test compares them), at a fraction of the cost.
Everything else it hands on.
"""

from dataclasses import dataclass
from time import perf_counter

from apidex.answer_cache import AnswerCache
from apidex.answers import (
    COMPRESS_FROM,
    IDENTITY,
    JSON,
    Encoding,
    Headers,
    Problem,
    age_headers,
    common_headers,
    entity_tag,
    is_name,
    name_of,
    negotiate,
    problem_headers,
    unchanged,
    version_headers,
)
from apidex.asgi import ASGIApp, Receive, Scope, Send
from apidex.metrics import Metrics
from apidex.refresh import Refresher
from apidex.snapshot import Snapshot


@dataclass(slots=True)
class Answer:
    """An answer as far as it does not depend on the moment."""

    headers: Headers
    body: bytes


class _Edition:
    """What is the same in every answer from one snapshot: tags and headers."""

    def __init__(self, snapshot: Snapshot, headers: Headers) -> None:
        self.snapshot = snapshot
        self.headers = headers
        self.second = -1
        self.age_headers: Headers = []
        self.tags: dict[Encoding, bytes] = {}

    def tag(self, encoding: Encoding) -> bytes:
        tag = self.tags.get(encoding)
        if tag is None:
            tag = self.tags[encoding] = entity_tag(self.snapshot, encoding)
        return tag


class HotPath:
    """Answers searches from `refresher.current`, and hands all other requests to *app*.

    *answer_cache* is the memory, in bytes, for answers given before.
    """

    def __init__(self, app: ASGIApp, refresher: Refresher, metrics: Metrics, served_by: str, answer_cache: int) -> None:
        self.app = app
        self._answered = metrics.route("/{name}").answered
        self._refresher = refresher
        self._common = common_headers(served_by)
        self._cache: AnswerCache[tuple[bytes, Encoding], Answer] = AnswerCache(answer_cache)
        metrics.add(self._cache)  # type: ignore[arg-type] # it only counts
        self._edition = self._edition_of(refresher.current)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not is_name(scope["raw_path"]):
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        try:
            status, headers, body = self.answer(scope["raw_path"], scope["headers"])
        except Problem as problem:
            status, body = problem.status, problem.body()
            headers = [*problem_headers(body), *self._common]
        self._answered(status, perf_counter() - began)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": body if scope["method"] == "GET" else b"", "more_body": False}
        )

    def answer(self, raw_path: bytes, request_headers: Headers) -> tuple[int, Headers, bytes]:
        """Status, headers and body for a path of one segment. Raises Problem for a name that nothing can have."""
        accept_encoding = if_none_match = b""
        for name, value in request_headers:
            if name == b"accept-encoding":
                accept_encoding = b"%b,%b" % (accept_encoding, value) if accept_encoding else value
            elif name == b"if-none-match":
                if_none_match = b"%b,%b" % (if_none_match, value) if if_none_match else value
        edition = self._current_edition()
        encoding = negotiate(accept_encoding)
        if if_none_match:
            tag = unchanged(if_none_match, (edition.tag(encoding), edition.tag(IDENTITY)))
            if tag is not None:
                name_of(raw_path)
                return 304, [(b"etag", tag), *edition.headers, *edition.age_headers], b""
        answer = self._cache.get((raw_path, encoding)) or self._search(raw_path, encoding, edition)
        return 200, answer.headers + edition.age_headers, answer.body

    def _search(self, raw_path: bytes, encoding: Encoding, edition: _Edition) -> Answer:
        snapshot = edition.snapshot
        body = snapshot.catalogue.select(snapshot.index.find(name_of(raw_path)))
        if len(body) < COMPRESS_FROM:
            encoding_used = IDENTITY
        else:
            encoding_used, body = encoding, encoding.encode(body)
        headers = [
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            (b"etag", edition.tag(encoding_used)),
        ]
        if encoding_used is not IDENTITY:
            headers.append((b"content-encoding", encoding_used.token))
        answer = Answer([*headers, *edition.headers], body)
        self._cache.put((raw_path, encoding), answer, len(body), len(raw_path))
        return answer

    def _current_edition(self) -> _Edition:
        """The edition of the current snapshot, with its age brought up to this second."""
        snapshot, edition = self._refresher.current, self._edition
        if edition.snapshot is not snapshot:
            edition = self._edition_of(snapshot)
            if (
                edition.headers != self._edition.headers
            ):  # they name the version; where only the age is new, answers stay good
                self._cache.clear()
            self._edition = edition
        age = self._refresher.age()
        if int(age) != edition.second:
            edition.second = int(age)
            edition.age_headers = age_headers(snapshot, self._refresher.limits, age)
        return edition

    def _edition_of(self, snapshot: Snapshot) -> _Edition:
        return _Edition(snapshot, [*version_headers(snapshot, self._refresher.limits), *self._common])
