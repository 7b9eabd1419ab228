"""The table of docs/design.md, row by row: what a replica does about the stored catalogue."""

import re
from dataclasses import replace

import pytest

from apidex.errors import CodecReason
from apidex.replication.guard import Guard
from apidex.replication.metadata import REJECT, StoredCatalogue, StoredState
from apidex.replication.reconcile import Adopt, Confirm, Drop, Keep, Local, Publish, Relabel, Reset, reconcile
from apidex.replication.validators import Validators
from conftest import ROOT

NOW = 10_000.0
OURS = StoredCatalogue(
    50, "ours", 100, size_checked=True, validated_at=9_000.0, source="upstream", validators=Validators("1")
)
THEIRS = replace(OURS, stamp=60, digest="theirs", validated_at=9_500.0, validators=Validators("2"))
PART = replace(THEIRS, entries=49, size_checked=False)
GROWN = replace(PART, entries=151)
NEWEST = 70
HAVING = Local(OURS, provisional=False, newest_stamp=NEWEST, guard=Guard(0.5))
STARTING = replace(HAVING, provisional=True)

MISSING = "does not exist"
SAME = "is the local one"
RESTAMPED = "has the same content under another stamp"
LATER = "was validated later than the local one"
EARLIER = "was validated earlier than the local one"
WRONG_SIZE = (
    "comes from the same source, its size was never checked, and it has less than `APIDEX_MIN_ENTRIES_RATIO` of the local number "
    "of entries, or more than `APIDEX_MAX_ENTRIES_RATIO` of it if the size of the local one was checked"
)
SCARCITY = "cannot be read here, because this machine lacks memory, processes or descriptors"
UNREADABLE = "cannot be read (truncated, too large, wrong digest or size, other version, other type)"
TAKEN_BACK = "was rejected by an operator (`rollback`)"
MALFORMED = "has a metadata hash that Apidex did not write"


def same(**labels) -> StoredCatalogue:
    return replace(OURS, validators=Validators("2"), **labels)


def unreadable(stored: StoredCatalogue, reason: CodecReason = "damaged") -> StoredState:
    return StoredState(NOW, stored, unreadable=reason)


def rejecting(digest: str, **labels) -> StoredState:
    return StoredState(NOW, replace(THEIRS, **labels), override=REJECT + digest)


TABLE = [
    (MISSING, "", HAVING, None, Publish(50, 9_000, expected=None)),
    (MISSING, "while ours is the starter catalogue", STARTING, None, Keep()),
    (SAME, "", HAVING, same(validated_at=9_500), Relabel(50, 9_500, Validators("2"))),
    (SAME, "within the slack of two clocks", HAVING, same(validated_at=8_999.5), Relabel(50, 8_999.5, Validators("2"))),
    (SAME, "and we asked the upstream since", HAVING, same(validated_at=8_000), Confirm(50, 9_000)),
    (SAME, "and Redis's clock was set back", HAVING, same(validated_at=NOW + 2), Confirm(50, 9_000)),
    (RESTAMPED, "newer", HAVING, same(stamp=60, validated_at=9_500), Relabel(60, 9_500, Validators("2"))),
    (RESTAMPED, "newer, and we asked the upstream since", HAVING, same(stamp=60, validated_at=8_000), Confirm(60, 9_000)),
    (RESTAMPED, "older", HAVING, same(stamp=40, validated_at=8_000), Publish(50, 9_000, expected=40)),
    (RESTAMPED, "older, but validated later", HAVING, same(stamp=40, validated_at=9_500), Publish(50, 9_500, expected=40)),
    (LATER, "", HAVING, THEIRS, Adopt(60)),
    (LATER, "at the same moment", HAVING, replace(THEIRS, validated_at=9_000), Adopt(60)),
    (LATER, "under a stamp older than one that we have shown", HAVING, replace(THEIRS, stamp=40), Adopt(NEWEST + 1)),
    (LATER, "and is smaller, but its size was checked", HAVING, replace(PART, size_checked=True), Adopt(60)),
    (LATER, "and is smaller, but comes from another source", HAVING, replace(PART, source="other"), Adopt(60)),
    (LATER, "and keeps just enough entries", HAVING, replace(PART, entries=50), Adopt(60)),
    (EARLIER, "", HAVING, replace(THEIRS, validated_at=8_000), Publish(NEWEST + 1, 9_000, expected=60)),
    (EARLIER, "under an older stamp", HAVING, replace(THEIRS, stamp=40, validated_at=8_000), Publish(50, 9_000, expected=40)),
    (EARLIER, "and ours is the starter catalogue", STARTING, replace(THEIRS, validated_at=8_000), Adopt(60)),
    (EARLIER, "and ours is a part of it", replace(HAVING, catalogue=replace(OURS, entries=49, size_checked=False)),
     replace(THEIRS, validated_at=8_000), Adopt(60)),
    (WRONG_SIZE, "", HAVING, PART, Drop(PART)),
    (WRONG_SIZE, "but ours is the starter catalogue", STARTING, PART, Adopt(60)),
    (WRONG_SIZE, "and is larger", HAVING, GROWN, Drop(GROWN)),
    (LATER, "and is larger, but its size was checked", HAVING, replace(GROWN, size_checked=True), Adopt(60)),
    (LATER, "and is larger, but ours may be a part",
     replace(HAVING, catalogue=replace(OURS, size_checked=False)), GROWN, Adopt(60)),
    (EARLIER, "and ours is too large", replace(HAVING, catalogue=replace(OURS, entries=151, size_checked=False)),
     replace(THEIRS, validated_at=8_000), Adopt(60)),
    (UNREADABLE, "", HAVING, unreadable(THEIRS), Drop(THEIRS, "damaged")),
    (UNREADABLE, "and was dropped once", replace(HAVING, dropped=THEIRS.version), unreadable(THEIRS), Keep()),
    (UNREADABLE, "lost again", replace(HAVING, dropped=THEIRS.version), unreadable(THEIRS, "missing"), Drop(THEIRS, "missing")),
    (SCARCITY, "", HAVING, unreadable(THEIRS, "resources"), Keep()),
    (UNREADABLE, "after another one", replace(HAVING, dropped=OURS.version), unreadable(THEIRS), Drop(THEIRS, "damaged")),
    (TAKEN_BACK, "", HAVING, rejecting("theirs"), Drop(THEIRS)),
    (TAKEN_BACK, "and ours is the starter catalogue", STARTING, rejecting("theirs"), Keep()),
    (TAKEN_BACK, "and is ours", replace(HAVING, catalogue=THEIRS), rejecting("theirs"), Keep()),
    (EARLIER, "and ours was taken back", HAVING, rejecting("ours", validated_at=8_000), Adopt(60)),
    (MALFORMED, "", HAVING, StoredState(NOW, None, malformed=True), Reset()),
    (MALFORMED, "and ours is the starter catalogue", STARTING, StoredState(NOW, None, malformed=True), Reset()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("local", "stored", "action"),
    [pytest.param(*case, id=f"{row}, {detail}" if detail else row) for row, detail, *case in TABLE],
)
def test_the_stored_catalogue(local, stored, action):
    assert reconcile(local, stored if isinstance(stored, StoredState) else StoredState(NOW, stored)) == action


def test_the_rows_are_those_of_the_design():
    _, _, design = (ROOT / "docs/design.md").read_text().partition("| the stored catalogue | what the replica does |\n")
    assert set(re.findall(r"^\| (\w.*?) \|", design.partition("\n\n")[0], re.MULTILINE)) == {row for row, *_ in TABLE}
