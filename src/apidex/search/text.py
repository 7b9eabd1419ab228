"""Names as people type them: folded, and cut into words. Pure.

Two texts are the same when they fold to the same: case, accents, width, spaces and punctuation do not count.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from string import ascii_lowercase, ascii_uppercase, digits

_WITHOUT_DECOMPOSITION = dict(zip("łøđðħŧıæœþ", ["l", "o", "d", "d", "h", "t", "i", "ae", "oe", "th"], strict=True))
"""Letters that people type as others, although Unicode does not decompose them."""

_ENGLISH = """
    a an and any are at by can do does for from get give gives has have how i in is me need of on or some that the there this to
    want what when where which with you your"""
FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""English words that say nothing of what is searched. In a list of a few thousand APIs, some are rarer than *weather*."""

FOLDED_LIMIT = 1024
"""The longest folded form, in characters: four times the longest name."""

MOST_FOLDED = 18
"""The largest number of characters that one can become (U+FDFA)."""

_ZERO_WIDTH_SPACE = "\u200b"

_MOST_CACHED = 2**13
"""The number of characters that are cached; further ones are computed each time."""


class _CharacterMap(dict[int, str]):
    """For `str.translate`: *function* of each character, computed when the character first occurs."""

    def __init__(self, function: Callable[[str], str], known: dict[int, str] | None = None) -> None:
        super().__init__(known or {})
        self._function = function

    def __missing__(self, code: int) -> str:
        result = self._function(chr(code))
        if len(self) < _MOST_CACHED:
            self[code] = result
        return result


def _folded(character: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(_WITHOUT_DECOMPOSITION.get(each, each) for each in plain if _counts(each))


def _counts(character: str) -> bool:
    """Whether a search compares *character*: letters, digits and signs beyond ASCII, but no accents and no punctuation."""
    if character.isalnum():
        return True
    return not character.isascii() and unicodedata.category(character) in ("Mc", "Sc", "So")


def _shape(character: str) -> str:
    """`A` for an upper-case letter, `a` for another letter, `0` for a digit.

    Of the characters that do not count, `'` is part of a word (an apostrophe, an accent, a soft hyphen), and `-` is not.
    """
    if not _FOLDED[ord(character)]:
        return "'" if character in "'’" or _is_joining(character) else "-"
    if character.isdigit():
        return "0"
    return "A" if character.isupper() else "a"


def _is_joining(character: str) -> bool:
    """Whether *character* changes the letter before it, or is invisible and does not end its word."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") and character != _ZERO_WIDTH_SPACE


_FOLDED, _SHAPE = _CharacterMap(_folded), _CharacterMap(_shape)
_INITIALS = _CharacterMap(lambda character: _folded(character)[:1] or "-")

_WORD = re.compile(r"A[A']*(?![a'])|A?[a']*a[a']*|A|0+")
"""A word in a text's shape: `JSONPlaceholder`, `open-weather` and `Web3` have two each."""

_SEPARATE = re.compile("[^-]+")

_SPACED = bytes(code if chr(code).isalnum() or code == ord("'") else ord(" ") for code in range(128)).lower().ljust(256)
"""For `bytes.translate` of ASCII: lower case, and a space for what separates words."""

_RARE = 32
"""Parts of words are rare in a text that has this many times more characters."""

_ALPHANUMERIC = re.compile("[A-Za-z0-9]+")


def composed(text: str) -> str:
    """*text* in NFC: a letter and its accent become one character, if such a character exists."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """What *text* is compared by. Folding twice changes nothing."""
    return text.translate(_FOLDED)


def foldable(name: str) -> str:
    """Return *name*, cut so that its folded form is not longer than FOLDED_LIMIT."""
    if len(name) * MOST_FOLDED <= FOLDED_LIMIT or len(fold(name)) <= FOLDED_LIMIT:
        return name
    return name[: bisect_right(list(accumulate(len(fold(each)) for each in name)), FOLDED_LIMIT)]


def words(text: str) -> list[str]:
    """The words of *text* as they are spelled: cut at spaces, at punctuation, and where case or digits begin."""
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of *text* begin and end."""
    return [match.span() for match in _WORD.finditer(text.translate(_SHAPE))]


def separate(text: str) -> list[str]:
    """The folded words of *text*, split at spaces and punctuation, but not at a change of case or at digits."""
    return list(filter(None, (fold(text[start:end]) for start, end in separate_spans(text))))


def separate_spans(text: str) -> list[tuple[int, int]]:
    """The ranges of the words that `separate` returns."""
    return [match.span() for match in _SEPARATE.finditer(text.translate(_SHAPE))]


def every_span(text: str) -> Iterator[tuple[int, int]]:
    """The ranges of the words that `words` or `separate` return; some occur twice."""
    shape = text.translate(_SHAPE)
    return (match.span() for match in chain(_SEPARATE.finditer(shape), _WORD.finditer(shape)))


def spans_beginning_with(text: str, beginnings: Collection[str]) -> set[tuple[int, int]]:
    """As `every_span`, of words among which are all that begin with one of *beginnings* when they are folded."""
    if text.isascii() and (spans := _spans_around(text, [*beginnings, "'"])) is not None:
        return spans
    initials, firsts = {each[0] for each in beginnings}, text.translate(_INITIALS)
    return {span for span in every_span(text) if firsts[span[0]] in initials or firsts[span[0]] == "-"}


def _spans_around(text: str, parts: Sequence[str]) -> set[tuple[int, int]] | None:
    """The words of what stands between spaces and punctuation of an ASCII *text* and contains one of *parts*.

    None if these are so frequent that it is faster to cut the whole text; mostly, it takes ten times as long.
    """
    lowered, spans = f"{text} ".encode().translate(_SPACED), set[tuple[int, int]]()
    encoded = [part.encode() for part in parts]
    if sum(map(lowered.count, encoded)) * _RARE > len(text):
        return None
    for part in encoded:
        at = lowered.find(part)
        while at >= 0:
            start, end = lowered.rfind(b" ", 0, at) + 1, lowered.find(b" ", at)
            spans |= {(start + first, start + last) for first, last in every_span(text[start:end])}
            at = lowered.find(part, end)
    return spans


def query_terms(query: str) -> list[str]:
    """The distinct folded words of *query*, cut at spaces and punctuation, without function words and the word API.

    If there are no others, function words are returned, or else the word API.
    """
    terms = list(dict.fromkeys(separate(query)))
    terms = [term for term in terms if term not in ("api", "apis")] or terms
    return [term for term in terms if term not in FUNCTION_WORDS] or terms


def highlighted(name: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of *name* that characters *start* to *end* of its folded form stand for, with their accents."""
    place, previous = 0, -2
    if name.isascii():
        for run in _ALPHANUMERIC.finditer(name):
            first, last = max(run.start(), run.start() + start - place), min(run.end(), run.start() + end - place)
            if first < last:
                yield first, last
            place += run.end() - run.start()
        return
    for at, character in enumerate(name):
        size = len(_FOLDED[ord(character)])
        is_accent = not size and previous == at - 1 and _is_joining(character)
        if is_accent or (size and place < end and place + size > start):
            yield at, at + 1
            previous = at
        place += size


def to_ranges(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted *spans*, of which those that overlap or touch are one."""
    ranges: list[tuple[int, int]] = []
    for start, end in spans:
        if ranges and start <= ranges[-1][1]:
            first, last = ranges.pop()
            ranges.append((first, max(last, end)))
        else:
            ranges.append((start, end))
    return ranges


# --- many names at once


def fold_batch(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """The folded *names*, each after a line feed; a flag for each byte that begins a word; and the bytes of each name.

    A call for each name would cost more than its work. Names of plain ASCII, which most are, take a few passes over their bytes.
    The others are folded by character, and replace lines that are left empty.
    """
    odd = [place for place, name in enumerate(names) if not name.isascii() or "'" in name]
    if not odd:
        return _by_bytes(names)
    plain = list(names)
    for place in odd:
        plain[place] = ""
    lines, flags, sizes = _by_bytes(plain)
    odd_lines, odd_flags, odd_sizes = _by_character([foldable(names[place]) for place in odd])
    ends, odd_ends = list(accumulate(sizes)), list(accumulate(odd_sizes, initial=0))
    texts, word_starts, done = list[bytes](), list[bytes](), 0
    for place, (start, end) in zip(odd, pairwise(odd_ends), strict=True):
        texts += lines[done : ends[place]], odd_lines[start + 1 : end]
        word_starts += flags[done : ends[place]], odd_flags[start + 1 : end]
        sizes[place], done = end - start, ends[place]
    return b"".join([*texts, lines[done:]]), b"".join([*word_starts, flags[done:]]), sizes


def line_sizes(lines: bytes) -> list[int]:
    """The bytes of each of *lines*, with the line feed before it."""
    return [len(line) + 1 for line in lines.split(b"\n")[1:]]


_MARK, _MARKED = b"\1", _CharacterMap(_folded, {1: "\1", 10: "\n"})
_FLAGS = bytes(code == 1 for code in range(256))


def _by_character(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """As `fold_batch`. A mark is put before each word, and becomes one byte with the byte after it when all is folded."""
    text = "\n" + "\n".join(names)
    cuts = [match.start() for match in _WORD.finditer(text.translate(_SHAPE))]
    separate_words = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    marked = _MARK.decode().join(separate_words).translate(_MARKED).encode()
    lines = marked.replace(_MARK, b"")
    return lines, marked.translate(_FLAGS).replace(b"\1\0", b"\1"), line_sizes(lines)


def _flags_of(characters: str) -> bytes:
    """For `bytes.translate`: 1 for each of *characters*, 0 for others."""
    return bytes(chr(code) in characters for code in range(256))


_UPPER, _LOWER, _DIGIT = map(_flags_of, (ascii_uppercase, ascii_lowercase, digits))
_TO_LOWER = bytes(range(256)).lower()
_NOT_COUNTED = bytes(code for code in range(128) if code != 10 and not chr(code).isalnum())
_UNMARKED = bytes(code % 128 for code in range(256))
_IS_MARKED = bytes(code >= 128 for code in range(256))


def _by_bytes(names: Sequence[str]) -> tuple[bytes, bytes, list[int]]:
    """As `fold_batch`, for ASCII without apostrophes, where a byte and its neighbours tell whether a word begins.

    The bytes of a class are one large number with a byte for each, so that all are compared with their neighbours at once.
    """
    text = "\n".join(["", *names]).encode("ascii")
    upper, lower, digit = (int.from_bytes(text.translate(flags), "little") for flags in (_UPPER, _LOWER, _DIGIT))
    letter = upper | lower
    begins = digit & ~(digit << 8) | letter & ~(letter << 8)
    begins |= upper & lower << 8  # the P of JsonPlaceholder
    begins |= upper & upper << 8 & lower >> 8  # and of JSONPlaceholder
    marked = (int.from_bytes(text.translate(_TO_LOWER), "little") | begins << 7).to_bytes(len(text), "little")
    kept = marked.translate(None, _NOT_COUNTED)
    lines = kept.translate(_UNMARKED)
    return lines, kept.translate(_IS_MARKED), line_sizes(lines)
