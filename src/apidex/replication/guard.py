"""Which answers of the upstream are held back because they differ much from the previous catalogue. Pure.

An answer that is held back is refused: the previous catalogue stays, and becomes stale after its maximum age. A refused answer
can be fetched again, while a wrong fact that was adopted is in answers and caches everywhere.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Never

from apidex.errors import CatalogueError, CatalogueReason
from apidex.indexing.builder import IndexedCatalogue
from apidex.replication.metadata import ACCEPT, rejected_by
from apidex.replication.snapshot import Snapshot
from apidex.search.filters import FILTERS, FacetIndex
from apidex.terminal import counted

_FEW = 20
"""A change of at most this many entries or rows is never held back: in small lists, few changes are a large ratio."""

_ACCEPT = "to let it in: apidex catalogue accept"


@dataclass(frozen=True, slots=True)
class Guard:
    """The ratios, compared with the previous catalogue, beyond which an answer is held back.

    It must have at least *min_entries_ratio* and at most *max_entries_ratio* of the previous number of entries. The ratio of
    rejected rows may rise by at most *max_rejected_ratio*. No value of a field may rise, by a tenth or more, to more than
    *max_value_ratio* of the entries.
    """

    min_entries_ratio: float
    max_entries_ratio: float = 1.5
    max_rejected_ratio: float = 0.1
    max_value_ratio: float = 0.9

    def check(
        self, built: IndexedCatalogue, before: Snapshot | None, override: str, earlier: Iterable[Snapshot] = ()
    ) -> bool:
        """Raise CatalogueError for an answer that is held back; return whether its size was checked.

        *before* is None for the first answer. *override* is an operator's, as in `StoredState`. What shrank since *earlier* ones,
        as if a part was lost, may grow back.
        """
        if rejected_by(override) == built.parsed.catalogue.digest:
            _refuse("rolled_back", "an operator has taken it back")
        if override == ACCEPT:
            return True
        if before is None:
            return False
        good = [len(each.catalogue) for each in earlier if each.catalogue.digest != rejected_by(override)]
        self._check_size(len(built.parsed.catalogue), len(before.catalogue), good)
        self._check_rejected(built, before)
        self._check_values(built.search.facets, before.search.facets)
        # the same content is no evidence for its own size
        return before.size_checked or built.parsed.catalogue.digest != before.catalogue.digest

    def _check_size(self, entries: int, before: int, earlier: Iterable[int]) -> None:
        has = f"it has {counted(entries, 'entry')}, {before} before"
        if entries < before * self.min_entries_ratio:
            _refuse("shrunk", f"{has}; at least {self.min_entries_ratio:.0%} must remain; {_ACCEPT}")
        # after one that shrank by more, an operator has accepted it
        whole = max((each for each in earlier if before >= each * self.min_entries_ratio), default=before)
        if has_grown(entries, max(before, whole), self.max_entries_ratio):
            _refuse("grown", f"{has}; at most {self.max_entries_ratio:.0%} are taken; {_ACCEPT}")

    def _check_rejected(self, built: IndexedCatalogue, before: Snapshot) -> None:
        report, rejected = built.parsed.report, built.parsed.report.rejected.total
        expected = report.rows * before.report.rejected.total / max(1, before.report.rows)
        if rejected - expected > max(_FEW, report.rows * self.max_rejected_ratio):
            first = report.rejected.first[0]
            rows = f"{rejected} of {counted(report.rows, 'row')} cannot be read, {before.report.rejected.total} before"
            _refuse("rejected", f"{rows}; the first is row {first.row}: {first.reason}; {_ACCEPT}")

    def _check_values(self, now: FacetIndex, before: FacetIndex) -> None:
        entries, entries_before = len(now.key_numbers), len(before.key_numbers)
        counts_before = _counts(before)
        for (name, value), count in _counts(now).items():
            share, share_before = count / entries, counts_before[name, value] / entries_before
            risen = (share - share_before) * entries
            if share > self.max_value_ratio and risen > max(_FEW, entries / 10):
                shares = f"{share:.0%} of the entries have {value!r} as {name}, {share_before:.0%} before"
                _refuse("facts", f"{shares}; {_ACCEPT}")


def has_grown(entries: int, before: int, max_entries_ratio: float) -> bool:
    """Whether *entries* is too large, compared with the number *before*."""
    return entries > before * max_entries_ratio and entries - before > _FEW


def _counts(facets: FacetIndex) -> "Counter[tuple[str, str]]":
    """The number of entries with each value of each filter."""
    counts = Counter[tuple[str, str]]()
    for number, count in facets.key_counts.items():
        for each in zip(FILTERS, facets.keys[number], strict=True):
            counts[each] += count
    return counts


def _refuse(reason: CatalogueReason, text: str) -> Never:
    raise CatalogueError(reason, text)
