"""A catalogue as the bytes that replicas hand each other through Redis. Pure.

An envelope in MessagePack holds the canonical bytes, compressed, with what a receiver must know to check them. WIRE_VERSION is
part of every key in Redis, so that releases that write differently do not meet; what stays within a version is that old readers
skip members they do not know, and new members have defaults.
"""

import msgspec
import zstandard

from apidex.catalogue.catalogue import Bytes, Catalogue, Paper, Sheet
from apidex.catalogue.formats.report import Parsed, Report
from apidex.errors import CatalogueError, WireError

WIRE_VERSION = 1

_LEVEL = 3

_PIECE = 2**20
"""Bytes that are inflated at a time."""


class _Envelope(msgspec.Struct, frozen=True):
    wire: int
    digest: str
    report: Report
    size: int
    canonical: memoryview  # which spares a copy of it


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Envelope).decode


def to_bytes(parsed: Parsed) -> bytes:
    """The payload that stands for *parsed* in Redis."""
    canonical = parsed.catalogue.canonical
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(canonical)
    envelope = (WIRE_VERSION, parsed.catalogue.digest, parsed.report, len(canonical), memoryview(compressed))
    return _encode(_Envelope(*envelope))


def from_bytes(payload: Bytes, limit: int, paper: Paper | None = None) -> Parsed:
    """The catalogue and report that *payload* stands for, checked to the last byte, inflated on *paper*.

    Never takes more than *limit* bytes of memory for the decompressed catalogue. Raises WireError: with kind `damaged` for what
    is no whole envelope, `version` for one of another wire format, `digest` for one that does not hold what it names,
    `too_large` beyond the limit.
    """
    try:
        envelope = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("damaged", f"the payload is no whole envelope: {error}") from None
    if envelope.wire != WIRE_VERSION:
        raise WireError("version", f"the payload is of wire version {envelope.wire}, not {WIRE_VERSION}")
    if envelope.size > limit:
        raise WireError("too_large", f"the catalogue has {envelope.size} bytes; at most {limit} are taken")
    catalogue = _catalogue(envelope, Sheet() if paper is None else paper)
    if catalogue.digest != envelope.digest:
        raise WireError("digest", f"the payload holds {catalogue.digest[:12]}, and calls it {envelope.digest[:12]}")
    return Parsed(catalogue, envelope.report)


def _catalogue(envelope: _Envelope, paper: Paper) -> Catalogue:
    try:
        _inflate(envelope, paper)
        return Catalogue.from_canonical(paper)
    except zstandard.ZstdError as error:
        raise WireError("damaged", f"the payload cannot be inflated: {error}") from None
    except CatalogueError as error:
        raise WireError("damaged", str(error)) from None


def _inflate(envelope: _Envelope, paper: Paper) -> None:
    """Piece by piece, and never beyond the size that the envelope declares."""
    declared = zstandard.frame_content_size(envelope.canonical)
    if declared != envelope.size:
        raise WireError("damaged", f"the payload inflates to {declared} bytes, and says {envelope.size}")
    with zstandard.ZstdDecompressor().stream_reader(envelope.canonical) as reader:
        left = envelope.size
        while left and (piece := reader.read(min(left, _PIECE))):
            left -= paper.write(piece)
        if left or reader.read(1):
            raise WireError("damaged", f"the payload does not inflate to the {envelope.size} bytes that it says")
