"""Searching as people type: the relevance cases, and naive oracles for everything that is counted."""

import re
import unicodedata
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import accumulate, chain
from math import ceil, log1p
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loadtest.bench.synthetic_catalogue import entries as synthetic_entries
from rapidfuzz import process
from rapidfuzz.distance import OSA

from apidex.catalogue import formats
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry
from apidex.search import corrections, description_arrays, descriptions, facet_columns, sorted_names
from apidex.search.descriptions import DescriptionIndex, DescriptionIndexBuilder, Term
from apidex.search.facet_columns import FacetColumns
from apidex.search.filters import FILTERS
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex
from apidex.search.ranking import Rank, Scope, Sort
from apidex.search.results import SearchRequest, answer
from apidex.search.sorted_names import index_names
from apidex.search.text import FUNCTION_WORDS, composed, fold, separate, words
from apidex.search.words import DOMAIN, possible_forms, stem
from fakes import entry

# --- relevance, on the real catalogue


NAMES_ONLY = ("filters", "names", "typos", "words")
"""Files whose queries are looked for in names only. What is found about them comes behind (see the oracles)."""

PLACES = re.compile(r"(all|one) in the first (\d+):")


def cases():
    for path in sorted(Path(__file__).parent.glob("*.txt")):
        text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
        for case in re.split(r"\n\s*\n", text.strip()):
            title, typed, *expected = case.splitlines()
            marks = pytest.mark.xfail(strict=True) if title.endswith("(missed)") else ()
            yield pytest.param(path.stem, typed, expected, id=f"{path.stem}: {title}", marks=marks)


@pytest.fixture(scope="session")
def real(data) -> SearchIndex:
    return SearchIndex.build(formats.parse((data / "README.md").read_bytes()).catalogue)


@pytest.mark.parametrize(("room", "typed", "expected"), list(cases()))
def test_a_query_finds_what_people_mean(real, room, typed, expected):
    query, _, asked = typed.partition("?")
    scope = Scope.NAME if room in NAMES_ONLY else Scope.ALL
    found = answer(real, "", SearchRequest(query, parse_qs(asked), scope, limit=5000))
    said = [f"understood {name}={value}" for name, value in found.understood.items()]
    hits = found.hits
    if meant := found.did_you_mean:
        said += [f"did you mean {meant.query}" if meant.kind == "spelling" else f"with fewer words {meant.query}"]
        hits = meant.hits
    names = [msgspec.json.decode(hit.entry)["API"].rstrip() for hit in hits]
    if places := PLACES.fullmatch(expected[0]):
        among, first = {"all": all, "one": any}[places[1]], names[: int(places[2])]
        assert among(name in first for name in expected[1:]), first
        return
    said += names or ["(nothing)"]
    if expected[-1] == "…":
        expected = expected[:-1]
        assert len(said) > len(expected)
        said = said[: len(expected)]
    assert said == expected


def test_there_are_enough_cases():
    assert len(list(cases())) >= 60


def name_of(search: SearchIndex, hit) -> str:
    return search.catalogue[hit.position].name


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(None, id="scan"),
        pytest.param(
            {descriptions: {"_SEGMENT_BYTES": 0}, description_arrays: {"_MANY_POSTINGS": -1}}, id="scan, and segments"
        ),
        pytest.param({facet_columns: {}}, id="suffix array"),
        pytest.param(
            {facet_columns: {}, sorted_names: {"_FEW": -1}, descriptions: {"_SEGMENT_BYTES": 0}},
            id="suffix array, with a table, and segments",
        ),
        pytest.param({facet_columns: {}, sorted_names: {"_FEW": 2}}, id="suffix array, with matches of both kinds"),
        pytest.param(
            {
                sorted_names: {
                    "_NARROW": 0,
                    "_FEW": -1,
                    "_BLOCK": 4,
                    "_HEAD": 2,
                    "_MOST_WORDS": 1,
                    "item_size": lambda starts: 8,
                },
                facet_columns: {"_FEW": -1},
                descriptions: {"_SEGMENT_BYTES": 0, "_HELD": 2, "_LOOKED_UP": 0, "_READ_TOGETHER": 0},
                description_arrays: {"_MANY_POSTINGS": -1},
            },
            id="suffix array, as if larger",
        ),
    ],
)
def index_of(request):
    """What makes an index of each kind of some entries."""

    def make(*entries: Entry) -> SearchIndex:
        scanned = SearchIndex.build(Catalogue.of(entries))
        return with_suffix_array(scanned) if facet_columns in (request.param or {}) else scanned

    with pytest.MonkeyPatch.context() as patch:
        for module, values in (request.param or {}).items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        yield make


def with_suffix_array(scanned: SearchIndex) -> SearchIndex:
    names = NameIndex.build(scanned.catalogue.names())
    folded = index_names(scanned.names, names, scanned.names.word_starts, scanned.facets.key_numbers)
    return replace(scanned, names=folded, facets=FacetColumns(scanned.facets.keys, scanned.facets.key_numbers))


# --- oracles: look at every entry

letters = st.text(st.sampled_from("abAB é1-'ß"), min_size=1, max_size=7).filter(str.strip)
entries = st.builds(
    entry,
    letters,
    description=st.lists(st.sampled_from(["A", "b", "cat", "Cats", "é1", "ab-éß", "tracking"]), max_size=4).map(
        " ".join
    ),
    link=st.sampled_from(["https://a.example/b", "http://www.b.a.example", "x"]),
    provider=st.sampled_from(["", "a.example", "b cat"]),
    category=st.sampled_from(["Things", "Cats", "Döner", "things"]),
    auth=st.sampled_from(["", "apiKey", "OAuth", "APIKEY"]),
    https=st.booleans(),
    cors=st.sampled_from(["yes", "no", "unknown"]),
)
catalogues = st.lists(entries, min_size=1, max_size=25)
queries = st.one_of(
    letters,
    st.sampled_from(
        ["", "  ", "!", "a b", "b api", "api", "A1", "é b a", "cat", "cats a", "tracked b", "a.example", "zz cat"]
    ),
)
scopes = st.sampled_from(Scope)
asked_filters = st.fixed_dictionaries(
    {},
    optional={
        "category": st.lists(st.sampled_from(["THINGS", "cats", "döner"]), max_size=2),
        "auth": st.lists(st.sampled_from(["none", "apikey", "OAUTH"]), max_size=2),
        "https": st.lists(st.sampled_from(FILTERS["https"].values), max_size=2),
        "cors": st.lists(st.sampled_from(FILTERS["cors"].values), max_size=3),
    },
)


@cache
def folded_with_word_starts(name: str) -> tuple[str, list[int]]:
    return fold(name), list(accumulate((len(fold(word)) for word in words(name)), initial=0))[:-1]


@cache
def folded_with_terms(query: str) -> tuple[str, list[str]]:
    plain = "".join(each for each in query if not unicodedata.combining(each))
    terms = [fold(term) for term in re.split(r"[\s!-]+", plain) if fold(term)]
    terms = [term for term in terms if term not in ("api", "apis")] or terms
    return fold(query), [term for term in terms if term not in FUNCTION_WORDS] or terms


def naive_rank(name: str, query: str) -> Rank | None:
    (needle, terms), (folded, word_starts) = folded_with_terms(query), folded_with_word_starts(name)
    if needle not in folded and not all(term in folded for term in terms):
        return None

    def begins_word(text: str) -> bool:
        return any(folded.startswith(text, at) for at in word_starts)

    fits = {
        Rank.EXACT: folded == needle,
        Rank.PREFIX: folded.startswith(needle),
        Rank.WORD: begins_word(needle),
        Rank.INSIDE: needle in folded,
        Rank.WORDS: all(map(begins_word, terms)),
    }
    return next((rank for rank, does_fit in fits.items() if does_fit), None)


@cache
def words_of_fields(name: str, description: str, category: str, provider: str, link: str) -> list[set[str]]:
    parts = [[fold(part) for part in words(word)] for word in re.findall(r"[^\W_]+", name)]
    joined = {"".join(each[i:j]) for each in parts if each[1:] for i in range(len(each)) for j in range(i + 1, i + 4)}
    hosts = {"https://a.example/b": {"a.example"}, "http://www.b.a.example": {"a.example", "b.a.example"}}
    domains = hosts.get(link, set()) | ({provider} if "." in provider else set())
    return [joined | set(separate(name)), set(separate(description)), set(separate(f"{category} {provider}")), domains]


def naive_about(entries: list[Entry], query: str) -> list[tuple[int, int]]:
    """Relevance and position of the entries that have enough of *query*, by the definitions of `descriptions`."""
    fields = [words_of_fields(e.name, e.description, e.category, e.provider, e.link) for e in entries]
    counts = Counter(word for each in fields for word in set().union(*each))
    hosts = [word for word in query.split() if "." in word and counts[word]]
    terms = {
        stem(term): [form for form in possible_forms(term) if stem(form) == stem(term)]
        for term in ([] if hosts else reversed(folded_with_terms(query)[1]))
    }
    terms = {**{host: [host] for host in hosts}, **terms}
    for root, found in terms.items():
        if not any(counts[word] for word in found) and len(root) >= 3:
            terms[root] = [word for word in counts if any(word.startswith(each) for each in found[:1])]
    sizes = {root: min(sum(counts[word] for word in found), len(entries)) for root, found in terms.items()}
    if not all(sizes.values()):
        return []
    weights = {root: ceil(1000 * log1p((len(entries) - sizes[root] + 0.5) / (sizes[root] + 0.5))) for root in terms}
    lengths = [len(separate(each.description)) for each in entries]
    average = sum(lengths) / len(lengths) or 1
    result = []
    for position, own in enumerate(fields):
        has = {root: max((sum(word in field for field in own) for word in terms[root]), default=0) for root in terms}
        norm = 1.2 * (1 - 0.75 + 0.75 * lengths[position] / average)
        score = sum(weights[root] * round(1023 * count / (count + norm)) for root, count in has.items() if count)
        share, most = sum(weights[root] for root in terms if has[root]), sum(weights.values())
        if share and 5 * share >= 2 * most:
            result.append(((1023 - share * 1023 // most) * 1024 + 1023 - score // most, position))
    return result


def naive(entries: list[Entry], query: str, scope: Scope = Scope.NAME) -> list[tuple[Rank | None, int, int]]:
    """Rank, what sorts within the rank, and position."""
    if not query.strip():
        return [(None, 0, position) for position in range(len(entries))]
    if not fold(query):
        typed, asked = composed(query.strip()), scope != Scope.ABOUT
        return [
            (Rank.EXACT, 0, at) for at, each in enumerate(entries) if asked and composed(each.name).strip() == typed
        ]
    ranked = [(naive_rank(each.name, query), position) for position, each in enumerate(entries)]
    sized = {
        at: (rank, len(fold(entries[at].name).encode()), at) for rank, at in ranked if rank and scope != Scope.ABOUT
    }
    about = naive_about(entries, query) if scope != Scope.NAME else []
    return [*sized.values(), *((Rank.ABOUT, key, at) for key, at in about if at not in sized)]


def relevance(entries: list[Entry], query: str, rank: Rank, key: int, position: int) -> tuple:
    name, typed = entries[position].name, composed(query.strip()).casefold()
    is_alike = rank is Rank.EXACT and typed != fold(query) and composed(name).casefold() == typed
    return list(Rank).index(rank), not is_alike, key, fold(name).encode(), position


def values_of(each: Entry) -> dict[str, str]:
    return {name: declared.read(getattr(each, declared.attribute)) for name, declared in FILTERS.items()}


def passes(each: Entry, asked: dict, but: str = "") -> bool:
    return all(
        not values or name == but or values_of(each)[name].casefold() in {value.casefold() for value in values}
        for name, values in asked.items()
    )


def allowed(search: SearchIndex, asked: dict) -> dict:
    """Without the values that a small catalogue may not have: asking for those is an error."""
    known = {name: {value.casefold() for value in search.facets.values(name)} for name in asked}
    return {name: [value for value in values if value.casefold() in known[name]] for name, values in asked.items()}


def test_a_query_is_cut_where_a_name_is_when_it_folds_to_many_letters(index_of):
    name = "\ufdfa" * 256
    index = index_of(entry(name), entry("b"))
    found = answer(index, "version", SearchRequest(name, {}))
    assert [hit.rank for hit in found.hits] == [Rank.EXACT]
    assert (found.query, len(fold(found.searched))) == (name, 1020)
    assert [hit.position for hit in index.suggest(name, 8)] == [0]


@given(catalogues, queries, scopes, asked_filters, st.sampled_from(Sort))
def test_hits_order_and_facets_equal_the_oracle(index_of, entries, query, scope, asked, sort):
    search = index_of(*entries)
    asked = allowed(search, asked)
    found = search.search(query, search.facets.parse(asked), scope=scope, sort=sort)
    hits = naive(entries, query, scope)
    expected = [hit for hit in hits if passes(entries[hit[-1]], asked)]
    by_relevance = sort is Sort.RELEVANCE and fold(query)

    def order(hit):
        if by_relevance:
            return relevance(entries, query, *hit)
        return (fold(entries[hit[-1]].name).encode(), hit[-1]) if sort is Sort.NAME else hit[-1]

    ordered = [(rank, position) for rank, _, position in sorted(expected, key=order)]
    assert [(hit.rank, hit.position) for hit in found.hits] == ordered
    assert found.total == len(expected)
    for name, facets in found.facets.items():
        counts = Counter(values_of(entries[hit[-1]])[name] for hit in hits if passes(entries[hit[-1]], asked, but=name))
        del counts[""]
        assert {facet.value: facet.count for facet in facets if facet.count} == counts
        assert [facet.count for facet in facets] == sorted((facet.count for facet in facets), reverse=True)
        assert {value.casefold() for value in asked.get(name, ())} <= {facet.value.casefold() for facet in facets}


@pytest.mark.parametrize(("count", "scope"), [(2_000, Scope.ALL), (200_000, Scope.NAME)])
def test_an_index_of_many_names_equals_the_oracle(count, scope):
    """Ranks, order, totals and facets of rare and frequent queries do not depend on the size of a catalogue."""
    names = ("Weather", "weather!", "WEATHER", "Weather", "K", "K 1", "K 2", "K 3")
    entries = [*synthetic_entries(count), *(entry(name) for name in names)]
    search = with_suffix_array(SearchIndex.build(Catalogue.of(entries)))
    rare = entries[count // 3].name
    for query in (
        rare,
        rare[2:-3],
        "eather",
        "weather api",
        "hub open",
        "golden transit",
        "golden train",
        "o",
        "k",
        "zyx",
    ):
        hits = naive(entries, query, scope)
        asked = search.facets.parse({"auth": ["none"], "https": ["true"]})
        for filters, expected in (
            ({}, hits),
            (asked, [hit for hit in hits if not entries[hit[-1]].auth and entries[hit[-1]].https]),
        ):
            in_order = sorted(expected, key=lambda hit: relevance(entries, query, *hit))
            ordered = [(rank, position) for rank, _, position in in_order]
            for offset in (0, len(expected) // 2):
                found = search.search(query, filters, scope=scope, offset=offset, limit=30)
                assert [(hit.rank, hit.position) for hit in found.hits] == ordered[offset : offset + 30], query
            assert found.total == len(expected)
            categories = Counter(entries[hit[-1]].category for hit in expected)
            assert {facet.value: facet.count for facet in found.facets["category"] if facet.count} == categories


@given(catalogues, queries, scopes)
def test_a_query_finds_something_if_it_has_hits(index_of, entries, query, scope):
    assert index_of(*entries).finds(query, scope) == bool(naive(entries, query, scope))


@given(catalogues, queries, asked_filters, st.sampled_from(Sort), st.integers(1, 7))
def test_pages_together_are_the_whole_result(index_of, entries, query, asked, sort, limit):
    search = index_of(*entries)
    filters = search.facets.parse(allowed(search, asked))
    everything = search.search(query, filters, sort=sort)
    pages = [
        search.search(query, filters, sort=sort, offset=offset, limit=limit)
        for offset in range(0, everything.total + limit, limit)
    ]
    assert [hit for page in pages for hit in page.hits] == everything.hits
    assert {page.total for page in pages} == {everything.total}
    assert all(page.facets == everything.facets for page in pages)


# --- many entries are indexed in segments


def index_in_batches(entries: list[Entry], size: int) -> DescriptionIndex:
    builder = DescriptionIndexBuilder()
    for begin in range(0, len(entries), size):
        builder.add(entries[begin : begin + size])
    return builder.finish()


LONG = "a" * 300
HARD_WORDS = [
    *(
        entry(name)
        for name in ("OpenWeatherMap", "JSONPlaceholder2go", "Don'tPanic", "Pok\u00e9APIs2", "A", "A1b2C3d4")
    ),
    *(
        entry("x", description=text)
        for text in ("", " ", "don't \u00c9T\u00c9 \0 a\0b", "w " * 300, "abcdefgh abcdefghi abcdefgh")
    ),
    *(entry("x", description=f"{LONG}{end} {LONG}") for end in ("", "b", "a", "c", "b")),
    *(
        entry("x", link=link)
        for link in ("a\nb", "www.a.b.example\n", "ftp://u@A.example.:1/x", "", "a.b.c.d.e.f.g.example")
    ),
    entry("x", provider="dog.ceo", link="http://api.dog.ceo", category="Dogs d\u00f6ner"),
]


@pytest.mark.parametrize("size", [1, 7, 500])
def test_an_index_of_segments_equals_one_without(monkeypatch, size):
    entries = [*HARD_WORDS, *synthetic_entries(1000), *HARD_WORDS]
    expected = index_in_batches(entries, len(entries))
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    found = index_in_batches(entries, size)
    assert bytes(found.terms) == bytes(expected.terms)
    assert bytes(found.lengths) == bytes(expected.lengths)
    assert len(found.dense) > 10
    for number, word in enumerate(bytes(expected.terms).decode().splitlines()):
        term = [Term(word, [number])]
        hits, expected_hits = found.find(term), expected.find(term)
        assert list(hits.positions) == list(expected_hits.positions) != [], word
        assert list(hits.relevance()) == list(expected_hits.relevance()), word
        assert found.first_position(word) == expected_hits.positions[0]
    assert found.near("wether", 1)["weather"] == expected.near("wether", 1)["weather"]


@pytest.mark.parametrize("left_out", [False, True], ids=["all", "without the named"])
@pytest.mark.parametrize("narrow", [0, 10**6], ids=["sorted", "in a table"])
def test_the_words_that_begin_alike_find_the_same_in_arrays(monkeypatch, left_out, narrow):
    entries = [*HARD_WORDS, *synthetic_entries(1000)]
    expected = index_in_batches(entries, len(entries))
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    monkeypatch.setattr(description_arrays, "_MANY_POSTINGS", -1)
    monkeypatch.setattr(description_arrays, "_NARROW", narrow)
    found = index_in_batches(entries, 500)
    flags = [left_out and position % 3 == 0 for position in range(len(entries))]
    words = bytes(expected.terms).decode().splitlines()
    beginnings = {word[:length]: None for word in words for length in (1, 3)}
    for text in beginnings:
        numbers = [number for number, word in enumerate(words) if word.startswith(text)]
        term = [Term(text, range(numbers[0], numbers[-1] + 1), is_prefix=True)]
        hits, expected_hits = found.find(term, lambda: flags), expected.find(term)
        expected_pairs = zip(expected_hits.positions, expected_hits.relevance(), strict=True)
        kept = [(position, relevance) for position, relevance in expected_pairs if not flags[position]]
        assert list(zip(hits.positions, hits.relevance(), strict=True)) == kept, text
    assert len({words[number][0] for number in found.dense}) < len(found.dense)


def test_an_index_of_segments_may_have_no_word(monkeypatch):
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    found = index_in_batches([entry("***", description="", category="?", link="")], 1)
    assert found.find(found.parse("weather")).positions == []
    assert found.near("weather", 1) == {}


def test_the_words_within_two_changes_are_near_in_an_index_of_segments(monkeypatch):
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    found = index_in_batches([*HARD_WORDS, *synthetic_entries(100), entry("pneumono" * 10)], 500)
    words = [word for word in bytes(found.terms).decode().splitlines() if word.isascii() and word[0] != DOMAIN]
    for word in words:
        for typed in (word[2:], word[:-1], f"q{word}z", f"{word}zq", f"qz{word[2:]}", f"{word[1::-1]}{word[2:]}"):
            assert word in found.near(typed, 2), typed


def test_many_postings_of_words_that_begin_alike_are_not_sorted(monkeypatch):
    """Sorting two postings for each entry takes five times as long as a table of all entries."""
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    entries = [entry("x", description=f"wea{number % 90} wea{number % 80}") for number in range(1000)]
    found = index_in_batches(entries, 500)
    monkeypatch.setattr(description_arrays.np, "sort", None)
    assert len(found.find(found.parse("wea")).positions) == 1000


def test_words_near_to_one_that_is_not_ascii_are_the_same_in_an_index_of_segments(monkeypatch):
    entries = [entry("погода"), entry("日本"), entry("予報海学"), entry("weather")]
    expected = index_in_batches(entries, len(entries))
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    found = index_in_batches(entries, 1)
    for text, near in (("порода", "погода"), ("日木", "日本"), ("予報都語", "予報海学"), ("waether", "weather")):
        assert near in expected.near(text, 2)
        assert near in found.near(text, 2)


def test_long_words_that_begin_alike_are_not_read_together(monkeypatch):
    """Four thousand words of 12 kB, as sentences in Chinese are, would take 40 ms."""
    entries = [entry("x", description=f"long{'a' * 4000}{number}") for number in range(20)]
    found = index_in_batches(entries, len(entries))
    monkeypatch.setattr(found.__class__, "_words", None)
    assert len(found.find(found.parse("long")).positions) == 20


mixed_words = st.text("abmz1\u0259\u044f\u65e5\U0001f389", min_size=1, max_size=11)


@given(st.sets(mixed_words, min_size=1, max_size=30), mixed_words, st.integers(1, 2))
@example({"d\u0259rman"}, "derman", 1)
def test_every_near_word_is_compared(given_words, typed, distance):
    """A letter of ASCII and one of four bytes may stand in place of each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptions, "_SEGMENT_BYTES", 0)
        found = index_in_batches([entry("x", description=" ".join(given_words))], 1)
    assert {word for word in given_words if OSA.distance(word, typed) <= distance} <= found.near(typed, distance).keys()


def test_words_of_ascii_are_not_compared_with_one_that_is_not(monkeypatch):
    monkeypatch.setattr(descriptions, "_SEGMENT_BYTES", 0)
    found = index_in_batches([*synthetic_entries(5000), entry("погода")], 500)
    assert list(found.near("порода", 1)) == ["погода"]


def test_a_name_without_letters_is_found_by_itself_alone(index_of):
    search = index_of(entry("Cats"), entry("∞"), entry("…"), entry("∞"))
    for query, positions in (("∞", [1, 3]), (" … ", [2]), ("∞∞", []), ("!", [])):
        found = search.search(query, {}, scope=Scope.NAME)
        assert [(hit.position, hit.rank) for hit in found.hits] == [(each, Rank.EXACT) for each in positions]
        assert found.total == len(positions)
    assert search.search("∞", {}, scope=Scope.ABOUT).total == 0


def test_names_that_look_the_same_are_suggested_once(index_of):
    search = index_of(entry("Café"), entry("Cafe\u0301"), entry("Cafe"))
    assert [hit.position for hit in search.suggest("caf", 5)] == [0, 2]


def test_entries_without_a_category_add_none(index_of):
    search = index_of(entry("Cats", category=""), entry("Dogs", category="Animals"))
    assert search.facets.categories == {"Animals": 1}
    assert search.facets.in_catalogue_order("category") == ["Animals"]
    assert search.catalogue.categories == 1


@given(catalogues, asked_filters)
def test_filters_without_a_query_equal_the_oracle(index_of, entries, asked):
    search = index_of(*entries)
    asked = allowed(search, asked)
    expected = [position for position, each in enumerate(entries) if passes(each, asked)]
    assert [*chain(*search.facets.batches(search.facets.parse(asked)))] == expected


@given(catalogues, queries)
def test_highlights_spell_the_query(index_of, entries, query):
    search = index_of(*entries)
    for hit in search.search(query, {}).hits:
        spelled = fold("".join(name_of(search, hit)[start:end] for start, end in hit.highlights))
        assert fold(query) in spelled or hit.rank in (Rank.WORDS, Rank.ABOUT)
        assert hit.highlights or hit.rank in (None, Rank.ABOUT)


@example([entry("BA"), entry("B-A")], "B-A", 1)
@given(catalogues, queries, st.integers(1, 5))
def test_suggestions_are_the_distinct_names_of_the_best_hits(index_of, entries, query, limit):
    search = index_of(*entries)
    hits = search.search(query, {}, scope=Scope.NAME).hits if fold(query) else []
    names = [name_of(search, hit) for hit in hits]
    assert [name_of(search, hit) for hit in search.suggest(query, limit)] == list(dict.fromkeys(names))[:limit]


def test_each_real_name_finds_itself_exactly(real):
    for position, name in enumerate(real.catalogue.names()):
        hits = real.search(name, {}).hits
        assert position in [hit.position for hit in hits if hit.rank is Rank.EXACT], name


def test_a_correction_finds_something(real):
    """Each long real name of one word without its third letter is corrected, and the correction has hits."""
    for name in real.catalogue.names():
        folded = fold(name)
        typed = folded[:2] + folded[3:]
        if len(folded) > 7 and name.isalnum() and not real.finds(typed, Scope.ALL):
            assert (meant := real.correct(typed)), name
            assert real.search(meant, {}).total, name


def test_of_equal_names_the_one_as_typed_comes_first(index_of):
    search = index_of(*map(entry, ("C#", "C", "C++ Quiz", "C++", "Pokemon", "Poke\u0301mon", "Pok\u00e9mon")))

    def names(query, **page):
        return [name_of(search, hit) for hit in search.search(query, {}, scope=Scope.NAME, **page).hits]

    assert names("c++", limit=3) == ["C++", "C#", "C"]
    assert names("c++", offset=1, limit=3) == ["C#", "C", "Pokemon"][:2] + names("c++")[3:4]
    assert names("pok\u00e9mon") == names("poke\u0301mon") == ["Poke\u0301mon", "Pok\u00e9mon", "Pokemon"]


def test_words_of_up_to_64_letters_are_corrected(index_of):
    search = index_of(*(entry("l" + "o" * size + "ng") for size in (61, 62, 70)))
    assert search.correct("l" + "o" * 61 + "gn") == "l" + "o" * 61 + "ng"
    assert search.correct("l" + "o" * 62 + "gn") is None


def test_a_large_catalogue_has_corrections(index_of, monkeypatch):
    """No call of rapidfuzz, during which other threads wait, compares more than a thousand words."""
    search = index_of(*(entry(f"Weather {number}") for number in range(20_001)))
    sizes, extract = [], process.extract
    monkeypatch.setattr(process, "extract", lambda *given, **how: sizes.append(len(given[1])) or extract(*given, **how))
    assert search.correct("wether") == "weather"
    assert search.correct("12344444") is None
    assert max(sizes) <= corrections._BATCH
    assert search.search("weather 77", {}, scope=Scope.NAME, limit=1).total == 111
