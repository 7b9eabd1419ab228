"""What to do when the local and the stored catalogue differ. Pure: descriptions of both come in, an action goes out.

The rows of the table in `docs/design.md` are the branches of `reconcile`; decision 4 gives the reasons. The catalogue that the
upstream validated last wins. Stamps only order the catalogues that clients see, and never decrease on a replica.
"""

from dataclasses import dataclass, replace

from apidex.errors import CodecReason
from apidex.replication.guard import Guard, has_grown
from apidex.replication.metadata import StoredCatalogue, StoredState
from apidex.replication.validators import Validators

_SLACK = 1.0
"""Seconds by which two readings of one moment may differ, since every replica translates Redis's clock by itself."""


@dataclass(frozen=True, slots=True)
class Local:
    """The state of a replica: its *catalogue*, described as Redis would hold it, with its times on Redis's clock.

    A *provisional* catalogue, from the package or from disk, is replaced by any stored one, and is not published.

    *newest_stamp* is the newest stamp that it has seen, *dropped* the last stored version that it dropped as unreadable.
    *shown_stamp* is the stamp of the catalogue that clients see if *catalogue* waits for a moment that Redis has not given: no
    client sees its stamp yet, so it can have an older one.
    """

    catalogue: StoredCatalogue
    provisional: bool
    newest_stamp: int
    guard: Guard
    dropped: str = ""
    shown_stamp: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """Give the local catalogue the stamp, the validation and the validators of the stored one. No payload moves."""

    stamp: int
    validated_at: float
    validators: Validators


@dataclass(frozen=True, slots=True)
class Confirm:
    """Give the stored catalogue the local validation, which is later; the local one takes the stamp. No payload moves."""

    stamp: int
    validated_at: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """Load the stored catalogue and answer from it under *stamp*; if it has another stamp, publish it under *stamp* first."""

    stamp: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the local catalogue under *stamp*, in place of the one that has the stamp *expected*, or of none."""

    stamp: int
    validated_at: float
    expected: int | None


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove the stored *catalogue*, because it is *unreadable*, has a wrong size, or was rejected by an operator."""

    catalogue: StoredCatalogue
    unreadable: CodecReason | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Remove everything that is stored."""


Action = Keep | Relabel | Confirm | Adopt | Publish | Drop | Reset


def reconcile(local: Local, state: StoredState) -> Action:
    """Return the next step towards one catalogue. After Drop and Reset, decide again for a state without a catalogue."""
    ours, stored, is_uncertain = local.catalogue, state.catalogue, local.shown_stamp is not None
    shown_stamp = ours.stamp if local.shown_stamp is None else local.shown_stamp
    if state.malformed:
        return Reset()
    if stored is None:
        return Keep() if local.provisional else Publish(ours.stamp, ours.validated_at, expected=None)
    if state.unreadable:
        was_dropped = state.unreadable != "missing" and stored.version == local.dropped
        return Keep() if was_dropped or state.unreadable == "resources" else Drop(stored, state.unreadable)
    if stored.digest == state.rejected:  # published by a replica that does not know the operator's override
        return Keep() if local.provisional or ours.digest == stored.digest else Drop(stored)
    if stored.digest == ours.digest:
        if local.provisional:  # Redis's validation is more reliable than that of a copy
            ours = replace(ours, validated_at=stored.validated_at)
        return _same_content(ours, stored, shown_stamp, state.now)
    adopt = Adopt(newer_stamp(stored.stamp, shown_stamp, local.newest_stamp))
    if local.provisional or ours.digest == state.rejected or has_wrong_size(ours, stored, local.guard):
        return adopt
    if has_wrong_size(stored, ours, local.guard):
        return Drop(stored)
    is_waited_for = is_uncertain and state.activate_at > state.now  # by replicas that have read it
    if stored.validated_at >= ours.validated_at or is_waited_for:
        return adopt
    return Publish(newer_stamp(ours.stamp, stored.stamp, local.newest_stamp), ours.validated_at, stored.stamp)


def _same_content(ours: StoredCatalogue, stored: StoredCatalogue, shown_stamp: int, now: float) -> Action:
    if stored.stamp != ours.stamp:  # two replicas fetched it while Redis was away
        ours = replace(ours, validated_at=max(ours.validated_at, min(stored.validated_at, now)))
    if stored.stamp < shown_stamp:
        return Publish(ours.stamp, ours.validated_at, stored.stamp)
    validated_since = stored.validated_at < ours.validated_at - _SLACK  # by this replica alone, while Redis was away
    redis_was_set_back = stored.validated_at > now + _SLACK
    if validated_since or redis_was_set_back:
        return Confirm(stored.stamp, ours.validated_at)
    return Relabel(stored.stamp, stored.validated_at, stored.validators)


def has_wrong_size(one: StoredCatalogue, other: StoredCatalogue, guard: Guard) -> bool:
    """Whether the size of *one* was never checked, and *one* may be only a part of *other*.

    It is also wrong if it is too large and the size of *other* was checked; otherwise *other* may be the part.
    """
    if one.size_checked or one.source != other.source:
        return False
    is_partial = one.entries < other.entries * guard.min_entries_ratio
    return is_partial or (other.size_checked and has_grown(one.entries, other.entries, guard.max_entries_ratio))


def newer_stamp(stamp: int, shown: int, newest: int) -> int:
    """Return *stamp* if it is newer than the one *shown*, else one that is newer than every stamp seen."""
    return stamp if stamp > shown else max(newest, shown) + 1
