"""Other queries for a query that finds nothing: other spellings ("did you mean"), or fewer words. Pure.

A word that no entry contains is replaced by the nearest word of the catalogue, by optimal string alignment distance.
"""

from collections.abc import Callable, Mapping
from heapq import nsmallest
from itertools import chain
from typing import Protocol

from rapidfuzz import process
from rapidfuzz.distance import OSA

from apidex.search.text import fold, query_terms, separate_spans

MAX_WORDS = 8
"""Queries with more words are not corrected."""

_MAX_REPLACED = 3
"""The most words of a query that are replaced."""

_MIN_LENGTH, _LONG = 4, 8
"""In folded characters: shorter words than the first number are not replaced; from the second number on, two letters may
differ."""

_MAX_LENGTH = 64
"""The longest word that is replaced, in folded characters. rapidfuzz compares longer ones in several times as long."""

_BATCH = 2**10
"""Words that are compared in one call, which keeps the interpreter from other threads."""

_MAX_TRIED = 5
"""The number of near words that are tried. The first one that finds something is taken."""

Finds = Callable[[str], bool]
"""Whether a query finds anything."""


class Vocabulary(Protocol):
    """The words of a catalogue."""

    def near(self, text: str, distance: int) -> Mapping[str, int]:
        """The words within *distance* changes of *text*, and perhaps others, each with the number of its entries."""

    def spelling(self, text: str) -> str:
        """How the folded word *text* is spelled, in lower case."""


def correct(query: str, vocabulary: Vocabulary, finds: Finds) -> str | None:
    """Return a query that finds something and is near *query*, which finds nothing; None if there is none.

    Each word that finds nothing is replaced. If the result finds nothing, the whole query is replaced as if it were one word.
    """
    terms = query_terms(query)
    spans = [(start, end) for start, end in separate_spans(query) if fold(query[start:end]) in terms]
    unknown = [span for span in spans if not finds(query[slice(*span)])] if len(spans) <= MAX_WORDS else []
    nearest = [_nearest(fold(query[slice(*span)]), vocabulary, finds) for span in unknown[: _MAX_REPLACED + 1]]
    if 0 < len(nearest) <= _MAX_REPLACED and None not in nearest:
        corrected = query
        for (start, end), word in zip(reversed(unknown), reversed(nearest), strict=True):
            corrected = f"{corrected[:start]}{word}{corrected[end:]}"
        if finds(corrected):
            return corrected.strip()
    return _nearest(fold(query), vocabulary, finds) if len(spans) > 1 else None


def _nearest(folded: str, vocabulary: Vocabulary, finds: Finds) -> str | None:
    """The nearest word that finds something; of equally near ones those with the same first letter, then the most frequent."""
    if not _MIN_LENGTH <= len(folded) <= _MAX_LENGTH:
        return None
    cutoff = 1 if len(folded) < _LONG else 2
    words = vocabulary.near(folded, cutoff)
    compared = [*words]
    batches = (compared[start : start + _BATCH] for start in range(0, len(compared), _BATCH))
    near = chain.from_iterable(
        process.extract(folded, batch, scorer=OSA.distance, score_cutoff=cutoff, limit=None) for batch in batches
    )
    best = nsmallest(_MAX_TRIED, near, key=lambda each: (each[1], each[0][0] != folded[0], -words[each[0]], each[0]))
    return next((vocabulary.spelling(word) for word, _, _ in best if finds(word)), None)


def with_fewer_words(query: str, finds: Finds) -> str | None:
    """Return as many words as possible of *query*, which finds nothing, that together find something."""
    words = [query[start:end] for start, end in separate_spans(query) if fold(query[start:end]) in query_terms(query)]
    known = [word for word in words if finds(word)] if 1 < len(words) <= MAX_WORDS else []
    if len(known) < 2 or (len(known) < len(words) and finds(" ".join(known))):
        return " ".join(known) or None
    fewer = (" ".join(words[:at] + words[at + 1 :]) for words in [known] for at in range(len(known)))
    return next(filter(finds, fewer), known[0])
