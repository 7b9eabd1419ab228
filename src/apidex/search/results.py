"""The request and the answer of a search, over HTTP and on the command line. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from apidex.catalogue.entry import Entry
from apidex.search.filters import FILTERS, MAX_FACET_VALUES, Facet, Filters
from apidex.search.index import SearchIndex
from apidex.search.ranking import Hit, Rank, Sort


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search, and which page of it. *filters* are the requested values of each filter, in any case."""

    query: str
    filters: Mapping[str, Sequence[str]]
    sort: Sort = Sort.RELEVANCE
    limit: int = 20
    offset: int = 0


class HitView(msgspec.Struct, frozen=True):
    """An entry, how well its name matches, and which characters of the name do."""

    entry: Entry
    rank: Annotated[
        Rank | None,
        msgspec.Meta(
            description="exact: the whole name; prefix: its beginning; word: the beginning of a word; inside: any part of it; "
            "words: each word of q begins one of its words, in any order; null where q is blank"
        ),
    ]
    highlights: Annotated[
        list[tuple[int, int]],
        msgspec.Meta(
            description="Half-open ranges of Unicode code points of the name (in JavaScript: Array.from(name))"
        ),
    ]


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


class CorrectionView(msgspec.Struct, frozen=True):
    """A similar query, and what it finds."""

    query: str
    total: int
    hits: list[HitView]


class SearchView(msgspec.Struct, frozen=True):
    """A page of hits. `did_you_mean` is there only where q finds nothing, and never mixed into the hits."""

    query: str
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


def answer(search: SearchIndex, version: str, request: SearchRequest) -> SearchView:
    """Return a page of hits in the catalogue of *version*, and a correction where there is no hit at all.

    Raises QueryError for a filter value that no entry can have.
    """
    filters = search.facets.parse(request.filters)
    found = search.search(request.query, filters, sort=request.sort, offset=request.offset, limit=request.limit)
    return SearchView(
        query=request.query,
        version=version,
        total=found.total,
        limit=request.limit,
        offset=request.offset,
        sort=request.sort,
        hits=_hits(search, found.hits),
        facets=FacetsView(**found.facets),
        did_you_mean=None if found.total else _correction(search, request, filters),
    )


def _correction(search: SearchIndex, request: SearchRequest, filters: Filters) -> CorrectionView | None:
    corrected = search.correct(request.query)
    if corrected is None:
        return None
    found = search.search(corrected, filters, limit=request.limit)
    return CorrectionView(corrected, found.total, _hits(search, found.hits)) if found.total else None


def _hits(search: SearchIndex, hits: Sequence[Hit]) -> list[HitView]:
    """Each entry is put in as the encoded bytes that the catalogue holds."""
    raw = [msgspec.Raw(search.catalogue.encoded(hit.position)) for hit in hits]
    return [HitView(entry, hit.rank, hit.highlights) for entry, hit in zip(raw, hits, strict=True)]  # type: ignore[arg-type]
