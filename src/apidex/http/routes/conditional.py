"""What the handlers share: an answer from the catalogue, an answer about this moment, and the address that links begin with."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import SkipValidation

from apidex.http.asgi import Headers
from apidex.http.content_encoding import COMPRESS_FROM, IDENTITY, Encoding, negotiate
from apidex.http.context import ReplicaContext
from apidex.http.etag import entity_tag, matching_etag
from apidex.http.headers import JSON, age_headers, header_value, version_headers
from apidex.replication.snapshot import Snapshot

ReplicaDependency = SkipValidation[NamedDependency[ReplicaContext]]

UNCHANGED = {304: ResponseSpec(None, description="The client holds this answer already", generate_examples=False)}


def catalogue_response(
    request: Request[Any, Any, Any], replica: ReplicaContext, body: Callable[[], bytes]
) -> Response[bytes]:
    """An answer that is the same as long as the catalogue is; *body* is not made for who holds it already."""
    current, policy = replica.refresher.current, replica.refresher.policy
    described = [*version_headers(current, policy), *age_headers(current, policy, replica.refresher.age())]
    return _conditional(request, body, lambda encoding: entity_tag(current, encoding), described)


def versioned_response(
    request: Request[Any, Any, Any],
    replica: ReplicaContext,
    snapshot: Snapshot,
    body: Callable[[], bytes],
    *,
    content_type: bytes = JSON,
    varies: str = "",
    further: Callable[[], Headers] = list,
) -> Response[bytes]:
    """An answer from *snapshot* that names its version, and is the same as long as that is; *body* as in `catalogue_response`.

    *further* headers come with the body. *varies* tells apart what one URL answers to different Accept headers, and is empty
    where there is no choice.
    """
    policy = replica.refresher.policy
    age = snapshot.age(replica.refresher.clock.steady())
    described = [*version_headers(snapshot, policy), *age_headers(snapshot, policy, age)]
    if varies:
        described = _varying(described)

    def tag(encoding: Encoding) -> bytes:
        return f'"{snapshot.version}{varies}{encoding.suffix}"'.encode()

    return _conditional(request, body, tag, described, content_type, further)


def live_response(
    request: Request[Any, Any, Any], replica: ReplicaContext, view: msgspec.Struct, *, varies: bool = False
) -> Response[Any]:
    """An answer about this moment: caches must ask again, and its tag is made of its bytes.

    It *varies* where the same URL answers something else to another Accept header.
    """
    current, policy = replica.refresher.current, replica.refresher.policy
    body = msgspec.json.encode(view)
    described = [
        (b"cache-control", b"no-cache"),
        *(pair for pair in version_headers(current, policy) if pair[0] != b"cache-control"),
        *age_headers(current, policy, replica.refresher.age()),
    ]
    return _conditional(request, lambda: body, _tag_of(body), _varying(described) if varies else described)


def static_response(
    request: Request[Any, Any, Any], body: bytes, *, content_type: bytes, further: Headers
) -> Response[bytes]:
    """An answer that is the same as long as this release runs, and that varies by Accept; caches must ask again."""
    described = _varying([(b"cache-control", b"no-cache"), (b"vary", b"accept-encoding"), *further])
    return _conditional(request, lambda: body, _tag_of(body), described, content_type)


def _tag_of(body: bytes) -> Callable[[Encoding], bytes]:
    digest = hashlib.sha256(body).hexdigest()[:32]
    return lambda encoding: f'"{digest}{encoding.suffix}"'.encode()


def _varying(described: Headers) -> Headers:
    """The same headers for a URL that answers different Accept headers differently."""
    return [(name, b"accept, accept-encoding" if name == b"vary" else value) for name, value in described]


def _conditional(
    request: Request[Any, Any, Any],
    make: Callable[[], bytes],
    tag: Callable[[Encoding], bytes],
    described: Headers,
    content_type: bytes = JSON,
    further: Callable[[], Headers] = list,
) -> Response[bytes]:
    """What *make* makes in the encoding that the client prefers, or a 304 where it holds that or the plain one already."""
    asked = request.scope["headers"]
    encoding = negotiate(header_value(asked, b"accept-encoding"))
    held = matching_etag(header_value(asked, b"if-none-match"), (tag(encoding), tag(IDENTITY)))
    if held is not None:
        return Response(b"", status_code=304, headers=_text([(b"etag", held), *described]))
    body = make()
    if len(body) < COMPRESS_FROM:
        encoding = IDENTITY
    described = [(b"content-type", content_type), (b"etag", tag(encoding)), *described, *further()]
    if encoding is not IDENTITY:
        described = [*described, (b"content-encoding", encoding.token)]
    return Response(encoding.encode(body), media_type=content_type.decode(), headers=_text(described))


def also_as(*media_types: str) -> type[Operation]:
    """How Litestar documents a handler that answers with *media_types* besides JSON."""

    @dataclass
    class Also(Operation):
        def __post_init__(self) -> None:
            text = Schema(type=OpenAPIType.STRING)
            answer = cast(OpenAPIResponse, (self.responses or {})["200"])
            answer.content = {**(answer.content or {}), **{each: OpenAPIMediaType(schema=text) for each in media_types}}

    return Also


_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def base(request: Request[Any, Any, Any]) -> str:
    """The address that the client knows this service by, for links; none, so that they are relative, if it sends nonsense."""
    host = header_value(request.scope["headers"], b"host")
    return f"{request.scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""


def _text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
