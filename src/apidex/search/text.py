"""How names are compared as people type them: folded, and cut into words. Pure.

Two texts are the same when they fold to the same: case, accents, width, spaces and punctuation are left out.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise
from string import ascii_lowercase, ascii_uppercase, digits

_WITHOUT_DECOMPOSITION = {
    "ł": "l",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "ħ": "h",
    "ŧ": "t",
    "ı": "i",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
}
"""Letters that people type as others, though Unicode does not say so."""

_KEPT_BELOW = 0x3000
"""Foldings of characters below this are kept; the many of East Asia are worked out each time."""


class _Characters(dict[int, str]):
    """What each character becomes, for `str.translate`: worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        becomes = self.of(chr(code))
        if code < _KEPT_BELOW:
            self[code] = becomes
        return becomes

    def of(self, character: str) -> str:
        """What *character* becomes."""
        raise NotImplementedError


class _Folded(_Characters):
    def of(self, character: str) -> str:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        return "".join(_WITHOUT_DECOMPOSITION.get(each, each) for each in plain if _counts(each))


def _counts(character: str) -> bool:
    """Whether *character* takes part in a search: letters, digits, signs that are no ASCII, and no accents or punctuation."""
    if character.isalnum():
        return True
    return not character.isascii() and unicodedata.category(character) in ("Mc", "Sc", "So")


class _Shape(_Characters):
    """What matters where words begin: `A` for upper case, `a` for other letters, `0` for digits.

    Of what is left out, `'` is part of a word (an apostrophe, an accent), and `-` is not.
    """

    def of(self, character: str) -> str:
        if not _FOLDED[ord(character)]:
            return "'" if character in "'’" or unicodedata.category(character)[0] == "M" else "-"
        if character.isdigit():
            return "0"
        return "A" if character.isupper() else "a"


_FOLDED, _SHAPE = _Folded(), _Shape()

_A_WORD = re.compile(r"A[A']*(?![a'])|A?[a']*a[a']*|A|0+")
"""A word in a text's shape: `JSONPlaceholder` is two of them, `open-weather` too, and `Web3` as well."""


def fold(text: str) -> str:
    """What *text* is compared by. Folding twice changes nothing."""
    return text.translate(_FOLDED)


def words(text: str) -> list[str]:
    """The words of *text*, as they stand in it: cut at spaces, at punctuation, and where case or digits begin."""
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _A_WORD.finditer(text.translate(_SHAPE))]


def query_terms(query: str) -> list[str]:
    """The folded words of *query*, each once, cut at spaces and punctuation, but for the word API, which says nothing here."""
    folded = [fold(query[match.start() : match.end()]) for match in re.finditer("[^-]+", query.translate(_SHAPE))]
    found = list(dict.fromkeys(filter(None, folded)))
    return [term for term in found if term not in ("api", "apis")] or found


def highlights(name: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where characters *start* to *end* of the folded *name* stand in it: ranges of its code points, without spaces between."""
    ranges: list[tuple[int, int]] = []
    place = 0
    for at, character in enumerate(name):
        size = len(fold(character))
        if size and place < end and place + size > start:
            extend_ranges(ranges, at)
        elif not size and ranges and ranges[-1][1] == at and unicodedata.category(character)[0] == "M":
            extend_ranges(ranges, at)  # an accent belongs to its letter
        place += size
    return ranges


def extend_ranges(ranges: list[tuple[int, int]], at: int) -> None:
    """Add one code point, to the last range if it lies behind that."""
    start = ranges.pop()[0] if ranges and ranges[-1][1] == at else at
    ranges.append((start, at + 1))


# --- many names at once


def fold_batch(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """The folded *names*, each behind a line feed; a flag for each byte that begins a word; and how many bytes each takes.

    All at once, for each call costs more than what it does. Names of plain ASCII, which most are, cost a few passes over their
    bytes; the others are worked out by character, and stand in for lines that were left empty.
    """
    odd = [place for place, name in enumerate(names) if not name.isascii() or "'" in name]
    if not odd:
        return _by_bytes(names)
    plain = list(names)
    for place in odd:
        plain[place] = ""
    lines, flags, sizes = _by_bytes(plain)
    odd_lines, odd_flags, odd_sizes = _by_character([names[place] for place in odd])
    ends, odd_ends = list(accumulate(sizes)), list(accumulate(odd_sizes, initial=0))
    texts, begins, done = list[bytes](), list[bytes](), 0
    for place, start, end in zip(odd, odd_ends, odd_ends[1:], strict=False):
        texts += lines[done : ends[place]], odd_lines[start + 1 : end]
        begins += flags[done : ends[place]], odd_flags[start + 1 : end]
        sizes[place], done = end - start, ends[place]
    return b"".join([*texts, lines[done:]]), b"".join([*begins, flags[done:]]), sizes


def _sizes(lines: bytes) -> list[int]:
    return [len(line) + 1 for line in lines.split(b"\n")[1:]]


_MARK, _MARKED = b"\1", _Folded({1: "\1", 10: "\n"})
_FLAGS = bytes(code == 1 for code in range(256))


def _by_character(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """As `fold_batch`: words are marked, what is left out goes, and each mark is then drawn together with the byte behind it."""
    text = "\n" + "\n".join(names)
    cuts = [match.start() for match in _A_WORD.finditer(text.translate(_SHAPE))]
    words_apart = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    marked = _MARK.decode().join(words_apart).translate(_MARKED).encode()
    lines = marked.replace(_MARK, b"")
    return lines, marked.translate(_FLAGS).replace(b"\1\0", b"\1"), _sizes(lines)


def _table(characters: str) -> bytes:
    """For `bytes.translate`: 1 for each of *characters*, 0 for others."""
    return bytes(chr(code) in characters for code in range(256))


_UPPER, _LOWER, _DIGIT = map(_table, (ascii_uppercase, ascii_lowercase, digits))
_SMALL = bytes(range(256)).lower()
_LEFT_OUT = bytes(code for code in range(128) if code != 10 and not chr(code).isalnum())
_UNMARKED = bytes(code % 128 for code in range(256))
_IS_MARKED = bytes(code >= 128 for code in range(256))


def _by_bytes(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """As `fold_batch`, for ASCII without apostrophes: there, a byte and its neighbours tell whether a word begins.

    Which bytes are of a class is one large number with a byte for each, so that all are compared with their neighbours at once.
    """
    text = "\n".join(["", *names]).encode("ascii")
    upper, lower, digit = (int.from_bytes(text.translate(table), "little") for table in (_UPPER, _LOWER, _DIGIT))
    letter = upper | lower
    begins = digit & ~(digit << 8) | letter & ~(letter << 8)
    begins |= upper & lower << 8  # the P of JsonPlaceholder
    begins |= upper & upper << 8 & lower >> 8  # and of JSONPlaceholder
    marked = (int.from_bytes(text.translate(_SMALL), "little") | begins << 7).to_bytes(len(text), "little")
    kept = marked.translate(None, _LEFT_OUT)
    lines = kept.translate(_UNMARKED)
    return lines, kept.translate(_IS_MARKED), _sizes(lines)
