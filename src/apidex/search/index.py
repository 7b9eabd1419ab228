"""The searchable index of a catalogue: ranked hits, filters, facets, suggestions and corrections. Pure, and without an await."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from apidex.catalogue.catalogue import Catalogue
from apidex.search import corrections
from apidex.search.corrections import VOCABULARY_LIMIT, Vocabulary, vocabulary_of
from apidex.search.filters import Facet, FacetIndex, FacetIndexBuilder, Filters
from apidex.search.ranking import POSITION_MASK, FoldedNames, FoldedNamesBuilder, Hit, Sort
from apidex.search.text import fold


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
        return 2 * len(self.names.word_starts) + len(self.catalogue) * 12

    def search(
        self, query: str, filters: Filters, *, sort: Sort = Sort.RELEVANCE, offset: int = 0, limit: int | None = None
    ) -> SearchResult:
        """The hits for *query* that *filters* accept, from *offset* on, at most *limit*; all entries if it is blank."""
        matches, numbers = self.names.matches(query), self.facets.key_numbers
        counts = Counter(
            numbers if isinstance(matches, range) else [numbers[match & POSITION_MASK] for match in matches]
        )
        if filters:
            accepted = self.facets.accepted_keys(filters, counts)
            matches = [match for match in matches if numbers[match & POSITION_MASK] in accepted]
        page = islice(self.names.ordered(matches, sort), offset, None if limit is None else offset + limit)
        return SearchResult(len(matches), self._hits(query, page), self.facets.facets(counts, filters))

    def suggest(self, query: str, limit: int) -> list[Hit]:
        """The best hits with distinct names; none for a blank query."""
        if not fold(query):
            return []
        best: dict[str, int] = {}
        for match in self.names.ordered(self.names.matches(query), Sort.RELEVANCE):
            best.setdefault(self._name(match), match)
            if len(best) == limit:
                break
        return self._hits(query, best.values())

    def correct(self, query: str) -> str | None:
        """Return a query near *query*, which finds nothing, that finds something; None if there is none."""
        return corrections.correct(query, self.vocabulary, lambda corrected: len(self.names.matches(corrected)))

    def _name(self, match: int) -> str:
        return self.catalogue[match & POSITION_MASK].name

    def _hits(self, query: str, matches: Iterable[int]) -> list[Hit]:
        if not fold(query):
            return [Hit(position, None, []) for position in matches]
        return [self.names.hit(query, match, self._name(match)) for match in matches]
