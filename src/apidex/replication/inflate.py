"""Content encodings of upstream answers, undone in bounded steps. Pure."""

import zlib
from collections.abc import Iterator

from apidex.errors import UpstreamError

_STEP = 2**16
_GZIP = 31
"""zlib's window bits for a gzip stream."""
_GZIP_MAGIC = b"\x1f\x8b"


class Inflater:
    """Decompresses an answer in bounded steps, so that a small one cannot fill the memory before it is measured.

    *encoding* is its Content-Encoding. Every method raises UpstreamError for an answer that cannot be read.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            text = f"the upstream answered in the encoding {encoding[:40]!r}; only gzip is allowed"
            raise UpstreamError("encoding", text)
        self._stream = zlib.decompressobj(wbits=_GZIP) if "gzip" in encoding else None
        self._held = b""  # behind a member: half of what the next one begins with

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what *chunk* adds to the answer, in pieces of bounded size."""
        if self._stream is None:
            yield chunk
            return
        try:
            chunk, self._held = self._held + chunk, b""
            while chunk:
                # several members are allowed (RFC 1952, section 2.2); other bytes after one are ignored
                if self._stream.eof:
                    if chunk == _GZIP_MAGIC[:1]:
                        self._held = chunk
                        return
                    if not chunk.startswith(_GZIP_MAGIC):
                        return
                    self._stream = zlib.decompressobj(wbits=_GZIP)
                yield self._stream.decompress(chunk, _STEP)
                chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        except zlib.error as error:
            raise UpstreamError("encoding", f"the upstream's gzip stream is damaged: {error}") from None

    def finish(self) -> None:
        """Check that the answer was complete."""
        if self._stream is not None and (self._held or not self._stream.eof):
            raise UpstreamError("broken", "the upstream's gzip stream broke off")
