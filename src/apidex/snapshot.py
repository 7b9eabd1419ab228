"""What a replica answers from: one catalogue, its index, and how old it is. Pure; `refresh` replaces it, others read it."""

from dataclasses import dataclass

from apidex.catalogue import Catalogue
from apidex.formats import Parsed, Report
from apidex.index import Index
from apidex.validators import NONE, Validators


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One catalogue with its index: immutable, replaced in one assignment.

    *stamp* orders snapshots, in milliseconds. *checked* is the moment, on the steady clock, at which the upstream last
    vouched for the catalogue; from it all ages are counted. *validators* are the upstream's. *vetted* says that who fetched it
    knew how many entries there were before, and *shared* that this is the fleet's copy, as far as this replica knows.
    """

    catalogue: Catalogue
    index: Index
    report: Report
    stamp: int
    source: str
    checked: float
    validators: Validators = NONE
    bundled: bool = False
    vetted: bool = False
    shared: bool = False

    @property
    def parsed(self) -> Parsed:
        """What it was made of, fit to be handed to another replica."""
        return Parsed(self.catalogue, self.report)

    @property
    def version(self) -> str:
        """Order and identity in one word: `<stamp>-<start of the digest>`."""
        return f"{self.stamp}-{self.catalogue.digest[:12]}"

    def age(self, steady: float) -> float:
        """Seconds since the upstream vouched for it; never less than 0."""
        return max(0.0, steady - self.checked)
