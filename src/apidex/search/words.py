"""The words of descriptions: splits many texts in one step, and stems words. Pure."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain

from apidex.search.text import separate, word_spans

END = b"\0"
"""Marks the end of the words of each text."""

_MAX_PARTS = 3
"""How many consecutive parts of a name also make a word: OpenWeatherMap has openweather and weathermap besides open and
weather."""

_TO_WORDS = bytes(
    code if chr(code).isalnum() or code == END[0] or code > 127 else ord(" ") for code in bytes(range(256)).lower()
)
_HAS_PARTS = re.compile(r"[a-z][A-Z]|[A-Z][A-Z][a-z]|[A-Za-z][0-9]|[0-9][A-Za-z]").search
_LETTERS = re.compile(r"[^\W_]+").findall
_ASCII_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""Splits like `word_spans`, for ASCII without punctuation, at a fraction of the cost."""


def cut(texts: Sequence[str]) -> list[bytes]:
    """The folded words of each of *texts*, as `separate` returns them, and END after each text."""
    if not (joined := "".join(texts)).isascii() or "\0" in joined:
        texts = [text if text.isascii() and "\0" not in text else " ".join(separate(text)) for text in texts]
    return " \0 ".join([*texts, ""]).encode().translate(_TO_WORDS, b"'").split()[: None if texts else 0]


def with_parts(name: str) -> str:
    """Return *name* followed by the parts of its words, such as `Open`, `Weather` and `OpenWeather`."""
    if name.isascii() and not _HAS_PARTS(name):
        return name
    return " ".join([name, *chain.from_iterable(map(_parts, _LETTERS(name)))])


def _parts(word: str) -> Iterator[str]:
    parts = _ASCII_PARTS.findall(word) if word.isascii() else [word[slice(*span)] for span in word_spans(word)]
    for first in range(len(parts) if len(parts) > 1 else 0):
        yield from accumulate(parts[first : first + _MAX_PARTS])


# --- the hosts of links

_HOST = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/@?#]*@)?(?:www\.)?((?:[\w-]+\.)+[\w-]{2,})\.?(?::\d*)?(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_MAX_LABELS = 5


def host_of(link: str) -> str | None:
    """The host of a URL, with or without scheme, in lower case and without `www.`; None for another text."""
    match = _HOST.fullmatch(link)
    return match[1].lower() if match else None


def domains(link: str) -> Sequence[str]:
    """The host of *link* and the domains that it belongs to: `api.dog.ceo` and `dog.ceo`."""
    host = host_of(link)
    if host is None or host.count(".") == 1:
        return (host,) if host else ()
    labels = host.rsplit(".", _MAX_LABELS)
    return [".".join(labels[first:]) for first in range(len(labels) - 1)]


# --- stems

_SUFFIXES = [
    (suffix, least)
    for least, suffixes in (
        (4, "izations isations ization isation ations ation ators ator ating ated ates ate"),
        (5, "itions ition ions ion"),
        (4, "ings ing ers er ors or ed"),
        (3, "ies ie y"),
        (5, "es e"),
        (3, "s"),
    )
    for suffix in suffixes.split()
]
"""The endings that the stemmer removes, the longest first, and how many letters must remain."""

_ENDINGS = tuple(suffix for suffix, _ in _SUFFIXES)
_NO_PLURAL = ("ss", "us", "is", "news", "series")
_LONG_PLURAL = ("ches", "shes", "sses", "xes")
_VOWELS = "aeiou"

MAX_SUFFIX = 10
"""The forms of a word are less than so many letters longer than its stem."""


@lru_cache(4096)
def stem(word: str) -> str:
    """The stem of a *word*: `translat` for translate, translates, translator and translation.

    It is simpler than Porter's stemmer: if two words share a stem by accident, the other words of the query decide.
    """
    while (shorter := _without_suffix(word)) != word:
        word = shorter
    return word


def _without_suffix(word: str) -> str:
    if not word.endswith(_ENDINGS) or word.endswith(_NO_PLURAL):
        return word
    if word.endswith(_LONG_PLURAL):
        return word[:-2]
    for suffix, least in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= least:
            kept = word[: -len(suffix)]
            if suffix == "y" and kept[-1] in _VOWELS:
                return word
            doubled = suffix[0] in "ieo" and kept[-1] == kept[-2] and kept[-1] not in "lsz" + _VOWELS
            return kept[:-1] if doubled and len(kept) > least else kept
    return word


_FORMS = [*_ENDINGS, "", *(first + second for first in ("er", "or") for second in ("ing", "ed"))]


def forms(word: str) -> list[str]:
    """The words that may be forms of *word*: those with the same stem, by the endings above."""
    root = stem(word)
    doubled = root + root[-1:]
    candidates = dict.fromkeys(chain((word, *(root + each for each in _FORMS)), (doubled + each for each in _DOUBLING)))
    return [each for each in candidates if stem(each) == root]


_DOUBLING = ("ing", "ed", "er", "ers")
