"""The payload of a catalogue in Redis. Pure.

A MessagePack envelope holds the compressed canonical bytes, and what a reader needs to verify them. CODEC_VERSION is part of
every key in Redis, so that releases with different payloads do not read each other's. Within a version readers ignore unknown
members, and new members have defaults.
"""

import msgspec
import zstandard

from apidex.catalogue.buffers import ByteBuffer
from apidex.catalogue.catalogue import Catalogue, CatalogueSink, MemorySink
from apidex.catalogue.formats.report import Parsed, Report
from apidex.errors import CatalogueError, CodecError

CODEC_VERSION = 1

_LEVEL = 3

_GROWTH, _REPORT = 4, 2**20
"""How many times as many bytes as its list a catalogue may have, whose entries name every field, and how many its report."""

_PIECE = 2**20
"""Bytes that are decompressed at a time."""


class _Envelope(msgspec.Struct, frozen=True):
    wire: int
    digest: str
    report: Report
    size: int
    canonical: memoryview  # saves a copy


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Envelope).decode


def size_limit(list_bytes: int) -> int:
    """The most bytes, compressed or not, of a catalogue whose list has at most *list_bytes*. No larger one is published."""
    return _GROWTH * list_bytes + _REPORT


def to_bytes(parsed: Parsed) -> bytes:
    """Return the payload for *parsed*."""
    canonical = parsed.catalogue.canonical
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(canonical)
    envelope = (CODEC_VERSION, parsed.catalogue.digest, parsed.report, len(canonical), memoryview(compressed))
    return _encode(_Envelope(*envelope))


def declared_size(payload: ByteBuffer) -> int:
    """The size to which *payload* declares to decompress, in bytes; 0 for a malformed one."""
    try:
        return max(0, _decode(payload).size)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0


def from_bytes(payload: ByteBuffer, limit: int, sink: CatalogueSink | None = None) -> Parsed:
    """Return the catalogue and the report in *payload*, decompressed into *sink* and verified.

    Never takes more than *limit* bytes of memory for the canonical bytes. Raises CodecError of kind `damaged` for a malformed
    envelope, `version` for another codec version, `digest` for content with another digest than declared, and
    `too_large` above the limit.
    """
    try:
        envelope = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError("damaged", f"the payload is malformed: {error}") from None
    if envelope.wire != CODEC_VERSION:
        raise CodecError("version", f"the payload has codec version {envelope.wire}; only {CODEC_VERSION} is supported")
    if envelope.size > limit:
        raise CodecError("too_large", f"the catalogue has {envelope.size} bytes; at most {limit} are allowed")
    catalogue = _catalogue(envelope, MemorySink() if sink is None else sink)
    if catalogue.digest != envelope.digest:
        raise CodecError(
            "digest", f"the payload's content has digest {catalogue.digest[:12]}; declared is {envelope.digest[:12]}"
        )
    return Parsed(catalogue, envelope.report)


def _catalogue(envelope: _Envelope, sink: CatalogueSink) -> Catalogue:
    try:
        _decompress(envelope, sink)
        return Catalogue.from_canonical(sink)
    except zstandard.ZstdError as error:
        raise CodecError("damaged", f"the payload cannot be decompressed: {error}") from None
    except CatalogueError as error:
        raise CodecError("damaged", str(error)) from None


def _decompress(envelope: _Envelope, sink: CatalogueSink) -> None:
    """Write the canonical bytes to *sink* piece by piece, and never more than the envelope declares."""
    declared = zstandard.frame_content_size(envelope.canonical)
    if declared != envelope.size:
        raise CodecError("damaged", f"the payload decompresses to {declared} bytes; declared are {envelope.size}")
    with zstandard.ZstdDecompressor().stream_reader(envelope.canonical) as reader:
        left = envelope.size
        while left and (piece := reader.read(min(left, _PIECE))):
            left -= sink.write(piece)
        if left or reader.read(1):
            raise CodecError("damaged", f"the payload does not decompress to the declared {envelope.size} bytes")
