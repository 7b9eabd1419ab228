"""Responses of the handlers, which a client can revalidate (RFC 9110, section 13)."""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation

from apidex.http.asgi import Headers
from apidex.http.content_encoding import COMPRESS_FROM, IDENTITY, Encoding, negotiate
from apidex.http.context import ReplicaContext
from apidex.http.etag import check_if_match, entity_tag, matching_etag
from apidex.http.headers import JSON, age_headers, header_value, version_headers
from apidex.http.routes.problems import problem_spec
from apidex.replication.snapshot import Snapshot

HttpRequest = Request[Any, Any, Any]
ReplicaDependency = SkipValidation[NamedDependency[ReplicaContext]]

CONDITIONAL = {
    304: ResponseSpec(None, description="The client holds this answer already", generate_examples=False),
    **problem_spec(HTTPStatus.PRECONDITION_FAILED, "`If-Match` does not name the current entity tag"),
}


_NO_CACHE = {b"cache-control": b"no-cache"}
_VARY_BY_ACCEPT = {b"vary": b"accept, accept-encoding"}


def catalogue_response(request: HttpRequest, replica: ReplicaContext, body: Callable[[], bytes]) -> Response[bytes]:
    """A response that is the same as long as the catalogue is. *body* is not called where the client has the response."""
    current = replica.refresher.current
    return _conditional(request, body, partial(entity_tag, current), _headers(replica, current))


def versioned_response(
    request: HttpRequest,
    replica: ReplicaContext,
    snapshot: Snapshot,
    body: Callable[[], bytes],
    *,
    content_type: bytes = JSON,
    variant: str = "",
    further: Callable[[], Headers] = list,
) -> Response[bytes]:
    """A response from *snapshot* that names its version, and is the same as long as that is; *body* as above.

    *further* headers come with the body. *variant* sets apart the tags of the variants that one URL has by Accept.
    """
    headers = _headers(replica, snapshot) | (_VARY_BY_ACCEPT if variant else {})
    return _conditional(request, body, _tag(snapshot.version + variant), headers, content_type, further)


def live_response(
    request: HttpRequest, replica: ReplicaContext, view: msgspec.Struct, *, varies: bool = False
) -> Response[Any]:
    """A response about this moment: caches must revalidate it. It *varies* where its URL has another by Accept."""
    body = msgspec.json.encode(view)
    headers = _headers(replica, replica.refresher.current) | _NO_CACHE | (_VARY_BY_ACCEPT if varies else {})
    return _conditional(request, lambda: body, _tag_of(body), headers)


def static_response(request: HttpRequest, body: bytes, content_type: bytes, further: Headers) -> Response[bytes]:
    """A response that is the same for a release, and varies by Accept; caches must revalidate it."""
    headers = _NO_CACHE | _VARY_BY_ACCEPT | dict(further)
    return _conditional(request, lambda: body, _tag_of(body), headers, content_type)


def _headers(replica: ReplicaContext, snapshot: Snapshot) -> dict[bytes, bytes]:
    policy, age = replica.refresher.policy, snapshot.age(replica.refresher.clock.steady())
    return dict([*version_headers(snapshot, policy), *age_headers(snapshot, policy, age)])


def _tag(identity: str) -> Callable[[Encoding], bytes]:
    return lambda encoding: f'"{identity}{encoding.suffix}"'.encode()


def _tag_of(body: bytes) -> Callable[[Encoding], bytes]:
    return _tag(hashlib.sha256(body).hexdigest()[:32])


def _conditional(
    request: HttpRequest,
    make: Callable[[], bytes],
    tag: Callable[[Encoding], bytes],
    headers: dict[bytes, bytes],
    content_type: bytes = JSON,
    further: Callable[[], Headers] = list,
) -> Response[bytes]:
    """The body in the encoding that the client prefers, or a 304 where it has that or the unencoded one.

    Raises Problem where If-Match names neither.
    """
    sent = request.scope["headers"]
    encoding = negotiate(header_value(sent, b"accept-encoding"))
    etags = (tag(encoding), tag(IDENTITY))
    if if_match := header_value(sent, b"if-match"):
        check_if_match(if_match, etags)
    matching = matching_etag(header_value(sent, b"if-none-match"), etags)
    if matching is not None:
        return Response(b"", status_code=304, headers=_text({b"etag": matching} | headers))
    body = make()
    if len(body) < COMPRESS_FROM:
        encoding = IDENTITY
    headers = {b"content-type": content_type, b"etag": tag(encoding)} | headers | dict(further())
    if encoding is not IDENTITY:
        headers[b"content-encoding"] = encoding.token
    return Response(encoding.encode(body), media_type=content_type.decode(), headers=_text(headers))


_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def base(request: HttpRequest) -> str:
    """The URL of this service for the client; empty, so that links are relative, where Host is malformed."""
    host = header_value(request.scope["headers"], b"host")
    return f"{request.scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""


def _text(headers: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers.items()}
