"""What holds for every answer of Litestar's, put around it once: HEAD wherever GET works, undecoded names, CORS, counting."""

import time

from apidex.http.asgi import ASGIApp, Message, Receive, Scope, Send
from apidex.http.metrics import Metrics
from apidex.http.responses import ALLOW, common_headers, is_single_segment


class ResponseMiddleware:
    """ASGI around *app*.

    A path of one segment is routed as it was sent, not decoded: a `%2F` in it is part of the name, not a border.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, served_by: str) -> None:
        self.app = app
        self._metrics = metrics
        self._common = common_headers(served_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head, is_options = scope["method"] == "HEAD", scope["method"] == "OPTIONS"
        inner = dict(scope)
        if is_single_segment(scope["raw_path"]):
            inner["path"] = scope["raw_path"].decode("latin-1")
        if is_head:
            inner["method"] = "GET"

        began = time.perf_counter()

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Litestar leaves the route's template here; what has none is counted together, whatever was asked
                route = inner.get("path_template") or "none"
                self._metrics.route(route).answered(message["status"], time.perf_counter() - began)
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"allow"]
                allow = len(headers) < len(message["headers"])
                message["headers"] = [*headers, *self._common, *_allow(allow), *_preflight(is_options)]
            elif message["type"] == "http.response.body" and is_head:
                message["body"] = b""
            await send(message)

        await self.app(inner, receive, send_on)


def _allow(wanted: bool) -> list[tuple[bytes, bytes]]:
    """Every route here can be read, and none can be written; Litestar does not know of the HEAD that is added here."""
    return [(b"allow", ALLOW.encode())] if wanted else []


def _preflight(wanted: bool) -> list[tuple[bytes, bytes]]:
    """The rest of the answer to a browser that asks before it asks (Fetch standard, CORS preflight)."""
    if not wanted:
        return []
    return [
        (b"access-control-allow-methods", ALLOW.encode()),
        (b"access-control-allow-headers", b"*"),
        (b"access-control-max-age", b"86400"),
    ]
