"""What an answer says of itself: names and encodings taken from requests, validators, problems, and headers.

Pure, and shared by the fast path and by Litestar's handlers, so that both give the same answer.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote_to_bytes

import msgspec
import zstandard

from apidex.catalogue.entry import NAME_LIMIT, has_control
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.snapshot import Snapshot

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"

ALLOW = "GET, HEAD, OPTIONS"

FAULT = "A fault in Apidex; its log has more."

COMPRESS_FROM = 1024
"""Answers of fewer bytes are sent as they are: they fit into one packet either way."""


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that gets an error for an answer (RFC 9457)."""

    def __init__(self, status: int, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.status, self.detail, self.members = status, detail, members

    def body(self) -> bytes:
        """The problem document."""
        title = HTTPStatus(self.status).phrase
        return msgspec.json.encode({"title": title, "status": self.status, "detail": self.detail, **self.members})


def name_from_path(raw_path: bytes) -> str:
    """The name that a path of one segment asks for. Raises Problem for one that nothing can have."""
    try:
        name = (unquote_to_bytes(raw_path[1:]) if b"%" in raw_path else raw_path[1:]).decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"The name is no valid UTF-8: byte {error.start} of it is wrong.") from None
    if len(name) > NAME_LIMIT:
        raise Problem(400, f"The name has {len(name)} characters; at most {NAME_LIMIT} are allowed.", limit=NAME_LIMIT)
    if has_control(name):
        raise Problem(400, f"The name has control characters; 1 to {NAME_LIMIT} others are allowed.", limit=NAME_LIMIT)
    return name


def is_single_segment(raw_path: bytes) -> bool:
    """Whether a path has just one segment, which is not empty: then it is a search, whatever it says."""
    return len(raw_path) > 1 and raw_path.rfind(b"/") == 0


def header_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a header; several lines of the same name are one list (RFC 9110, section 5.3)."""
    return b",".join([value for key, value in headers if key == name])


class Stream(Protocol):
    """An encoder for a body that comes in pieces."""

    def compress(self, piece: bytes, /) -> bytes:
        """Some more of the encoded body."""
        ...

    def flush(self) -> bytes:
        """The end of it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A content coding, for whole bodies and for those in pieces.

    *suffix* sets its entity tags apart, and names the encoder's version, for another one writes other bytes.
    """

    token: bytes
    suffix: str
    encode: Callable[[bytes], bytes]
    stream: Callable[[], Stream]


class _AsItIs:
    def compress(self, piece: bytes) -> bytes:
        return piece

    def flush(self) -> bytes:
        return b""


def _gzip_stream() -> Stream:
    return zlib.compressobj(level=6, wbits=31)


def _gzip(body: bytes) -> bytes:
    stream = _gzip_stream()
    return stream.compress(body) + stream.flush()


_ZSTD_LEVEL = 3
_ZSTD = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)


def _zstd_stream() -> Stream:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()  # each of its own: they are used in turn


IDENTITY = Encoding(b"identity", "", bytes, _AsItIs)
GZIP = Encoding(b"gzip", f"-gzip{zlib.ZLIB_RUNTIME_VERSION}", _gzip, _gzip_stream)
ZSTD = Encoding(b"zstd", "-zstd{}.{}.{}".format(*zstandard.ZSTD_VERSION), _ZSTD.compress, _zstd_stream)


@lru_cache(maxsize=256)
def negotiate(accept_encoding: bytes) -> Encoding:
    """The best encoding that an Accept-Encoding header allows (RFC 9110, section 12.5.3); without compression if none is."""
    weights = dict(_weights(accept_encoding))
    anything = weights.get(b"*", 0.0)
    allowed = [(weights.get(encoding.token, anything), encoding) for encoding in (ZSTD, GZIP)]
    weight, best = max(allowed, key=lambda pair: pair[0])
    return best if weight > 0 and weight >= weights.get(b"identity", 0.0) else IDENTITY


def _weights(accept_encoding: bytes) -> Iterable[tuple[bytes, float]]:
    for item in accept_encoding.lower().split(b","):
        token, _, parameter = item.partition(b";")
        match = re.fullmatch(rb"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", parameter) if parameter else None
        if token.strip() and (match or not parameter):
            yield token.strip(), float(match[1]) if match else 1.0


def entity_tag(snapshot: Snapshot, encoding: Encoding) -> bytes:
    """The strong validator of every answer cut from the snapshot's catalogue: another catalogue or encoding, another tag."""
    return f'"{snapshot.catalogue.digest[:32]}{encoding.suffix}"'.encode()


_TAG = re.compile(rb'(?:W/)?("[^"]*")')


def matching_etag(if_none_match: bytes, tags: Sequence[bytes]) -> bytes | None:
    """The one of *tags* that the client holds already (RFC 9110, section 13.1.2), or None."""
    if if_none_match in tags:  # most clients send the one that they were given
        return if_none_match
    if if_none_match.strip() == b"*":
        return tags[0]
    held = set(_TAG.findall(if_none_match))
    return next((tag for tag in tags if tag in held), None)


def encode_headers(headers: Headers) -> bytes:
    """*headers* as HTTP/1.1 sends them, each line with its end."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def decode_headers(lines: bytes) -> Headers:
    """The reverse of `encode_headers`."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]


def common_headers(served_by: str) -> Headers:
    """What every answer of this replica carries, errors included."""
    return [
        (b"x-served-by", served_by.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"*"),
    ]


def version_headers(snapshot: Snapshot, policy: FreshnessPolicy) -> Headers:
    """What every answer from the catalogue says of it, as long as the snapshot is current."""
    return [
        (b"cache-control", policy.cache_control(bundled=snapshot.bundled).encode()),
        (b"vary", b"accept-encoding"),
        (b"catalogue-version", snapshot.version.encode()),
    ]


def age_headers(snapshot: Snapshot, policy: FreshnessPolicy, age: float) -> Headers:
    """What every answer from the catalogue says of it at this moment."""
    return [
        (b"age", b"%d" % age),
        (b"cache-status", policy.cache_status(age, bundled=snapshot.bundled, shared=snapshot.shared).encode()),
    ]


def problem_headers(body: bytes) -> Headers:
    """The headers of a problem document, besides the common ones."""
    return [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
