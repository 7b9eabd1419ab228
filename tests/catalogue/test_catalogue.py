"""A catalogue keeps its entries in order, is known by its digest, and has only valid entries."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.catalogue.catalogue import Catalogue, MemorySink
from apidex.catalogue.entry import NAME_LIMIT, TEXT_LIMIT, check, has_control, replace_controls
from apidex.errors import CatalogueError, EntryError
from fakes import entry
from strategies import entries


@given(st.lists(entries, min_size=1), st.data())
def test_a_catalogue_is_its_entries_in_order_and_known_by_the_digest_of_their_json(given_entries, data):
    catalogue = Catalogue.of(given_entries)
    assert list(catalogue) == given_entries
    assert catalogue.names() == [item.name for item in given_entries]
    assert [catalogue[i] for i in range(len(catalogue))] == given_entries
    assert catalogue.categories == len({item.category for item in given_entries} - {""})
    assert catalogue.digest == hashlib.sha256(msgspec.json.encode(given_entries)).hexdigest()
    assert Catalogue.from_canonical(MemorySink(catalogue.canonical)).digest == catalogue.digest
    chosen = data.draw(st.lists(st.integers(0, len(given_entries) - 1), unique=True).map(sorted))
    assert catalogue.select(chosen) == msgspec.json.encode([given_entries[i] for i in chosen])
    size = len(catalogue.select(chosen))
    assert not catalogue.is_wide(chosen, size)
    assert catalogue.is_wide(chosen, size - 1) == bool(chosen)


CANONICAL = Catalogue.of([entry("a")]).canonical


@pytest.mark.parametrize(
    "canonical",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no entries"),
        pytest.param(b"[ ]", id="a space"),
        pytest.param(b"{}", id="not a list"),
        pytest.param(b"[1]", id="not an entry"),
        pytest.param(b"\xff\xfe", id="not a text"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(CANONICAL[:-5], id="truncated"),
        pytest.param(CANONICAL.replace(b",", b", "), id="white space"),
        pytest.param(CANONICAL.replace(b'"API":"a"', b'"API":"a\\n"'), id="control character"),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(canonical):
    with pytest.raises(CatalogueError):
        Catalogue.from_canonical(MemorySink(canonical))


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        pytest.param({"name": "é" * NAME_LIMIT}, {"name": "é" * (NAME_LIMIT + 1)}, id="name"),
        pytest.param({"description": "é" * TEXT_LIMIT}, {"description": "é" * (TEXT_LIMIT + 1)}, id="text"),
        pytest.param({"name": "\u200b"}, {"name": "\u2003"}, id="blank"),
        pytest.param({"name": "Zero\u200bwidth"}, {"name": "Line\u0085feed"}, id="control"),
    ],
)
def test_every_entry_of_a_large_catalogue_is_checked(allowed, refused):
    valid, invalid = ([entry(f"Filler {number}") for number in range(1001)] for _ in range(2))
    valid[700], invalid[700] = (msgspec.structs.replace(valid[0], **other) for other in (allowed, refused))
    fine = Catalogue.of(valid)
    assert Catalogue.from_canonical(MemorySink(fine.canonical)).digest == fine.digest
    with pytest.raises(EntryError):
        Catalogue.of(invalid)
    with pytest.raises(CatalogueError):
        Catalogue.from_canonical(MemorySink(msgspec.json.encode(invalid)))


@given(st.lists(entries, min_size=1))
def test_a_sink_receives_each_entry_once_in_order(given_entries):
    written, read = Noted(), Noted(msgspec.json.encode(given_entries))
    Catalogue.of(given_entries, written)
    Catalogue.from_canonical(read)
    assert written.entries == read.entries == given_entries


class Noted(MemorySink):
    def __init__(self, *data):
        super().__init__(*data)
        self.entries = []

    def on_batch(self, entries):
        self.entries += entries


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (entry(""), "no name"),
        (entry(" \u3000"), "no name"),
        (entry("x" * (NAME_LIMIT + 1)), "257 characters"),
        (entry("a\nb"), "control"),
        (entry("a\x85b"), "control"),
        (entry("a", description="x" * 5000), "5000 characters"),
    ],
)
def test_an_invalid_entry_is_refused_with_the_reason(item, reason):
    with pytest.raises(EntryError, match=reason):
        check(item)


@pytest.mark.parametrize(
    "name",
    ["x" * NAME_LIMIT, " PatentsView ", "Songlink / Odesli", "What's on the menu?", "İBB™ 🎉", "a\u200bb", '"<b>\\'],
)
def test_every_other_character_is_allowed_in_a_name(name):
    assert check(entry(name)).name == name
    assert not has_control(name)


def test_control_characters_become_spaces_and_other_characters_stay():
    assert replace_controls(" a\tb\x00c\x9fd\u00a0 ") == " a b c d\u00a0 "
