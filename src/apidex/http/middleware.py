"""What all responses of Litestar have in common, added around it: HEAD wherever GET works, undecoded names, CORS, metrics."""

import time

from apidex.http.asgi import ASGIApp, Message, Receive, Scope, Send
from apidex.http.context import ReplicaContext
from apidex.http.headers import ALLOW, common_headers
from apidex.http.paths import is_single_segment

_ALLOW = (b"allow", ALLOW.encode())
"""Every route can be read and none written. Litestar does not know of the HEAD that is added here."""

_PREFLIGHT = (
    (b"access-control-allow-methods", ALLOW.encode()),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
)
"""The response to a CORS preflight request (Fetch standard)."""


class ResponseMiddleware:
    """ASGI around *app*. A path of one segment is routed undecoded: a `%2F` is part of the name, not a separator."""

    def __init__(self, app: ASGIApp, replica: ReplicaContext) -> None:
        self.app = app
        self._metrics, self._common = replica.metrics, common_headers(replica.served_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond by ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head, is_options = scope["method"] == "HEAD", scope["method"] == "OPTIONS"
        inner = dict(scope)
        if is_single_segment(scope["raw_path"]):
            inner["path"] = scope["raw_path"].decode("latin-1")
        inner["is_head"] = is_head
        if is_head:
            inner["method"] = "GET"

        began = scope.get("head_at") or time.perf_counter()  # a request may have waited for its turn

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Litestar leaves the route's template here; requests without a route are counted together
                route = inner.get("path_template") or "none"
                self._metrics.route(route).observe(message["status"], time.perf_counter() - began)
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"allow"]
                allow = [_ALLOW] if len(headers) < len(message["headers"]) else []
                message["headers"] = [*headers, *self._common, *allow, *(_PREFLIGHT if is_options else ())]
            elif message["type"] == "http.response.body" and is_head:
                message["body"] = b""
            await send(message)

        await self.app(inner, receive, send_on)
