"""Responses of the handlers, which a client can revalidate (RFC 9110, section 13)."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation

from apidex.http.asgi import Headers, Receive, Scope, Send
from apidex.http.concurrency import TimeSlices
from apidex.http.content_encoding import COMPRESS_FROM, IDENTITY, STREAM_ABOVE_BYTES, Encoding, negotiate
from apidex.http.context import ReplicaContext
from apidex.http.etag import check_if_match, entity_tag, identity_of, matching_etag
from apidex.http.headers import JSON, age_headers, header_value, version_headers
from apidex.http.routes.problems import problem_spec
from apidex.replication.snapshot import Snapshot

HttpRequest = Request[Any, Any, Any]
ReplicaDependency = SkipValidation[NamedDependency[ReplicaContext]]

CONDITIONAL = {
    304: ResponseSpec(None, description="The client holds this answer already", generate_examples=False),
    **problem_spec(HTTPStatus.PRECONDITION_FAILED, "`If-Match` does not name the current entity tag"),
}


_PIECE = 2**15
"""Bytes of a whole body that are encoded in one step."""

_NO_CACHE = {b"cache-control": b"no-cache"}
_VARY_BY_ACCEPT = {b"vary": b"accept, accept-encoding"}


class Content(NamedTuple):
    """The body of a response, or a function that makes it in pieces, and *further* headers that come with it."""

    body: bytes | Callable[[], Iterator[bytes]]
    further: Sequence[tuple[bytes, bytes]] = ()


Make = Callable[[], Awaitable[Content]]
"""Makes the content of a response. It is called once for equal requests at the same time."""

Tag = Callable[[Encoding], bytes]
"""The entity tag of a response by its encoding."""


async def catalogue_response(
    request: HttpRequest, replica: ReplicaContext, snapshot: Snapshot, make: Make
) -> Response[Any]:
    """A response from *snapshot* that does not change while the content of the catalogue does not.

    *make* is not called if the client has the response.
    """
    tag = partial(entity_tag, identity_of(snapshot))
    return await _conditional(request, replica, snapshot, make, tag, _headers(replica, snapshot), JSON)


async def versioned_response(
    request: HttpRequest,
    replica: ReplicaContext,
    snapshot: Snapshot,
    make: Make,
    *,
    content_type: bytes = JSON,
    variant: str = "",
) -> Response[Any]:
    """A response from *snapshot* that names its version, and does not change within that version; *make* as above.

    *variant* distinguishes the tags of the variants of one URL, by Accept.
    """
    headers = _headers(replica, snapshot) | (_VARY_BY_ACCEPT if variant else {})
    return await _conditional(
        request, replica, snapshot, make, partial(entity_tag, snapshot.version + variant), headers, content_type
    )


def live_response(
    request: HttpRequest, replica: ReplicaContext, snapshot: Snapshot, view: msgspec.Struct, *, varies: bool = False
) -> Response[Any]:
    """A response about this moment and *snapshot*: caches must revalidate it. It *varies* where its URL has another by Accept."""
    headers = _headers(replica, snapshot) | _NO_CACHE | (_VARY_BY_ACCEPT if varies else {})
    return _whole(request, msgspec.json.encode(view), headers, JSON)


def static_response(request: HttpRequest, body: bytes, content_type: bytes, further: Headers) -> Response[bytes]:
    """A response that is the same for a release, and varies by Accept; caches must revalidate it."""
    return _whole(request, body, _NO_CACHE | _VARY_BY_ACCEPT | dict(further), content_type)


def _headers(replica: ReplicaContext, snapshot: Snapshot) -> dict[bytes, bytes]:
    policy, age = replica.refresher.policy, snapshot.age(replica.refresher.clock.steady())
    return dict([*version_headers(snapshot, policy), *age_headers(snapshot, policy, age)])


def _whole(request: HttpRequest, body: bytes, headers: dict[bytes, bytes], content_type: bytes) -> Response[bytes]:
    encoding, tag = _negotiated(request), partial(entity_tag, hashlib.sha256(body).hexdigest()[:32])
    not_modified = _not_modified(request, tag, encoding, headers)
    return not_modified or _encoded(body, encoding, tag, content_type, []).response(headers)


async def _conditional(
    request: HttpRequest,
    replica: ReplicaContext,
    snapshot: Snapshot,
    make: Make,
    tag: Tag,
    headers: dict[bytes, bytes],
    content_type: bytes,
) -> Response[Any]:
    """The body in the encoding that the client prefers, whole or streamed, or a 304 if the client has that or the unencoded one.

    Raises Problem if If-Match names neither.
    """
    encoding = _negotiated(request)
    not_modified = _not_modified(request, tag, encoding, headers)
    if not_modified is not None:
        return not_modified
    key = (request.scope["raw_path"], request.scope["query_string"], tag(encoding))

    async def encoded() -> _Encoded | Content:
        content = await make()
        body = await _unless_wide(content.body, replica.slices)
        if body is None:
            return content
        response = _encoded(body, encoding, tag, content_type, content.further)
        replica.responses.put(key, response, len(response.body), len(key[0]) + len(key[1]))
        return response

    answer: _Encoded | Content | None = replica.responses.get(key)
    if answer is None:
        answer = await replica.flights.run(key, encoded)
    if isinstance(answer, _Encoded):
        return answer.response(headers)
    pieces = _cut(answer.body) if isinstance(answer.body, bytes) else answer.body()
    headers |= _entity_headers(encoding, tag, content_type, answer.further)
    return _WideResponse(headers, partial(replica.send_wide, snapshot, encoding.encode_pieces(pieces)))


class _WideResponse(Response[None]):
    """A response whose body *send_body* sends. Litestar's own stream completes a body that is cut off without an exception."""

    def __init__(self, headers: dict[bytes, bytes], send_body: Callable[[Send], Awaitable[None]]) -> None:
        super().__init__(None)
        self._headers, self._send_body = headers, send_body

    def to_asgi_response(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - any ASGI application will do
        """The response as an ASGI application."""
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send({"type": "http.response.start", "status": 200, "headers": [*self._headers.items()]})
        if scope["is_head"]:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send_body(send)


def _negotiated(request: HttpRequest) -> Encoding:
    return negotiate(header_value(request.scope["headers"], b"accept-encoding"))


def _not_modified(
    request: HttpRequest, tag: Tag, encoding: Encoding, headers: dict[bytes, bytes]
) -> Response[bytes] | None:
    """A 304 if the client has the response; None if not. Raises Problem if If-Match names another one."""
    sent, etags = request.scope["headers"], (tag(encoding), tag(IDENTITY))
    if if_match := header_value(sent, b"if-match"):
        check_if_match(if_match, etags)
    matching = matching_etag(header_value(sent, b"if-none-match"), etags)
    if matching is None:
        return None
    return Response(b"", status_code=304, headers=_text({b"etag": matching} | headers))


class _Encoded(NamedTuple):
    """A whole body as it is sent, and its headers."""

    body: bytes
    headers: dict[bytes, bytes]

    def response(self, headers: dict[bytes, bytes]) -> Response[bytes]:
        """The response with these *headers* added."""
        media_type = self.headers[b"content-type"].decode()
        return Response(self.body, media_type=media_type, headers=_text(headers | self.headers))


def _encoded(
    body: bytes, encoding: Encoding, tag: Tag, content_type: bytes, further: Sequence[tuple[bytes, bytes]]
) -> _Encoded:
    used = encoding if len(body) >= COMPRESS_FROM else IDENTITY
    return _Encoded(used.encode(body), _entity_headers(used, tag, content_type, further))


def _entity_headers(
    encoding: Encoding, tag: Tag, content_type: bytes, further: Sequence[tuple[bytes, bytes]]
) -> dict[bytes, bytes]:
    headers = {b"content-type": content_type, b"etag": tag(encoding), **dict(further)}
    return headers if encoding is IDENTITY else headers | {b"content-encoding": encoding.token}


async def _unless_wide(body: bytes | Callable[[], Iterator[bytes]], slices: TimeSlices) -> bytes | None:
    """The whole *body*; None if it is long enough to be streamed."""
    if not isinstance(body, bytes):
        return await slices.join(body(), STREAM_ABOVE_BYTES)
    return body if len(body) <= STREAM_ABOVE_BYTES else None


def _cut(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))


def _text(headers: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers.items()}
