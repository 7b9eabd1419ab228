"""The right answers, computed from the catalogue itself. Pure.

A catalogue is identified by the first digits of its SHA-256, which every response states. The tester checks the catalogue
against that digest, so that the service under test cannot decide what is right.
"""

import hashlib

import msgspec

DIGEST_LENGTH = 12

_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Named(msgspec.Struct, rename={"name": "API"}):
    name: str


_named = msgspec.json.Decoder(list[_Named]).decode


def digest_of(version: str) -> str:
    """The identity in a `Catalogue-Version`."""
    return version.rpartition("-")[2]


class _Hit(msgspec.Struct):
    entry: msgspec.Raw


class _Page(msgspec.Struct):
    total: int
    hits: list[_Hit]


_page = msgspec.json.Decoder(_Page).decode


class Oracle:
    """The right answers from one catalogue: those of a list comprehension over its entries."""

    def __init__(self, canonical: bytes) -> None:
        self.digest = hashlib.sha256(canonical).hexdigest()[:DIGEST_LENGTH]
        self.names = [item.name for item in _named(canonical)]
        self._entries = _entries(canonical)
        self._known: dict[str, bytes] = {}

    def answer(self, name: str) -> bytes:
        """The bytes that `GET /{name}` must give."""
        if name not in self._known:
            if len(self._known) > 5_000:
                self._known.clear()
            found = [bytes(entry) for each, entry in zip(self.names, self._entries, strict=True) if name in each]
            self._known[name] = b"[" + b",".join(found) + b"]"
        return self._known[name]

    def is_page(self, body: bytes, offset: int, limit: int) -> bool:
        """Whether *body* has the entries from *offset* on, *limit* at most, in the order of the catalogue."""
        try:
            page = _page(body)
        except msgspec.MsgspecError:
            return False
        given = [msgspec.json.decode(hit.entry) for hit in page.hits]
        right = [msgspec.json.decode(entry) for entry in self._entries[offset : offset + limit]]
        return page.total == len(self._entries) and given == right
