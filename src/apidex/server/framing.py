"""What RFC 9112 demands of a request's head beyond its grammar, which llhttp checks. Pure."""

import re
from typing import NamedTuple

from apidex.http.asgi import Headers
from apidex.http.problem_details import Problem

HOST_LIMIT = 261
"""The longest Host, in bytes: a name has at most 255 (RFC 1034, section 3.1), and a port five digits."""

TARGET_LIMIT = 8 * 2**10
"""The longest request target, in bytes: at least 8,000 are recommended (RFC 9112, section 3). Litestar keeps the last 1,024 paths
and the last 1,024 queries in memory."""

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::(\d{0,5}))?")
"""uri-host with an optional port (RFC 9110, section 7.2; RFC 3986, section 3.2.2)."""

_PORT_LIMIT = 65535
"""The highest port (RFC 9293, section 3.1). Litestar cannot read the URL of a request with a higher one."""

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class RequestTarget(NamedTuple):
    """The request target in origin form, and the authority that an absolute form names."""

    origin: bytes
    authority: bytes | None


def target_of(method: bytes, url: bytes) -> RequestTarget:
    """The origin form of a request target (RFC 9112, section 3.2). An empty path becomes `/`; `*` stays as it is."""
    if method == b"CONNECT":
        raise Problem(501, "CONNECT is not supported. Allowed are GET, HEAD and OPTIONS.")
    if len(url) > TARGET_LIMIT:
        raise Problem(414, f"The request target has {len(url)} bytes. At most {TARGET_LIMIT} are allowed.")
    if url.startswith(b"/") or url == b"*":
        return RequestTarget(url, None)
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is None:
        raise Problem(400, "The request target is not allowed. Send a path that begins with a slash, as in /Cat.")
    authority, origin = absolute[1], absolute[2]
    return RequestTarget(origin if origin.startswith(b"/") else b"/" + origin, authority)


def is_host(value: bytes) -> bool:
    """Whether *value* is a host with an optional port. It may be empty."""
    found = _HOST.fullmatch(value) if len(value) <= HOST_LIMIT else None
    return found is not None and int(found[1] or 0) <= _PORT_LIMIT


def check_head(method: bytes, version: str, target: RequestTarget, headers: Headers) -> None:
    """Raise Problem for a head that no server may act on.

    A request of HTTP/1.1 has exactly one Host, and it is well formed; an absolute target overrides it (RFC 9112, section 3.2).
    A body is framed by a Content-Length or by `chunked` alone (section 6.1).
    """
    if target.origin == b"*" and method != b"OPTIONS":
        raise Problem(
            400, "The request target * is for OPTIONS only. Send a path that begins with a slash, as in /Cat."
        )
    if target.authority is not None and target.authority[:1] in (b"", b":"):
        raise Problem(400, "The request target has no host. Send a path that begins with a slash, as in /Cat.")
    if version not in ("1.1", "1.0"):
        raise Problem(505, "Only HTTP/1.1 and HTTP/1.0 are supported.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise Problem(400, f"The request has {len(hosts)} Host headers. Send exactly one.")
    for host in (*hosts, target.authority or b""):
        if not is_host(host):
            raise Problem(400, "The Host is malformed. Send a host name or an address, with an optional port.")
    if b"#" in target.origin:
        raise Problem(400, "The request target has a fragment. Percent-encode # as %23.")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or [value.lower() for value in codings] != [b"chunked"]):
        raise Problem(501, "The Transfer-Encoding is not supported. Send chunked alone, with HTTP/1.1.")
