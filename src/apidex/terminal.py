"""Text for people: counts, and untrusted text with escapes for a terminal. Pure.

Text from others (names, links, remarks, reason phrases) could otherwise move the cursor, set a title, or show one link as
another.
"""

import unicodedata
from collections.abc import Mapping


def counted(count: int, what: str) -> str:
    """Return *count* and *what* is counted, which is given in the singular: `1 category`, `2 categories`."""
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that control a terminal or are invisible: controls, formats such as bidi, surrogates, separators."""

_JOINERS = "\u200c\u200d"
"""Characters of such a category that stay: words of several languages, and emoji, contain them."""


class _Escapes(dict[int, str]):
    """The escape of each character that has one, as JSON writes it; other characters stay."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_hidden = unicodedata.category(character) in _HIDDEN and character not in _JOINERS
        units = character.encode("utf-16-be", "surrogatepass").hex() if is_hidden else ""
        escape = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        self[code] = escape or character
        return self[code]


_ESCAPES = _Escapes()


def printable(text: str) -> str:
    r"""Return *text* in one line, with an escape such as ``\u001b`` for each character that controls a terminal or is invisible.

    The value of a JSON text stays the same, unless it has line breaks between its tokens.
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def wants_color(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Whether to use colours and other styles: `NO_COLOR` forbids, `FORCE_COLOR` requires them; else the terminal decides."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal and environ.get("TERM", "") not in ("dumb", "unknown")
