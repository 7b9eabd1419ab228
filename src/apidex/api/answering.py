"""What the handlers share: an answer from the catalogue, an answer about this moment, and the address that links begin with."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation

from apidex.answers import (
    COMPRESS_FROM,
    IDENTITY,
    JSON,
    Encoding,
    Headers,
    age_headers,
    entity_tag,
    joined,
    negotiate,
    unchanged,
    version_headers,
)
from apidex.service import Service

ServiceDependency = SkipValidation[NamedDependency[Service]]

UNCHANGED = {304: ResponseSpec(None, description="The client holds this answer already", generate_examples=False)}


def from_catalogue(request: Request[Any, Any, Any], service: Service, body: bytes) -> Response[bytes]:
    """An answer that is the same as long as the catalogue is."""
    current, limits = service.refresher.current, service.refresher.limits
    described = [*version_headers(current, limits), *age_headers(current, limits, service.refresher.age())]
    return _conditional(request, body, lambda encoding: entity_tag(current, encoding), described)


def about_now(request: Request[Any, Any, Any], service: Service, view: msgspec.Struct) -> Response[Any]:
    """An answer about this moment: caches must ask again, and its tag is made of its bytes."""
    current, limits = service.refresher.current, service.refresher.limits
    body = msgspec.json.encode(view)
    digest = hashlib.sha256(body).hexdigest()[:32]
    described = [
        (b"cache-control", b"no-cache"),
        *(pair for pair in version_headers(current, limits) if pair[0] != b"cache-control"),
        *age_headers(current, limits, service.refresher.age()),
    ]
    return _conditional(request, body, lambda encoding: f'"{digest}{encoding.suffix}"'.encode(), described)


def _conditional(
    request: Request[Any, Any, Any], body: bytes, tag: Callable[[Encoding], bytes], described: Headers
) -> Response[bytes]:
    """*body* in the encoding that the client prefers, or a 304 where it holds the one or the plain one already."""
    asked = request.scope["headers"]
    encoding = negotiate(joined(asked, b"accept-encoding"))
    held = unchanged(joined(asked, b"if-none-match"), (tag(encoding), tag(IDENTITY)))
    if held is not None:
        return Response(b"", status_code=304, headers=_text([(b"etag", held), *described]))
    if len(body) < COMPRESS_FROM:
        encoding = IDENTITY
    if encoding is not IDENTITY:
        described = [*described, (b"content-encoding", encoding.token)]
    return Response(
        encoding.encode(body), media_type=JSON.decode(), headers=_text([(b"etag", tag(encoding)), *described])
    )


_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def base(request: Request[Any, Any, Any]) -> str:
    """The address that the client knows this service by, for links; none, so that they are relative, if it sends nonsense."""
    host = joined(request.scope["headers"], b"host")
    return f"{request.scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""


def _text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
