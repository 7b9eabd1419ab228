"""Corrections of queries that find nothing ("did you mean"). Pure.

The vocabulary holds what people may call the names of a catalogue. A correction is the nearest phrase in it, by optimal string
alignment distance, that finds something.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from rapidfuzz import process
from rapidfuzz.distance import OSA

from apidex.search.text import fold, query_terms, word_spans

VOCABULARY_LIMIT = 20_000
"""Catalogues with more entries have no corrections: their vocabulary would take too much memory and time."""

_MAX_TERMS = 8
"""Queries with more terms are not corrected: each term takes about a millisecond."""

_MIN_LENGTH, _LONG = 4, 8
"""Shorter queries than the first, in folded characters, are not corrected; from the second on, two letters may differ."""

_MAX_PHRASE_WORDS = 4

Vocabulary = Mapping[str, str]
"""Folded phrases, and how each is spelled in lower case."""


def vocabulary_of(names: Iterable[str]) -> Vocabulary:
    """The vocabulary of a catalogue's *names*."""
    return dict(chain.from_iterable(map(phrase_variants, names)))


def phrase_variants(name: str) -> Iterator[tuple[str, str]]:
    """What people may call *name*: a few consecutive words of it, or all; folded, and in lower case as it is spelled."""
    spans = word_spans(name)
    for first, (start, _) in enumerate(spans):
        for _, end in (*spans[first : first + _MAX_PHRASE_WORDS], spans[-1]):
            yield fold(name[start:end]), name[start:end].lower()


def correct(query: str, vocabulary: Vocabulary, count_hits: Callable[[str], int]) -> str | None:
    """Return a query near *query* that finds something, or None. *count_hits* says how many names a query finds."""
    nearest = _nearest(fold(query), vocabulary, count_hits)
    terms = query_terms(query)
    if nearest is not None or not 1 < len(terms) <= _MAX_TERMS:
        return nearest
    corrected = [term if count_hits(term) else _nearest(term, vocabulary, count_hits) for term in terms]
    phrase = " ".join(filter(None, corrected))
    return phrase if None not in corrected and count_hits(phrase) else None


def _nearest(folded: str, vocabulary: Vocabulary, count_hits: Callable[[str], int]) -> str | None:
    """The nearest phrase; of equally near ones those with the same first letter, and of these the one with most hits."""
    if len(folded) < _MIN_LENGTH:
        return None
    cutoff = 1 if len(folded) < _LONG else 2
    near = process.extract(folded, vocabulary.keys(), scorer=OSA.distance, score_cutoff=cutoff, limit=None)
    if not near:
        return None
    closest = [phrase for phrase, distance, _ in near if distance == near[0][1]]
    same_start = [phrase for phrase in closest if phrase[0] == folded[0]] or closest
    return vocabulary[max(same_start, key=lambda phrase: (count_hits(phrase), phrase))]
