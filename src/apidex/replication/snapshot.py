"""What a replica answers from: one catalogue, its indexes and its age. Pure; the refresher replaces it, others read it.

A history holds the previous ones, for clients that are paging through them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.formats import Parsed, Report
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication.validators import NO_VALIDATORS, Validators
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex

Origin = Literal["upstream", "redis", "disk"]
"""Where a replica gets a catalogue from, besides the package."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One catalogue with its index: immutable, replaced in one assignment.

    *stamp* orders snapshots, in milliseconds. *validated_at* is the moment, on the steady clock, at which the upstream last
    validated the catalogue; all ages are counted from it. *size_checked* says that the replica that fetched it knew how many
    entries there were before, and *shared* that a Redis that is not embedded holds it, as far as this replica knows. *origin* is
    where this replica got the content from; for a copy on disk, what has validated it since. *build_seconds* is the time that the
    build took.
    """

    catalogue: Catalogue
    index: NameIndex
    search: SearchIndex
    report: Report
    stamp: int
    source: str
    validated_at: float
    validators: Validators = NO_VALIDATORS
    origin: Origin | Literal["starter"] = "upstream"
    size_checked: bool = False
    shared: bool = False
    build_seconds: float = 0.0

    @classmethod
    def of(cls, built: IndexedCatalogue, stamp: int, source: str, validated_at: float, **labels: Any) -> "Snapshot":  # noqa: ANN401
        """Return the snapshot of a catalogue with its indexes. *labels* are the fields that have a default."""
        parsed = built.parsed
        return cls(parsed.catalogue, built.index, built.search, parsed.report, stamp, source, validated_at, **labels)

    @property
    def bundled(self) -> bool:
        """Whether it is the starter catalogue."""
        return self.origin == "starter"

    @property
    def is_provisional(self) -> bool:
        """Whether neither Redis nor the upstream has validated it. Their catalogue replaces it, and it is not published."""
        return self.origin in ("starter", "disk")

    def origin_after(self, validation: Origin) -> Origin | Literal["starter"]:
        """Return its origin after a *validation*: the validation, if it was provisional."""
        return validation if self.is_provisional else self.origin

    def is_confirmed_by(self, found: "Snapshot") -> bool:
        """Whether *found*, which the upstream gave, has the same content from the same source."""
        return found.catalogue.digest == self.catalogue.digest and found.source == self.source

    def confirmed_by(self, found: "Snapshot") -> "Snapshot":
        """Return this snapshot with the validation and the report of *found*, which confirms it: the content keeps its stamp."""
        origin, validators = self.origin_after("upstream"), found.validators
        return replace(self, validated_at=found.validated_at, origin=origin, report=found.report, validators=validators)

    @property
    def parsed(self) -> Parsed:
        """The part that is published."""
        return Parsed(self.catalogue, self.report)

    @property
    def version(self) -> str:
        """Order and identity in one word: `<stamp>-<start of the digest>`."""
        return f"{self.stamp}-{self.catalogue.digest[:12]}"

    def has_content_of(self, version: str) -> bool:
        """Whether *version* names the same entries, under whichever stamp."""
        return self.version.partition("-")[2] == version.partition("-")[2]

    def age(self, steady: float) -> float:
        """Seconds since the upstream validated it; never less than 0."""
        return max(0.0, steady - self.validated_at)


HISTORY_COUNT, HISTORY_BYTES = 4, 64 * 2**20
"""How many catalogues are held after they were replaced, and how much memory they may take together."""


class SnapshotHistory:
    """The snapshots before the current one, for pages and comparisons that began then. Bounded in number and in bytes."""

    def __init__(self, count: int = HISTORY_COUNT, limit: int = HISTORY_BYTES) -> None:
        self._count, self._limit = count, limit
        self._held: list[Snapshot] = []

    def __iter__(self) -> Iterator[Snapshot]:
        """Iterate over those that are held, the oldest first."""
        return iter(self._held)

    def add(self, snapshot: Snapshot) -> None:
        """Add *snapshot*, and remove the oldest ones beyond the bounds; itself, if it is too large."""
        self._held = [held for held in self._held if held.catalogue.digest != snapshot.catalogue.digest]
        self._held.append(snapshot)
        while len(self._held) > self._count or sum(map(_size, self._held)) > self._limit:
            self._held.pop(0)

    def find(self, version: str) -> Snapshot | None:
        """The one with the content that *version* names, if it is still held."""
        return next((held for held in self if held.has_content_of(version)), None)


def _size(snapshot: Snapshot) -> int:
    names: int = snapshot.index.text.nbytes
    return len(snapshot.catalogue.canonical) + names + snapshot.search.size
