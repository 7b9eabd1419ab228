"""What a catalogue is: checked entries in upstream order, their canonical bytes, and the digest of those.

Pure: knows no Redis, no HTTP, no clock.
"""

import hashlib
import io
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Annotated, Any, Protocol

import msgspec
from stringzilla import Str

from apidex.errors import CatalogueError, EntryError

NAME_LIMIT = 256
"""The longest name, in characters, that an entry can have or a search can ask for."""

TEXT_LIMIT = 4096
"""The longest description, link or other text of an entry, in characters."""

Bytes = bytes | bytearray | memoryview
"""Bytes of this process, or in memory that it shares."""

Numbers = array | memoryview  # type: ignore[type-arg] # evaluated, and array takes no argument at run time before 3.12
"""Whole numbers, likewise."""

_BATCH = 512
"""Entries that are in the making at a time."""

_PIECE = 2**16
"""Bytes of a catalogue that are read at a time."""

_CONTROLS_TO_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")


class Entry(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={
        "name": "API",
        "description": "Description",
        "auth": "Auth",
        "https": "HTTPS",
        "cors": "Cors",
        "link": "Link",
        "category": "Category",
    },
):
    """One public API, with the keys that api.publicapis.org gave it."""

    name: Annotated[str, msgspec.Meta(description="Its name, as the upstream spells it")]
    description: Annotated[str, msgspec.Meta(description="What it offers, in one line")]
    auth: Annotated[str, msgspec.Meta(description="apiKey, OAuth, … as the upstream says; empty for none")]
    https: Annotated[bool, msgspec.Meta(description="Whether it is served over HTTPS")]
    cors: Annotated[str, msgspec.Meta(description="yes, no or unknown")]
    link: Annotated[str, msgspec.Meta(description="Where its documentation is")]
    category: Annotated[str, msgspec.Meta(description="The category that the upstream lists it under")]


class _Named(msgspec.Struct, gc=False, rename={"name": "API"}):
    name: str


_encode = msgspec.json.Encoder().encode
_decode_entries = msgspec.json.Decoder(list[Entry]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_names = msgspec.json.Decoder(list[_Named]).decode


def has_control(text: str) -> bool:
    """Whether *text* holds a control character (Unicode category Cc)."""
    return not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text)


def without_controls(text: str) -> str:
    """*text* with each control character made a space, and every other character as it was."""
    return text.translate(_CONTROLS_TO_SPACES) if has_control(text) else text


def check(entry: Entry) -> Entry:
    """Return *entry* if a catalogue may hold it. Raises EntryError with the reason if not."""
    if not entry.name.strip():
        raise EntryError("it has no name")
    if len(entry.name) > NAME_LIMIT:
        raise EntryError(f"its name has {len(entry.name)} characters; at most {NAME_LIMIT} are allowed")
    if has_control(entry.name):
        raise EntryError("its name has control characters")
    for text in (entry.description, entry.auth, entry.cors, entry.link, entry.category):
        if len(text) > TEXT_LIMIT:
            raise EntryError(f"one of its cells has {len(text)} characters; at most {TEXT_LIMIT} are allowed")
    return entry


def _check_all(entries: list[Entry], longest: int) -> None:
    """As `check` for each of them, all at once unless one looks suspicious. The longest takes *longest* bytes as JSON."""
    names = [entry.name for entry in entries]
    suspicious = longest > TEXT_LIMIT or max(map(len, names), default=0) > NAME_LIMIT
    if suspicious or not all(map(str.strip, names)) or has_control("".join(names)):
        for entry in entries:
            check(entry)


class Paper(Protocol):
    """What a catalogue is written on, its bytes one after the other, to be read as a whole."""

    def write(self, data: bytes, /) -> int:
        """Add *data*."""
        ...

    def getvalue(self) -> Bytes:
        """All that was written."""
        ...

    def note(self, entries: list[Entry], /) -> None:
        """Learn what some of the bytes say. Every entry is in one such call, in order, once it was checked."""
        ...


class Sheet(io.BytesIO):
    """Paper of this process, on which nothing is noted besides."""

    def note(self, entries: list[Entry], /) -> None:
        """As `Paper.note`."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """An immutable list of entries, kept as the bytes that answers are cut from.

    *canonical* is the JSON list of all entries without white space. Entry *i* is `canonical[bounds[i]:bounds[i + 1] - 1]`.
    Two catalogues are the same when their digests are.
    """

    canonical: Bytes
    bounds: Numbers
    digest: str
    categories: int

    @classmethod
    def of(cls, entries: Iterable[Entry], paper: Paper | None = None) -> "Catalogue":
        """Return the catalogue of checked *entries*, written on *paper* as they come.

        Raises CatalogueError when there are none.
        """
        paper, account = Sheet() if paper is None else paper, _Account()
        paper.write(b"[")
        for batch in _batches(entries):
            comma = b"," if len(account.bounds) > 1 else b""
            paper.write(comma + account.enter(batch))
            paper.note(batch)
        paper.write(b"]")
        return cls(paper.getvalue(), *account.closed(paper.getvalue()))

    @classmethod
    def from_canonical(cls, paper: Paper) -> "Catalogue":
        """Return the catalogue whose canonical bytes are on *paper*. Raises CatalogueError when they are not canonical."""
        account, canonical = _Account(), paper.getvalue()
        try:
            for piece in _pieces(canonical):
                batch = _decode_entries(b"[%b]" % piece)
                if account.enter(batch) != piece:
                    raise CatalogueError("unreadable", "these bytes hold a catalogue, but not in its canonical form")
                paper.note(batch)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CatalogueError("unreadable", f"these are no canonical bytes of a catalogue: {error}") from None
        except EntryError as error:
            raise CatalogueError("unreadable", f"an entry is not allowed: {error}") from None
        return cls(canonical, *account.closed(canonical))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, position: int) -> Entry:
        return _decode_entry(self.encoded(position))

    def encoded(self, position: int) -> bytes:
        """The JSON of one entry."""
        return bytes(self.canonical[self.bounds[position] : self.bounds[position + 1] - 1])

    def select(self, positions: Iterable[int]) -> bytes:
        """The JSON list of the entries at *positions*, in that order: what a search answers."""
        canonical, bounds = self.canonical, self.bounds
        return b"[%b]" % b",".join([canonical[bounds[i] : bounds[i + 1] - 1] for i in positions])

    def entries(self) -> list[Entry]:
        """All entries, decoded afresh."""
        return _decode_entries(self.canonical)

    def names(self) -> list[str]:
        """All names, in order."""
        return list(self.each_name())

    def each_name(self) -> Iterator[str]:
        """As `names`, some at a time."""
        for piece in self._in_pieces():
            yield from [item.name for item in _decode_names(piece)]

    def each_entry(self) -> Iterator[Entry]:
        """As `entries`, some at a time."""
        return chain.from_iterable(self.batches())

    def batches(self) -> Iterator[list[Entry]]:
        """All entries, some in each list."""
        return map(_decode_entries, self._in_pieces())

    def _in_pieces(self) -> Iterator[bytes]:
        """JSON lists of some entries each, which are all of them together."""
        for start in range(0, len(self), _BATCH):
            end = min(start + _BATCH, len(self))
            yield b"[%b]" % bytes(self.canonical[self.bounds[start] : self.bounds[end] - 1])


class _Account:
    """What is to be known of entries that come in batches: where each begins, and how many categories there are."""

    def __init__(self) -> None:
        self.bounds = array("Q", [1])
        self._categories: set[str] = set()

    def enter(self, entries: list[Entry]) -> bytes:
        """Note some more of them; their JSON, with commas between. Raises EntryError for one that is not allowed."""
        encoded = [_encode(entry) for entry in entries]
        _check_all(entries, max(map(len, encoded), default=0))
        ends = accumulate([len(entry) + 1 for entry in encoded], initial=self.bounds[-1])
        self.bounds.extend(islice(ends, 1, None))
        self._categories.update([entry.category for entry in entries])
        return b",".join(encoded)

    def closed(self, canonical: Bytes) -> "tuple[array[int], str, int]":
        """Bounds, digest and number of categories. Raises CatalogueError when there was no entry."""
        if len(self.bounds) == 1:
            raise CatalogueError("empty", "it has no entries")
        return self.bounds, hashlib.sha256(canonical).hexdigest(), len(self._categories)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    return iter(lambda: list(islice(iterator, _BATCH)), [])


_BETWEEN = b'},{"API":'
"""What stands between two entries and nowhere else: in a text, quotation marks are escaped."""


def _pieces(canonical: Bytes) -> Iterator[bytes]:
    """The JSON of all entries, cut between some of them. Raises CatalogueError for what is no list."""
    end = len(canonical) - 1
    if canonical[:1] != b"[" or canonical[-1:] != b"]" or end < 1:
        raise CatalogueError("unreadable", "these are no canonical bytes of a catalogue: they are no list")
    text, start = Str(canonical), 1
    while start < end:
        between = text.find(_BETWEEN, start + _PIECE)
        stop = end if between < 0 else between + 1
        yield bytes(canonical[start:stop])
        start = stop + 1


def plain(entry: Entry) -> dict[str, Any]:
    """*entry* as a dict with the upstream's keys."""
    result: dict[str, Any] = msgspec.to_builtins(entry)
    return result
