"""A search finds the names that contain the string, and no other."""

import mmap
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.search import sorted_names, suffix_array
from apidex.search.names import NameIndex
from apidex.search.ranking import FoldedNamesBuilder
from apidex.search.sorted_names import VerifiedNames, index_names
from apidex.search.text import composed
from strategies import texts

letters = st.text(st.sampled_from("abAé€🎉 /%\u0301"), max_size=8)


def naive(names: list[str], wanted: str) -> list[int]:
    return [position for position, name in enumerate(names) if composed(wanted) in composed(name)]


def verified(names: list[str]) -> NameIndex:
    folded, scanned = FoldedNamesBuilder(), NameIndex.build(names)
    folded.add(names)
    sorted_names = index_names(folded.finish(), scanned, folded.word_starts, array("H", bytes(2 * len(names))))
    return VerifiedNames(scanned.text, scanned.starts, sorted_names)


@pytest.fixture(scope="module", params=[NameIndex.build, verified])
def build(request):
    """What makes an index of each kind of some names."""
    return request.param


@given(st.lists(letters | texts, min_size=1, max_size=40), letters.filter(bool), st.integers(0, 40), st.integers(1, 9))
def test_find_equals_the_oracle(build, names, wanted, start, limit):
    index, expected = build(names), naive(names, wanted)
    assert index.find(wanted) == expected
    start %= len(names)
    assert index.find(wanted, start, limit) == [each for each in expected if each >= start][:limit]


def test_names_whose_folded_form_is_cut_are_found(build):
    names = ["Cats", "\ufdfa" * 90 + "xyz", "xyz"]
    index = build(names)
    for wanted in ("xyz", "\ufdfaxyz", names[1], "Cats"):
        assert index.find(wanted) == naive(names, wanted), wanted


def test_many_names_whose_folded_form_may_be_cut_are_not_compared_one_by_one(monkeypatch):
    """The event loop waits for an exact search."""
    monkeypatch.setattr(sorted_names, "_VERIFIED", 20)
    for count, is_scan in ((20, False), (21, True)):
        index, scans = verified(["\N{SNAKE}" * 255 + str(number) for number in range(count)]), []
        with monkeypatch.context() as patch:
            patch.setattr(NameIndex, "find", lambda *given, scans=scans: scans.append(given) or [])
            index.find("\N{SNAKE}19")
        assert bool(scans) is is_scan


@given(st.lists(texts.filter(bool), min_size=1, max_size=20), st.data())
def test_any_piece_of_a_name_finds_it(build, names, data):
    name = data.draw(st.sampled_from(names))
    begin = data.draw(st.integers(0, len(name) - 1))
    piece = name[begin : data.draw(st.integers(begin + 1, len(name)))]
    assert build(names).find(piece) == naive(names, piece)


def test_every_real_name_and_each_of_their_characters_is_found(build, real_entries):
    names = [item["API"] for item in real_entries]
    index = build(names)
    for wanted in {*names, *"".join(names), "zzz", "Cat", "API"}:
        assert index.find(wanted) == naive(names, wanted), wanted


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("aa", [0]), ("a", [0, 1]), ("aaaa", []), ("\u00e9", [2, 3]), ("e\u0301", [2, 3]), ("e", [4]), ("\u0301", [])],
)
def test_a_name_is_found_once_and_in_either_spelling_of_its_accents(build, wanted, found):
    assert build(["aaa", "a", "Pok\u00e9", "Poke\u0301", "Poke"]).find(wanted) == found


def test_more_folded_names_than_can_be_sorted_are_refused():
    with mmap.mmap(-1, 2**31 + 1) as text, pytest.raises(MemoryError, match="at most 2147483648 are allowed"):
        suffix_array.build(text, [], b"", NameIndex.build([]), [], memoryview(b""))
