"""The request and the answer of a search, over HTTP and on the command line. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec

from apidex.catalogue.entry import Entry
from apidex.search.filters import FILTERS, MAX_FACET_VALUES, Facet, Filters, read_filters
from apidex.search.index import SearchIndex, SearchResult
from apidex.search.ranking import Hit, Rank, Scope, Sort
from apidex.search.text import foldable


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search, and which page of it. *filters* are the requested values of each filter, in any case."""

    query: str
    filters: Mapping[str, Sequence[str]]
    scope: Scope = Scope.ALL
    sort: Sort = Sort.RELEVANCE
    limit: int = 20
    offset: int = 0


_RANGES = "Half-open ranges of Unicode code points (in JavaScript: Array.from(name))"


class HitView(msgspec.Struct, frozen=True):
    """An entry, its rank, and the characters of its name and description that match."""

    entry: Entry
    rank: Annotated[
        Rank | None,
        msgspec.Meta(
            description="exact: the whole name; prefix: its beginning; word: the beginning of a word; inside: any part of it; "
            "words: each word of q begins one of its words, in any order; about: name, description, category or provider "
            "have the words of q, or link leads to the domain that q names; null where q is blank. Words of q such as api, the "
            "and for do not count for the last two"
        ),
    ]
    highlights: Annotated[list[tuple[int, int]], msgspec.Meta(description=f"What matches in the name. {_RANGES}")]
    description_highlights: Annotated[
        list[tuple[int, int]],
        msgspec.Meta(description=f"What matches in the description, where the rank is about. {_RANGES}"),
    ] = msgspec.field(default_factory=list)


FacetsView = msgspec.defstruct(
    "FacetsView",
    [(name, list[Facet]) for name in FILTERS],
    frozen=True,
    module=__name__,
    namespace={
        "__doc__": "For each filter its values, and how many hits there would be with each if only the other filters were set: "
        f"the most frequent first, at most {MAX_FACET_VALUES} of them, and those that the request gives."
    },
)


CorrectionKind = Annotated[
    Literal["spelling", "fewer_words"],
    msgspec.Meta(description="spelling: other spellings of words; fewer_words: some words are left out"),
]


class CorrectionView(msgspec.Struct, frozen=True):
    """Another query, and what it finds."""

    query: str
    total: int
    hits: list[HitView]
    kind: CorrectionKind = "spelling"


class SearchView(msgspec.Struct, frozen=True, rename={"scope": "in"}):
    """A page of hits. `did_you_mean` is there only where q finds nothing, and never mixed into the hits."""

    query: str
    understood: Annotated[
        dict[str, str],
        msgspec.Meta(
            description="Filters that words of q stand for, such as auth=none for free. They are applied where no name fits q, "
            "the request does not give the filter, and an entry that passes has all other words"
        ),
    ]
    searched: Annotated[str, msgspec.Meta(description="What was looked for: q without the words that became filters")]
    scope: Scope
    version: Annotated[
        str, msgspec.Meta(description="The catalogue that was searched, as in the header Catalogue-Version")
    ]
    total: Annotated[int, msgspec.Meta(description="How many entries were found, on all pages")]
    limit: int
    offset: int
    sort: Sort
    hits: list[HitView]
    facets: FacetsView  # type: ignore[valid-type] # made above
    did_you_mean: CorrectionView | None


class CategoryView(msgspec.Struct, frozen=True):
    """A category, and how many entries are in it."""

    name: str
    entries: int


def answer(search: SearchIndex, version: str, request: SearchRequest) -> SearchView:
    """Return a page of hits in the catalogue of *version*, and other queries if there is no hit.

    Raises QueryError for a filter value that no entry can have.
    """
    filters, query = search.facets.parse(request.filters), request.query
    request = replace(request, query=foldable(query))
    understood, searched = _understand(search, request, filters)
    found = _search(search, request, filters, understood, searched)
    return SearchView(
        query=query,
        understood=understood,
        searched=searched,
        scope=request.scope,
        version=version,
        total=found.total,
        limit=request.limit,
        offset=request.offset,
        sort=request.sort,
        hits=_hits(search, found.hits),
        facets=FacetsView(**found.facets),
        did_you_mean=None if found.total else _correction(search, request, filters),
    )


def _understand(search: SearchIndex, request: SearchRequest, filters: Filters) -> tuple[dict[str, str], str]:
    """The filters that words of the query stand for, and the other words; or no filters and the whole query."""
    understood, rest = read_filters(request.query)
    allowed = all(name not in filters and value in search.facets.values(name) for name, value in understood.items())
    literal: tuple[dict[str, str], str] = {}, request.query
    if not understood or not allowed or request.scope is Scope.NAME or search.names.finds(request.query):
        return literal
    return (understood, rest) if search.finds_all(rest, _with(filters, understood)) else literal


def _with(filters: Filters, understood: Mapping[str, str]) -> Filters:
    return {**filters, **{name: frozenset([value]) for name, value in understood.items()}}


def _search(
    search: SearchIndex, request: SearchRequest, filters: Filters, understood: Mapping[str, str], searched: str
) -> SearchResult:
    return search.search(
        searched,
        _with(filters, understood),
        scope=request.scope,
        sort=request.sort,
        offset=request.offset,
        limit=request.limit,
    )


def _correction(search: SearchIndex, request: SearchRequest, filters: Filters) -> CorrectionView | None:
    kind: Literal["spelling", "fewer_words"]
    for kind, find in (("spelling", search.correct), ("fewer_words", search.with_fewer_words)):
        query = find(request.query, request.scope)
        if query is not None:
            corrected = replace(request, query=query, sort=Sort.RELEVANCE, offset=0)
            found = _search(search, corrected, filters, *_understand(search, corrected, filters))
            if found.total:
                return CorrectionView(query, found.total, _hits(search, found.hits), kind)
    return None


def _hits(search: SearchIndex, hits: Sequence[Hit]) -> list[HitView]:
    """Each entry is put in as the encoded bytes that the catalogue holds."""
    raw = [msgspec.Raw(search.catalogue.encoded(hit.position)) for hit in hits]
    pairs = zip(raw, hits, strict=True)
    return [HitView(entry, hit.rank, hit.highlights, hit.description_highlights) for entry, hit in pairs]  # type: ignore[arg-type]
