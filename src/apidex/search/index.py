"""The searchable index of a catalogue: ranked hits, filters, facets, suggestions and corrections. Pure, and without an await."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from apidex.catalogue.catalogue import Catalogue
from apidex.search import corrections
from apidex.search.descriptions import DescriptionIndex, DescriptionIndexBuilder, Term, highlights
from apidex.search.filters import Facet, FacetIndex, FacetIndexBuilder, Filters
from apidex.search.ranking import FoldedNames, FoldedNamesBuilder, Hit, Matches, Rank, Scope, Sort, end_of_page
from apidex.search.text import composed, every_span, fold, foldable

_MOST_EXACT = 100
"""The number of exact names whose spelling is compared with the query."""


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
    descriptions: DescriptionIndex

    @classmethod
    def build(cls, catalogue: Catalogue) -> "SearchIndex":
        """Index every entry."""
        names, facets, descriptions = FoldedNamesBuilder(), FacetIndexBuilder(), DescriptionIndexBuilder()
        for entries in catalogue.batches():
            names.add([entry.name for entry in entries])
            facets.add(entries)
            descriptions.add(entries)
        return cls(catalogue, names.finish(), facets.finish(), descriptions.finish())

    @property
    def size(self) -> int:
        """Bytes of memory, without the catalogue."""
        return self.names.size + 4 * len(self.catalogue) + self.descriptions.size

    def search(
        self,
        query: str,
        filters: Filters,
        *,
        scope: Scope = Scope.ALL,
        sort: Sort = Sort.RELEVANCE,
        offset: int = 0,
        limit: int | None = None,
    ) -> SearchResult:
        """The hits for *query* that *filters* accept, from *offset* on, at most *limit*; all entries if it is blank."""
        terms = self._terms(query, scope)
        matches = self._matches(query, terms, scope)
        facets = matches.facets(self.facets, filters)
        if filters:
            matches = matches.accepted(self.facets, filters)
        page = self._page(query, matches, sort, offset, limit)
        hits = [self._hit(query, terms, *match) for match in page]
        return SearchResult(len(matches), hits, facets)

    def suggest(self, query: str, limit: int) -> list[Hit]:
        """The best hits with distinct names, in the order of `search`; none for a blank query."""
        query = foldable(query)
        best = self.names.matches(query).best(limit if _is_folded(query) else max(limit, _MOST_EXACT), self._name)
        return [self._hit(query, [], *match) for match in self._spelled_alike_first(query, best)[:limit]]

    def _page(
        self, query: str, matches: Matches, sort: Sort, offset: int, limit: int | None
    ) -> list[tuple[int, Rank | None]]:
        """The page, with exact names that are spelled like the query first."""
        if sort is not Sort.RELEVANCE or _is_folded(query) or offset >= _MOST_EXACT:
            return matches.page(sort, offset, limit)
        end = end_of_page(offset, limit)
        first = matches.page(sort, 0, end and max(end, _MOST_EXACT))
        return self._spelled_alike_first(query, first)[offset:end]

    def _spelled_alike_first(
        self, query: str, matches: Sequence[tuple[int, Rank | None]]
    ) -> list[tuple[int, Rank | None]]:
        """The best *matches*, with exact names that are spelled like the query first: `C++` before `C#` for `c++`."""
        if _is_folded(query):
            return [*matches]
        typed = composed(query.strip()).casefold()
        exact = [match for match in matches[:_MOST_EXACT] if match[1] is Rank.EXACT]
        exact.sort(key=lambda match: composed(self._name(match[0])).casefold() != typed)
        return [*exact, *matches[len(exact) :]]

    def _terms(self, query: str, scope: Scope) -> list[Term]:
        return [] if scope is Scope.NAME or not query.strip() else self.descriptions.parse(query)

    def _matches(self, query: str, terms: Sequence[Term], scope: Scope) -> Matches:
        if scope is Scope.ABOUT and query.strip():
            matches = self.names.exactly([])
        elif query.strip() and not fold(query):
            matches = self.names.exactly(self._called(query))
        else:
            matches = self.names.matches(query)
        return matches.followed_by(self.descriptions.find(terms, matches.flags)) if terms else matches

    def _called(self, query: str) -> list[int]:
        """The positions of the names that are *query*, which has no letters, such as `∞`."""
        typed = composed(query.strip())
        return [
            position for position in self.names.without_letters() if composed(self._name(position)).strip() == typed
        ]

    def finds(self, query: str, scope: Scope) -> bool:
        """Whether *query* finds anything."""
        if query.strip() and not fold(query):
            return len(self._matches(query, [], scope)) > 0
        terms = self._terms(query, scope)
        in_names = not terms or scope is not Scope.ABOUT
        return (in_names and self.names.finds(query)) or self.descriptions.finds(terms)

    def finds_all(self, query: str, filters: Filters) -> bool:
        """Whether an entry that *filters* accept has a name that matches *query*, or contains all its words."""
        found = self.descriptions.find(self._terms(query, Scope.ABOUT), share=Fraction(1)).positions
        is_found = any(self.facets.are_accepted(found, filters))
        return is_found or len(self.names.matches(query).accepted(self.facets, filters)) > 0

    def correct(self, query: str, scope: Scope = Scope.ALL) -> str | None:
        """Return a query that finds something and is near *query*, which finds nothing; None if there is none."""
        return corrections.correct(query, self, lambda corrected: self.finds(corrected, scope))

    def with_fewer_words(self, query: str, scope: Scope = Scope.ALL) -> str | None:
        """Return words of *query*, which finds nothing, that find something; None if there are none."""
        # a word that is only a part of names, as ceo of openrouteservice.org, is the first to go
        scopes = [Scope.ABOUT, scope] if scope is Scope.ALL else [scope]
        found = (corrections.with_fewer_words(query, partial(self.finds, scope=each)) for each in scopes)
        return next(filter(None, found), None)

    def near(self, text: str, distance: int) -> Mapping[str, int]:
        """As `Vocabulary.near`."""
        return self.descriptions.near(text, distance)

    def spelling(self, text: str) -> str:
        """As `Vocabulary.spelling`, from the first entry that contains the word."""
        position = self.descriptions.first_position(text)
        entry = self.catalogue[position]
        for spelled in (entry.name, entry.description, entry.category, entry.provider):
            for start, end in every_span(spelled):
                if fold(spelled[start:end]) == text:
                    return spelled[start:end].lower()
        return text

    def _name(self, position: int) -> str:
        return self.catalogue[position].name

    def _hit(self, query: str, terms: Sequence[Term], position: int, rank: Rank | None) -> Hit:
        if rank is not Rank.ABOUT:
            return self.names.hit(query, position, rank, self._name(position))
        entry = self.catalogue[position]
        return Hit(position, rank, highlights(entry.name, terms), highlights(entry.description, terms))


def _is_folded(query: str) -> bool:
    """Whether folding removes nothing but case from *query*: then no spelling of a name is preferred."""
    return composed(query.strip()).casefold() == fold(query)
