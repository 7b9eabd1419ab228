"""Response headers that the fast path and Litestar's handlers have in common, and how headers are read and written."""

import re
from collections.abc import Iterable, Sequence

from apidex.http.asgi import Headers
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.snapshot import Snapshot

JSON = b"application/json"

ALLOW = "GET, HEAD, OPTIONS"

PREFERENCES_LIMIT = 1024
"""The longest Accept or Accept-Encoding that is read, in bytes; a longer one counts as none. Thousands of preferences would take
long, and those of the last requests are kept in memory."""


def header_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a header; several lines of the same name are one list (RFC 9110, section 5.3)."""
    return b",".join([value for key, value in headers if key == name])


def weights(preferences: bytes) -> dict[bytes, float]:
    """The weights in an Accept or Accept-Encoding header (RFC 9110, section 12.4.2). Other parameters do not matter."""
    found: dict[bytes, float] = {}
    for item in preferences.lower().split(b","):
        token, *parameters = map(bytes.strip, item.split(b";"))
        given = [
            value.strip() for name, _, value in (each.partition(b"=") for each in parameters) if name.strip() == b"q"
        ]
        weight = given[0] if given else b"1"
        if token and re.fullmatch(rb"[01](?:\.\d{0,3})?", weight):
            found[token] = max(float(weight), found.get(token, 0.0))
    return found


def preferred(headers: Iterable[tuple[bytes, bytes]], media_types: Sequence[str]) -> str:
    """The one of *media_types* that Accept prefers (RFC 9110, section 12.5.1); the first if it is malformed or accepts none."""
    value = header_value(headers, b"accept")
    ranges = weights(value) if len(value) <= PREFERENCES_LIMIT else {}
    order = list(ranges)

    def preference(media_type: str) -> tuple[float, int, int]:
        """The weight of the most specific range that has *media_type*; of equal weights, the more specific, then the first."""
        for less_specific, each in enumerate((media_type, f"{media_type.partition('/')[0]}/*", "*/*")):
            if weight := ranges.get(each.encode(), 0.0):
                return weight, -less_specific, -order.index(each.encode())
            if each.encode() in ranges:  # not acceptable, whatever a wider range says
                break
        return 0.0, 0, 0

    return max(media_types, key=preference)


def encode_headers(headers: Headers) -> bytes:
    """*headers* as HTTP/1.1 sends them, each line with its end."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def decode_headers(lines: bytes) -> Headers:
    """The reverse of `encode_headers`."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]


def common_headers(served_by: str) -> Headers:
    """Headers of every response, errors included."""
    return [
        (b"x-served-by", served_by.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"*"),
    ]


def version_headers(snapshot: Snapshot, policy: FreshnessPolicy) -> Headers:
    """Headers of every response from the catalogue that stay the same as long as the snapshot is current."""
    return [
        (b"cache-control", policy.cache_control(bundled=snapshot.bundled).encode()),
        (b"vary", b"accept-encoding"),
        (b"catalogue-version", snapshot.version.encode()),
    ]


def age_headers(snapshot: Snapshot, policy: FreshnessPolicy, age: float) -> Headers:
    """Headers of every response from the catalogue that change with its *age* in seconds."""
    return [
        (b"age", b"%d" % age),
        (b"cache-status", policy.cache_status(age, bundled=snapshot.bundled, shared=snapshot.shared).encode()),
    ]
