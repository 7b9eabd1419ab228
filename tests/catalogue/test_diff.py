"""Entries that were added, removed and changed between two catalogues."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.diff import changes
from fakes import entry


def a(name: str, link: str = "", **other):
    return entry(name, link=link or f"https://{name}.example/", **other)


@pytest.mark.parametrize(
    ("before", "after", "added", "removed", "changed"),
    [
        pytest.param([a("A"), a("B")], [a("B"), a("A")], [], [], [], id="order"),
        pytest.param([a("A")], [a("A"), a("B")], ["B"], [], [], id="added"),
        pytest.param([a("A"), a("B")], [a("A")], [], ["B"], [], id="removed"),
        pytest.param([a("A")], [a("A", auth="OAuth")], [], [], [("A", "A")], id="changed"),
        pytest.param([a("A", link="https://x/")], [a("B", link="https://x/")], [], [], [("A", "B")], id="renamed"),
        pytest.param([a("A"), a("A")], [a("A")], [], ["A"], [], id="one of two"),
        pytest.param(
            [a("A", auth="1"), a("A", auth="2")], [a("A", auth="3")], [], ["A"], [("A", "A")], id="changed of two"
        ),
        pytest.param(
            [entry("A", link="")], [entry("B", link="")], ["B"], ["A"], [], id="an empty link identifies nothing"
        ),
    ],
)
def test_an_entry_is_the_same_by_its_name_or_its_link(before, after, added, removed, changed):
    found = changes(Catalogue.of(before), Catalogue.of(after))
    assert [each.name for each in found.added] == added
    assert [each.name for each in found.removed] == removed
    assert [(each.before.name, each.after.name) for each in found.changed] == changed


entries = st.lists(
    st.builds(a, st.sampled_from("ABC"), link=st.sampled_from(["x", "y", ""]), auth=st.sampled_from(["", "1"])),
    min_size=1,
    max_size=8,
)


@given(entries, entries)
def test_the_changes_turn_the_first_catalogue_into_the_second(before, after):
    found = changes(Catalogue.of(before), Catalogue.of(after))
    made = Counter(before)
    made.subtract([*found.removed, *(each.before for each in found.changed)])
    assert min(made.values()) >= 0
    made.update([*found.added, *(each.after for each in found.changed)])
    assert +made == Counter(after)
