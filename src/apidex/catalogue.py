"""What a catalogue is: checked entries in upstream order, their canonical bytes, and the digest of those.

Pure: knows no Redis, no HTTP, no clock.
"""

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

import msgspec

from apidex.errors import CatalogueError, EntryError

NAME_LIMIT = 256
"""The longest name, in characters, that an entry can have or a search can ask for."""

TEXT_LIMIT = 4096
"""The longest description, link or other text of an entry, in characters."""

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


class _Categorised(msgspec.Struct, gc=False, rename={"category": "Category"}):
    category: str


_encode = msgspec.json.Encoder().encode
_decode_entries = msgspec.json.Decoder(list[Entry]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_names = msgspec.json.Decoder(list[_Named]).decode
_decode_categories = msgspec.json.Decoder(list[_Categorised]).decode


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


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """An immutable list of entries, kept as the bytes that answers are cut from.

    *canonical* is the JSON list of all entries without white space. Entry *i* is `canonical[bounds[i]:bounds[i + 1] - 1]`.
    Two catalogues are the same when their digests are.
    """

    canonical: bytes
    bounds: "array[int]"
    digest: str
    categories: int

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Catalogue":
        """Return the catalogue of checked *entries*. Raises CatalogueError when there are none."""
        return cls._of_encoded([_encode(check(entry)) for entry in entries])

    @classmethod
    def from_canonical(cls, canonical: bytes) -> "Catalogue":
        """Return the catalogue whose canonical bytes these are. Raises CatalogueError when they are not canonical."""
        try:
            entries = _decode_entries(canonical)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CatalogueError("unreadable", f"these are no canonical bytes of a catalogue: {error}") from None
        try:
            catalogue = cls.of(entries)
        except EntryError as error:
            raise CatalogueError("unreadable", f"an entry is not allowed: {error}") from None
        if catalogue.canonical != canonical:
            raise CatalogueError("unreadable", "these bytes hold a catalogue, but not in its canonical form")
        return catalogue

    @classmethod
    def _of_encoded(cls, encoded: list[bytes]) -> "Catalogue":
        if not encoded:
            raise CatalogueError("empty", "it has no entries")
        canonical = b"[%b]" % b",".join(encoded)
        bounds = array("Q", accumulate((len(entry) + 1 for entry in encoded), initial=1))
        categories = len({item.category for item in _decode_categories(canonical)})
        return cls(canonical, bounds, hashlib.sha256(canonical).hexdigest(), categories)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, position: int) -> Entry:
        return _decode_entry(self.encoded(position))

    def encoded(self, position: int) -> bytes:
        """The JSON of one entry."""
        return self.canonical[self.bounds[position] : self.bounds[position + 1] - 1]

    def select(self, positions: Iterable[int]) -> bytes:
        """The JSON list of the entries at *positions*, in that order: what a search answers."""
        canonical, bounds = self.canonical, self.bounds
        return b"[%b]" % b",".join([canonical[bounds[i] : bounds[i + 1] - 1] for i in positions])

    def entries(self) -> list[Entry]:
        """All entries, decoded afresh."""
        return _decode_entries(self.canonical)

    def names(self) -> list[str]:
        """All names, in order."""
        return [item.name for item in _decode_names(self.canonical)]


def plain(entry: Entry) -> dict[str, Any]:
    """*entry* as a dict with the upstream's keys."""
    result: dict[str, Any] = msgspec.to_builtins(entry)
    return result
