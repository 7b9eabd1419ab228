"""Errors as problem documents (RFC 9457)."""

from http import HTTPStatus

import msgspec

from apidex.http.asgi import Headers, SyncResponse
from apidex.http.headers import encode_headers

PROBLEM_JSON = b"application/problem+json"

FAULT = "Internal error in Apidex. Its log has the details."


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that is answered with an error."""

    def __init__(self, status: int, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.status, self.detail, self.members = status, detail, members

    def body(self) -> bytes:
        """The problem document."""
        title = HTTPStatus(self.status).phrase
        return msgspec.json.encode({"title": title, "status": self.status, "detail": self.detail, **self.members})

    def response(self, further: Headers) -> SyncResponse:
        """The response without ASGI; it has *further* headers."""
        body = self.body()
        headers = [
            (b"content-type", PROBLEM_JSON),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *further,
        ]
        return self.status, encode_headers(headers), body
