"""Filters are declared once, and cost no more than stated however many values the catalogue has."""

import pytest

from apidex.search import filters
from apidex.search.facet_columns import FacetColumns
from apidex.search.filters import FILTERS, MAX_FACET_VALUES, FacetIndex, FacetIndexBuilder
from fakes import entry


@pytest.fixture(params=[FacetIndex, FacetColumns])
def index_of(request):
    """What makes an index of each kind of some entries."""

    def make(entries) -> FacetIndex:
        builder = FacetIndexBuilder()
        builder.add(entries)
        index = builder.finish()
        return request.param(index.keys, index.key_numbers)

    return make


@pytest.fixture
def index(index_of) -> FacetIndex:
    """Of 5,000 entries, each with a category of its own but the last ten."""
    categories = [f"Category {number}" for number in range(4_990)] + ["Common"] * 10
    return index_of(entry(f"API {number}", category=category) for number, category in enumerate(categories))


def test_a_facet_of_many_values_lists_the_most_frequent_and_the_requested_ones(index):
    accepted = index.parse({"category": ["category 4711"]})
    facet = index.facets(range(5_000), accepted)["category"]
    assert len(facet) == MAX_FACET_VALUES + 1
    assert (facet[0].value, facet[0].count) == ("Common", 10)
    assert "Category 4711" in [each.value for each in facet]


def test_as_many_values_as_entries_are_not_folded_at_each_search(index, monkeypatch):
    folded = []
    monkeypatch.setattr(filters, "fold", lambda value: folded.append(value) or value)
    for _ in range(3):
        folded.clear()
        index.facets(range(5_000), {})
        assert len(folded) <= MAX_FACET_VALUES * len(FILTERS)


def test_values_are_folded_and_sorted_once_for_all_requests(index, monkeypatch):
    index.parse({"category": ["common"]})
    monkeypatch.setattr(filters, "fold", lambda value: pytest.fail("folded again"))
    assert index.parse({"category": ["COMMON"]}) == {"category": frozenset({"Common"})}
    assert len(index.values("category")) == 4_991


def test_an_error_lists_a_hundred_values_and_how_many_more_there_are(index):
    with pytest.raises(filters.QueryError, match=r"and 4,891 more$") as raised:
        index.parse({"category": ["nothing"]})
    assert len(raised.value.allowed) == 100


READ = {
    "category": ["Things", "C"],
    "auth": ["none", "x"],
    "https": ["true", "false"],
    "cors": ["yes", "no"],
    "provider": ["", "p"],
}
"""What each filter reads in two entries."""


@pytest.mark.parametrize("declared", FILTERS.values(), ids=FILTERS)
def test_each_filter_reads_an_entry_and_labels_values_that_exist(declared):
    entries = (entry("a"), entry("b", category="C", auth="x", https=False, cors="no", provider="p"))
    found = [declared.read(getattr(each, declared.attribute)) for each in entries]
    assert found == READ[declared.name]
    assert not declared.values or set(found) <= set(declared.values)
    assert not declared.values or set(declared.value_labels) <= set(declared.values)


def test_an_entry_without_provider_has_no_value_in_that_facet(index_of):
    index = index_of([entry("a"), entry("b", provider="Oak Ltd")])
    assert index.facets(range(2), {})["provider"] == [filters.Facet("Oak Ltd", 1)]
    assert list(index.positions(index.parse({"provider": ["oak ltd"]}))) == [1]


def test_a_filter_with_too_many_values_is_left_out(monkeypatch):
    monkeypatch.setattr(filters, "MAX_KEY_BYTES", 2**15)
    entries = [entry(f"a{at}", category=f"c{at % 7}", provider=f"p{at}") for at in range(2000)]
    builder = FacetIndexBuilder()
    for start in range(0, len(entries), 50):
        builder.add(entries[start : start + 50])
        assert builder._numbers.size <= 2**15
        assert len(builder._numbers) <= 2**9 + 50
    index = builder.finish()
    assert len(index.keys) == 7
    assert list(index.positions(index.parse({"category": ["C3"]}))) == list(range(3, 2000, 7))
    assert index.facets(index.key_counts, {})["provider"] == []
    with pytest.raises(filters.QueryError, match="no values to filter by"):
        index.parse({"provider": ["p1"]})


def test_an_error_says_where_no_value_is_allowed(index):
    with pytest.raises(
        filters.QueryError, match="provider: 'x' is not allowed; this catalogue has no values to filter by"
    ):
        index.parse({"provider": ["x"]})


def test_an_entry_without_authentication_is_found_by_none(index_of):
    index = index_of([entry("a"), entry("b", auth="OAuth")])
    assert index.values("auth") == ["none", "OAuth"]
    assert [*index.batches(index.parse({"auth": ["NONE"]}))] == [[0]]
