"""The searchable index of a catalogue: ranked hits, filters, facets, suggestions and corrections. Pure, and without an await."""

from dataclasses import dataclass

from apidex.catalogue.catalogue import Catalogue
from apidex.search import corrections
from apidex.search.corrections import VOCABULARY_LIMIT, Vocabulary, vocabulary_of
from apidex.search.filters import Facet, FacetIndex, FacetIndexBuilder, Filters
from apidex.search.ranking import FoldedNames, FoldedNamesBuilder, Hit, Rank, Sort


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A page of hits out of *total*. Each facet counts the hits that there would be without its own filter."""

    total: int
    hits: list[Hit]
    facets: dict[str, list[Facet]]


@dataclass(frozen=True, slots=True, eq=False)
class SearchIndex:
    """A catalogue that people can search."""

    catalogue: Catalogue
    names: FoldedNames
    facets: FacetIndex
    vocabulary: Vocabulary

    @classmethod
    def build(cls, catalogue: Catalogue) -> "SearchIndex":
        """Index every entry."""
        names, facets = FoldedNamesBuilder(), FacetIndexBuilder()
        for entries in catalogue.batches():
            names.add([entry.name for entry in entries])
            facets.add(entries)
        return cls.of(catalogue, names.finish(), facets.finish())

    @classmethod
    def of(cls, catalogue: Catalogue, names: FoldedNames, facets: FacetIndex) -> "SearchIndex":
        """Return the index of *catalogue*, whose *names* and *facets* were built here or in another process."""
        vocabulary = vocabulary_of(catalogue.names()) if len(catalogue) <= VOCABULARY_LIMIT else {}
        return cls(catalogue, names, facets, vocabulary)

    @property
    def size(self) -> int:
        """Bytes of memory, without the catalogue and the vocabulary."""
        return self.names.size + 4 * len(self.catalogue)

    def search(
        self, query: str, filters: Filters, *, sort: Sort = Sort.RELEVANCE, offset: int = 0, limit: int | None = None
    ) -> SearchResult:
        """The hits for *query* that *filters* accept, from *offset* on, at most *limit*; all entries if it is blank."""
        matches = self.names.matches(query)
        facets = matches.facets(self.facets, filters)
        if filters:
            matches = matches.accepted(self.facets, filters)
        return SearchResult(len(matches), self._hits(query, matches.page(sort, offset, limit)), facets)

    def suggest(self, query: str, limit: int) -> list[Hit]:
        """The best hits with distinct names; none for a blank query."""
        return self._hits(query, self.names.matches(query).best(limit, self._name))

    def correct(self, query: str) -> str | None:
        """Return a query near *query*, which finds nothing, that finds something; None if there is none."""
        return corrections.correct(query, self.vocabulary, lambda corrected: len(self.names.matches(corrected)))

    def _name(self, position: int) -> str:
        return self.catalogue[position].name

    def _hits(self, query: str, page: list[tuple[int, Rank | None]]) -> list[Hit]:
        return [self.names.hit(query, position, rank, self._name(position)) for position, rank in page]
