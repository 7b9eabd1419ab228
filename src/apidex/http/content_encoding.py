"""Content encodings, and which of them a request prefers (RFC 9110, sections 8.4 and 12.5.3)."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

import zstandard

from apidex.http.headers import PREFERENCES_LIMIT, weights

COMPRESS_FROM = 1024
"""Shorter bodies are not compressed: they fit into one packet either way."""

STREAM_ABOVE_BYTES = 3 * 2**17
"""Longer bodies are made, compressed and sent in slices: gzip takes 8 ms for this size. The public-apis list is shorter: what
is sent at once is not cut short when a replica is killed."""

_ZSTD_LEVEL = 3

_ZSTD_STREAM = zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, window_log=16, hash_log=14, chain_log=14)
"""The zstd window of streams: each takes 0.6 MB of memory instead of 3.7, and lists of entries become 7 % longer."""

COMPRESSOR_BYTES = 600_000
"""Memory of a compressor while its stream lasts, at most."""


class Compressor(Protocol):
    """An encoder for a body that is sent in chunks."""

    def compress(self, chunk: bytes, /) -> bytes:
        """Encode some more of the body."""

    def flush(self) -> bytes:
        """Encode its end."""


class _Identity:
    def compress(self, chunk: bytes) -> bytes:
        return chunk

    def flush(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A content encoding. *suffix* distinguishes its entity tags and has the encoder's version, whose output may differ."""

    token: bytes
    suffix: str
    encode: Callable[[bytes], bytes]
    compressor: Callable[[], Compressor]

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Encode a body that comes in *pieces*, some of which may be empty."""
        compressor = self.compressor()
        yield from map(compressor.compress, pieces)
        yield compressor.flush()


def _zstd_compressor() -> Compressor:
    # a compressor has one compressobj at a time
    return zstandard.ZstdCompressor(compression_params=_ZSTD_STREAM).compressobj()


IDENTITY = Encoding(b"identity", "", bytes, _Identity)
GZIP = Encoding(
    b"gzip",
    f"-gzip{zlib.ZLIB_RUNTIME_VERSION}",
    partial(zlib.compress, level=6, wbits=31),
    partial(zlib.compressobj, level=6, wbits=31),
)
ZSTD = Encoding(
    b"zstd",
    "-zstd{}.{}.{}".format(*zstandard.ZSTD_VERSION),
    zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress,
    _zstd_compressor,
)


@lru_cache(maxsize=64)
def negotiate(accept_encoding: bytes) -> Encoding:
    """The best encoding that an Accept-Encoding header allows; identity if it allows none, or is too long."""
    if len(accept_encoding) > PREFERENCES_LIMIT:
        return IDENTITY
    allowances = weights(accept_encoding)
    anything = allowances.get(b"*", 0.0)
    allowed = [(allowances.get(encoding.token, anything), encoding) for encoding in (ZSTD, GZIP)]
    weight, best = max(allowed, key=lambda pair: pair[0])
    return best if weight > 0 and weight >= allowances.get(b"identity", 0.0) else IDENTITY
