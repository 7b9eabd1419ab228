"""What is wrong with an answer: its bytes, its version, its age. Pure; the right answers are reckoned from the catalogue itself.

A catalogue is known by the start of its SHA-256, which every answer states. Whoever is handed bytes for a catalogue can see
whether they are the ones, so that the service under test cannot tell the tester what is right.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from loadtest.record import Request

DIGEST_LENGTH = 12

_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Named(msgspec.Struct, rename={"name": "API"}):
    name: str


_named = msgspec.json.Decoder(list[_Named]).decode


def digest_of(version: str) -> str:
    """The identity in a `Catalogue-Version`."""
    return version.rpartition("-")[2]


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


@dataclass
class Newest:
    """The newest stamp that had been shown by any moment; rows may come in any order of *done*."""

    _moments: list[float] = field(default_factory=list)
    _stamps: list[int] = field(default_factory=list)

    def shown(self, stamp: int, at: float) -> None:
        """An answer with *stamp* was whole at *at*."""
        place = bisect_right(self._moments, at)
        if place and self._stamps[place - 1] >= stamp:
            return
        self._moments.insert(place, at)
        self._stamps.insert(place, stamp)
        later = place + 1
        while later < len(self._stamps) and self._stamps[later] <= stamp:
            del self._moments[later], self._stamps[later]

    def before(self, moment: float) -> int:
        """The newest that was shown before *moment*; -1 for none."""
        place = bisect_left(self._moments, moment)
        return self._stamps[place - 1] if place else -1


class Order:
    """Whether versions only ever go forward. Two answers are in order if the one was whole before the other was asked for."""

    def __init__(self) -> None:
        self._of_replica: dict[str, Newest] = defaultdict(Newest)
        self._anywhere = Newest()

    def note(self, request: Request) -> None:
        """Learn from an answer."""
        if request.stamp >= 0:
            self._of_replica[request.replica].shown(request.stamp, request.done)
            self._anywhere.shown(request.stamp, request.done)

    def judged(self, request: Request) -> Request:
        """*request*, with its fault if it went back."""
        if not self.went_back(request):
            return request
        newest = self._of_replica[request.replica].before(request.sent)
        return msgspec.structs.replace(request, fault="went back", detail=f"{request.replica} had shown {newest}")

    def went_back(self, request: Request) -> bool:
        """Whether the replica had shown a newer version before this was asked."""
        return 0 <= request.stamp < self._of_replica[request.replica].before(request.sent)

    def is_behind(self, request: Request, allowed: float) -> bool:
        """Whether a newer version had been shown by anybody, *allowed* seconds and more before this was asked."""
        return 0 <= request.stamp < self._anywhere.before(request.sent - allowed)


class Vouched:
    """When the upstream vouched for each catalogue, and so how old an answer from it must at least be.

    *given* are moments and digests, each known to within *sooner* seconds before it; no true age is called false for that.
    """

    SLACK = 1.5
    """Seconds: `Age` counts whole ones, and the upstream's moment is known to a part of one."""

    def __init__(self, given: Iterable[tuple[float, str]], sooner: float = 0.0) -> None:
        self._moments: dict[str, list[float]] = defaultdict(list)
        self._sooner = sooner
        for moment, digest in sorted(given):
            self._moments[digest[:DIGEST_LENGTH]].append(moment)

    def knows(self, version: str) -> bool:
        """Whether the upstream ever gave this catalogue."""
        return digest_of(version) in self._moments

    def is_too_young(self, version: str, age: float, asked: float, answered: float) -> bool:
        """Whether an answer says less than has passed since the upstream last vouched for its catalogue, before it was whole."""
        moments = self._moments.get(digest_of(version), [])
        place = bisect_right(moments, answered + self._sooner)
        return bool(place) and age < asked - moments[place - 1] - self.SLACK
