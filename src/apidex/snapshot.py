"""What a replica answers from: one catalogue, its index, and how old it is. Pure; `refresh` replaces it, others read it."""

from dataclasses import dataclass

from apidex.catalogue import Catalogue
from apidex.formats import Report
from apidex.index import Index


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One catalogue with its index: immutable, replaced in one assignment.

    *stamp* orders snapshots, in milliseconds. *checked* is the moment, on the steady clock, at which the upstream last
    vouched for the catalogue; from it all ages are counted.
    """

    catalogue: Catalogue
    index: Index
    report: Report
    stamp: int
    source: str
    checked: float
    bundled: bool = False

    @property
    def version(self) -> str:
        """Order and identity in one word: `<stamp>-<start of the digest>`."""
        return f"{self.stamp}-{self.catalogue.digest[:12]}"

    def age(self, steady: float) -> float:
        """Seconds since the upstream vouched for it; never less than 0."""
        return max(0.0, steady - self.checked)
