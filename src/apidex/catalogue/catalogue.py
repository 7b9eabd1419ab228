"""A catalogue: valid entries in upstream order, as canonical bytes with their digest.

Pure: knows no Redis, no HTTP, no clock.
"""

import hashlib
import io
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Protocol

import msgspec
from stringzilla import Str

from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.entry import Entry, check_all
from apidex.errors import CatalogueError, EntryError

_BATCH = 512
"""Entries that are decoded or encoded at a time."""

_PIECE = 2**16
"""Canonical bytes that are read at a time."""

_RUN = 2**15
"""Bytes of entries that are added to a response in one step."""


_encode = msgspec.json.Encoder().encode
_decode_entries = msgspec.json.Decoder(list[Entry]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode


class CatalogueSink(Protocol):
    """Append-only byte sink for a catalogue's canonical bytes that also receives each decoded batch."""

    def write(self, data: bytes, /) -> int:
        """Append *data*."""

    def getvalue(self) -> ByteBuffer:
        """Return all bytes written."""

    def on_batch(self, entries: list[Entry], /) -> None:
        """Receive some entries that were checked. Every entry is in one batch, in order."""


class MemorySink(io.BytesIO):
    """A sink in this process that ignores batches."""

    def on_batch(self, entries: list[Entry], /) -> None:
        """As `CatalogueSink.on_batch`."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """An immutable sequence of entries, kept as the bytes that responses are cut from.

    *canonical* is the JSON list of all entries without white space. Entry *i* is `canonical[bounds[i]:bounds[i + 1] - 1]`.
    *longest* is the size of the longest entry, in bytes. Two catalogues are the same when their digests are.
    """

    canonical: ByteBuffer
    bounds: IntArray
    digest: str
    categories: int
    longest: int

    @classmethod
    def of(cls, entries: Iterable[Entry], sink: CatalogueSink | None = None) -> "Catalogue":
        """Return the catalogue of *entries*, written to *sink* as they come.

        Raises EntryError for an invalid entry, and CatalogueError when there are none.
        """
        sink, builder, iterator = MemorySink() if sink is None else sink, CatalogueBuilder(), iter(entries)
        separator = b"["
        while batch := list(islice(iterator, _BATCH)):
            sink.write(separator + builder.add(batch))
            sink.on_batch(batch)
            separator = b","
        sink.write(b"]")
        return builder.finish(sink.getvalue())

    @classmethod
    def from_canonical(cls, sink: CatalogueSink) -> "Catalogue":
        """Return the catalogue whose canonical bytes *sink* holds. Raises CatalogueError when they are not canonical."""
        builder, canonical = CatalogueBuilder(), sink.getvalue()
        try:
            for piece in _pieces(canonical):
                batch = _decode_entries(b"[%b]" % piece)
                if builder.add(batch) != piece:
                    raise CatalogueError("unreadable", "the bytes are a catalogue, but not in canonical form")
                sink.on_batch(batch)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CatalogueError("unreadable", f"the bytes are not a canonical catalogue: {error}") from None
        except EntryError as error:
            raise CatalogueError("unreadable", f"an entry is invalid: {error}") from None
        return builder.finish(canonical)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, position: int) -> Entry:
        return _decode_entry(self.encoded(position))

    def __iter__(self) -> Iterator[Entry]:
        """Decode all entries, a batch at a time."""
        return chain.from_iterable(self.batches())

    def encoded(self, position: int) -> bytes:
        """The JSON of one entry."""
        return bytes(self.canonical[self.bounds[position] : self.bounds[position + 1] - 1])

    def is_wide(self, positions: Sequence[int], limit: int) -> bool:
        """Whether `select` would return more than *limit* bytes, which are two or more. The *positions* ascend."""
        bounds = self.bounds
        if not positions or bounds[positions[-1] + 1] - bounds[positions[0]] < limit:
            return False
        return sum([bounds[i + 1] - bounds[i] for i in positions]) >= limit

    def select(self, positions: Iterable[int]) -> bytes:
        """The JSON list of the entries at *positions*, in that order: the response to a search."""
        canonical, bounds = self.canonical, self.bounds
        return b"[%b]" % b",".join([canonical[bounds[i] : bounds[i + 1] - 1] for i in positions])

    def select_in_pieces(self, batches: Iterable[Sequence[int]]) -> Iterator[bytes]:
        """The result of `select` for all *batches*, in pieces of some kibibytes; an empty piece for an empty batch."""
        before = b"["
        for run in self.runs(batches):
            if len(run):
                yield before + self.select(run)[1:-1]
                before = b","
            else:
                yield b""
        yield b"]" if before == b"," else b"[]"

    def runs(self, batches: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
        """The positions of all *batches*, in runs whose entries total some kibibytes; an empty run for an empty batch."""
        bounds = self.bounds
        for batch in batches:
            begin = size = 0
            for end, position in enumerate(batch, 1):
                size += bounds[position + 1] - bounds[position]
                if size >= _RUN:
                    yield batch[begin:end]
                    begin, size = end, 0
            if begin < len(batch) or not begin:
                yield batch[begin:]

    def names(self) -> list[str]:
        """All names, in order."""
        return [entry.name for entry in self]

    def batches(self) -> Iterator[list[Entry]]:
        """All entries, some in each list."""
        start, bounds = 0, self.bounds
        while start < len(self):
            end = min(start + _BATCH, len(self))
            end = max(start + 1, bisect_left(bounds, bounds[start] + 4 * _PIECE, start, end))
            yield _decode_entries(b"[%b]" % bytes(self.canonical[bounds[start] : bounds[end] - 1]))
            start = end


class CatalogueBuilder:
    """Bounds, categories and the longest entry of a catalogue while batches of entries are added."""

    def __init__(self) -> None:
        self._bounds = array("Q", [1])
        self._categories: set[str] = set()
        self._longest = 0

    def add(self, entries: list[Entry]) -> bytes:
        """Append *entries*, and return their JSON, with commas between. Raises EntryError for an invalid one."""
        encoded = [_encode(entry) for entry in entries]
        longest = max(map(len, encoded), default=0)
        check_all(entries, longest)
        self._longest = max(self._longest, longest)
        ends = accumulate([len(entry) + 1 for entry in encoded], initial=self._bounds[-1])
        self._bounds.extend(islice(ends, 1, None))
        self._categories.update([entry.category for entry in entries])
        return b",".join(encoded)

    def finish(self, canonical: ByteBuffer) -> Catalogue:
        """Return the catalogue, whose *canonical* bytes are complete. Raises CatalogueError when there was no entry."""
        if len(self._bounds) == 1:
            raise CatalogueError("empty", "it has no entries")
        digest, categories = hashlib.sha256(canonical).hexdigest(), len(self._categories - {""})
        return Catalogue(canonical, self._bounds, digest, categories, self._longest)


_BETWEEN = b'},{"API":'
"""The bytes between two entries. They occur nowhere else: in a text, quotation marks are escaped."""


def _pieces(canonical: ByteBuffer) -> Iterator[bytes]:
    """The JSON of all entries, cut between some of them. Raises CatalogueError if it is not a list."""
    end = len(canonical) - 1
    if canonical[:1] != b"[" or canonical[-1:] != b"]" or end < 1:
        raise CatalogueError("unreadable", "the bytes are not a canonical catalogue: they are not a JSON list")
    text, start = Str(canonical), 1
    while start < end:
        between = text.find(_BETWEEN, start + _PIECE)
        stop = end if between < 0 else between + 1
        yield bytes(canonical[start:stop])
        start = stop + 1
