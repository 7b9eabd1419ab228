"""What a search answers, over HTTP and on the command line: the shapes, and how they are filled. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from apidex.catalogue.entry import Entry
from apidex.search.filters import Facet, Filters
from apidex.search.index import SearchIndex
from apidex.search.ranking import Hit, Rank, Sort


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is asked: which entries, in which order, and how many of them from where on."""

    query: str
    filters: Filters
    sort: Sort
    offset: int
    limit: int


class HitView(msgspec.Struct, frozen=True):
    """An entry that was found, how well its name fits, and which characters of it do."""

    entry: Entry
    rank: Annotated[
        Rank | None,
        msgspec.Meta(
            description="exact: the whole name; prefix: it begins so; word: one of its words begins so; inside: it contains it; "
            "words: each word of q begins one of its words, in any order; null where q is blank"
        ),
    ]
    highlights: Annotated[
        list[tuple[int, int]],
        msgspec.Meta(
            description="Half-open ranges of Unicode code points of the name (in JavaScript: Array.from(name))"
        ),
    ]


class FacetsView(msgspec.Struct, frozen=True):
    """For each filter its values, and how many hits there would be with each if only the other filters were set."""

    category: list[Facet]
    auth: list[Facet]
    https: list[Facet]
    cors: list[Facet]


class CorrectionView(msgspec.Struct, frozen=True):
    """What may have been meant, and what that finds."""

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
    facets: FacetsView
    did_you_mean: CorrectionView | None


def answer(search: SearchIndex, version: str, page: SearchRequest) -> SearchView:
    """A page of hits in the catalogue of *version*, and a correction where there is no hit at all."""
    found = search.search(page.query, page.filters, sort=page.sort, offset=page.offset, limit=page.limit)
    return SearchView(
        query=page.query,
        version=version,
        total=found.total,
        limit=page.limit,
        offset=page.offset,
        sort=page.sort,
        hits=_hits(search, found.hits),
        facets=FacetsView(**found.facets),
        did_you_mean=None if found.total else _correction(search, page),
    )


def _correction(search: SearchIndex, page: SearchRequest) -> CorrectionView | None:
    meant = search.correct(page.query)
    if meant is None:
        return None
    found = search.search(meant, page.filters, limit=page.limit)
    return CorrectionView(meant, found.total, _hits(search, found.hits)) if found.total else None


def _hits(search: SearchIndex, hits: Sequence[Hit]) -> list[HitView]:
    """The entries are put in as the bytes that the catalogue holds: they are encoded already."""
    raw = [msgspec.Raw(search.catalogue.encoded(hit.position)) for hit in hits]
    return [HitView(entry, hit.rank, hit.highlights) for entry, hit in zip(raw, hits, strict=True)]  # type: ignore[arg-type]
