"""The words of entries: prepares many texts in one step, and stems words. Pure."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain

from apidex.catalogue.entry import Entry
from apidex.search.text import separate, word_spans

FIELDS = (0, 0, 1, 2, 3)
"""The field of each list of texts that `texts_of` returns."""

DESCRIPTIONS = 2
"""The list of the texts whose numbers of words are the lengths of entries."""

TF_BITS = 2
"""Bits for the number of fields that contain a word, less 1."""

TF_MASK = (1 << TF_BITS) - 1

MAX_LENGTH = 255
"""Descriptions with more words count as if they had this many."""

MAX_PARTS = 3
"""How many consecutive parts of a name also make a word: OpenWeatherMap has openweather and weathermap besides open and
weather."""

DOMAIN = "."
"""Domains begin with it. All other words begin with letters or digits."""

_WITHOUT_PUNCTUATION = bytes(
    code if chr(code).isalnum() or code == 0 or code > 127 else ord(" ") for code in range(256)
)
_TO_WORDS = _WITHOUT_PUNCTUATION.lower()
_HAS_PARTS = re.compile(r"[a-z][A-Z]|[A-Z][A-Z][a-z]|[A-Za-z][0-9]|[0-9][A-Za-z]").search
_LETTERS = re.compile(r"[^\W_]+").findall
_ASCII_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""Splits like `word_spans`, for ASCII without punctuation, at a fraction of the cost."""


def texts_of(entries: Sequence[Entry]) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The texts of *entries*, with spaces between words and a zero byte after each text.

    Names of plain ASCII keep their case, because their words may have parts; for other names, this text is blank. The lists after
    it have the folded words of the other names, of descriptions, of categories with providers, and the domains of links.
    """
    names = [entry.name for entry in entries]
    plain, others = names, [""] * len(names)
    for place in [place for place, name in enumerate(names) if not name.isascii() or "'" in name]:
        plain = plain if plain is not names else names.copy()
        plain[place], others[place] = "", with_parts(names[place])
    return (
        _ended(plain).encode().translate(_WITHOUT_PUNCTUATION),
        _folded(others),
        _folded([entry.description for entry in entries]),
        _folded([f"{entry.category} {entry.provider}" for entry in entries]),
        _ended(_domains(entries)).encode(),
    )


def _ended(texts: Sequence[str]) -> str:
    return "\0".join([*texts, ""])


def _folded(texts: Sequence[str]) -> bytes:
    """The folded words of each of *texts*, as `separate` returns them."""
    joined = _ended(texts)
    if not joined.isascii() or joined.count("\0") > len(texts):
        joined = _ended([text if text.isascii() and "\0" not in text else " ".join(separate(text)) for text in texts])
    return joined.encode().translate(_TO_WORDS, b"'")


def with_parts(name: str) -> str:
    """Return *name* followed by the parts of its words, such as `Open`, `Weather` and `OpenWeather`."""
    if name.isascii() and not _HAS_PARTS(name):
        return name
    return " ".join([name, *chain.from_iterable(map(_parts, _LETTERS(name)))])


def _parts(word: str) -> Iterator[str]:
    parts = _ASCII_PARTS.findall(word) if word.isascii() else [word[slice(*span)] for span in word_spans(word)]
    for first in range(len(parts) if len(parts) > 1 else 0):
        yield from accumulate(parts[first : first + MAX_PARTS])


# --- the hosts of links

_URL = r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/@?#\n]*@)?(?:www\.)?((?:[\w-]+\.)+[\w-]{2,})\.?(?::\d*)?(?:[/?#].*)?"
_HOST = re.compile(_URL, re.IGNORECASE | re.DOTALL)
_HOSTS = re.compile(rf"^(?:{_URL}|.*)$", re.IGNORECASE | re.MULTILINE)
_MAX_LABELS = 5


def host_of(link: str) -> str | None:
    """The host of a URL, with or without scheme, in lower case and without `www.`; None for another text."""
    match = _HOST.fullmatch(link)
    return match[1].lower() if match else None


def _domains(entries: Sequence[Entry]) -> list[str]:
    """The words for the domains of the link and the provider of each of *entries*."""
    texts = list(map(_with_parents, _hosts([entry.link for entry in entries])))
    for place, entry in enumerate(entries):
        if entry.provider:
            texts[place] += f" {_with_parents(host_of(entry.provider) or '')}"
    return texts


def _hosts(links: Sequence[str]) -> list[str]:
    """The host of each of *links*, as `host_of` returns it, but "" for None."""
    lines = "\n".join(links)
    if not links or lines.count("\n") >= len(links):
        return [host_of(link) or "" for link in links]
    return "\n".join(_HOSTS.findall(lines)).lower().split("\n")


def _with_parents(host: str) -> str:
    """The words for *host* and the domains that it belongs to: `.api.dog.ceo` and `.dog.ceo`."""
    if host.count(".") <= 1:
        return host and DOMAIN + host
    labels = host.rsplit(".", _MAX_LABELS)
    return " ".join([DOMAIN + ".".join(labels[first:]) for first in range(len(labels) - 1)])


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
_CHANGED_ENDINGS = (("ific", 2), ("ifi", 1), ("vert", 1))
"""Forms of a verb leave other letters than its noun: verif(y), verifi(ed), verific(ation); convert, convers(ion). The number says
how many of them are removed."""

_SHORTEST_CHANGED = 6
"""Letters of the shortest word whose ending is changed, so that wifi stays."""


@lru_cache(4096)
def stem(word: str) -> str:
    """The stem of a *word*: `translat` for translate, translates, translator and translation.

    It is simpler than Porter's stemmer: if two words share a stem by accident, the other words of the query decide.
    """
    while (shorter := _without_suffix(word)) != word:
        word = shorter
    return word


def _without_suffix(word: str) -> str:
    for ending, removed in _CHANGED_ENDINGS:
        if word.endswith(ending) and len(word) >= _SHORTEST_CHANGED:
            return word[:-removed]
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


_MIDDLES = {
    ("er", "or", "y"): ("ing", "ed"),
    ("ic",): ("", "ation", "ations", "ate", "ates", "ated"),
    ("i",): ("ed", "er", "ers"),
    ("ert", "t"): ("", "s", "ing", "ed", "er", "ers"),
    ("ers", "s"): ("ion", "ions"),
}
_FORMS = [*_ENDINGS, "", *(one + end for middles, ends in _MIDDLES.items() for one in middles for end in ends)]


def possible_forms(word: str) -> dict[str, None]:
    """The stem of *word* with each of the endings above. Those with the same stem are forms of *word*."""
    root = stem(word)
    doubled = root + root[-1:]
    return dict.fromkeys(chain((word, *(root + each for each in _FORMS)), (doubled + each for each in _DOUBLING)))


_DOUBLING = ("ing", "ed", "er", "ers")
