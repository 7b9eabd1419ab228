"""The lines of a Markdown document as people see them: without what is hidden, and with the heading that each stands under. Pure.

Only what can hold entries is told apart. Each function takes linear time.
"""

import re
from collections.abc import Iterator

from apidex.catalogue.formats.markup import read_inline

_PIECE = 2**16
"""Characters that are cut into lines at a time."""

_HIDING = re.compile(r"^ {0,3}(?:(`{3,16})[^`\n]*$|(~{3,16})[^\n]*$|<!--)", re.MULTILINE)
_QUOTE = re.compile(r"^>(?: {0,3}>)* ?", re.MULTILINE)
_DEFINITION = re.compile(r"^ {0,3}\[([^\[\]]{1,200})\]:[ \t]*<?([^\s<>]+)>?", re.MULTILINE)
_REFERENCE = re.compile(r"\[([^\[\]]{1,200})\](?:\[([^\[\]]{0,200})\])?(?![\[(:])")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*)|$)")
_HTML_HEADING = re.compile(r"<(?:h([1-6])|summary)\b[^<>]*>", re.IGNORECASE)
_BOLD_LINE = re.compile(r"\s{0,3}(\*\*|__)([^*_\[\]|]+)\1:?\s*")


def lines_of(document: str) -> Iterator[str]:
    """The lines of *document*, a piece at a time. Only line feeds separate them: a name may have U+2028 and the like."""
    start = 0
    while start <= len(document):
        end = document.find("\n", start + _PIECE)
        end = end if end >= 0 else len(document)
        yield from document[start:end].replace("\r\n", "\n").removesuffix("\r").split("\n")
        start = end + 1


def visible(document: str) -> str:
    """Return *document* without comments, fenced code and signs of quotation, and with links in place of references.

    What is never closed hides nothing. Each line keeps its place.
    """
    # looking for signs is ten times as fast as looking for their lines
    shown = _without_hidden(document) if any(sign in document for sign in ("```", "~~~", "<!--")) else document
    shown = _QUOTE.sub("", shown) if shown.startswith(">") or "\n>" in shown else shown
    return _with_links(shown) if "]:" in shown else shown


def _with_links(document: str) -> str:
    """Return *document* with `[text](link)` in place of `[text][label]` and `[label]` where a line `[label]: link` defines it.

    It becomes twice as long at most.
    """
    links = {" ".join(label.split()).casefold(): link for label, link in _DEFINITION.findall(document)}
    left = len(document)

    def resolved(reference: re.Match[str]) -> str:
        nonlocal left
        link = links.get(" ".join((reference[2] or reference[1]).split()).casefold(), "")
        left -= len(link)
        return f"[{reference[1]}]({link})" if link and left > 0 else reference[0]

    return _REFERENCE.sub(resolved, document) if links else document


def _without_hidden(document: str) -> str:
    shown, at, unclosed = list[str](), 0, set[str]()
    while opening := _HIDING.search(document, at):
        kind = opening[1] or opening[2] or "-->"
        end = -1 if kind in unclosed else _end(kind, document, opening.end())
        if end < 0:
            unclosed.add(kind)
            shown.append(document[at : opening.end()])
        else:
            shown += document[at : opening.start()], "\n" * document.count("\n", opening.start(), end)
        at = max(end, opening.end())
    return "".join([*shown, document[at:]]) if shown else document


def _end(kind: str, document: str, start: int) -> int:
    """Where a comment or a fence ends that *kind* closes, a fence of the same characters or more; -1 if it does not."""
    if kind == "-->":
        return document.find(kind, start)
    closing = re.compile(rf"^ {{0,3}}{kind}{kind[0]}*[ \t\r]*$", re.MULTILINE).search(document, start)
    return closing.end() if closing else -1


class Headings:
    """The heading that the lines of a document stand under: of Markdown, of HTML, or a line in bold below a title."""

    def __init__(self) -> None:
        self.current = ""
        self._level = 0
        self._is_open = False  # an element of HTML whose text is on the following lines

    def take(self, line: str, following: str) -> bool:
        """Whether *line*, before the line *following*, is a heading. It becomes the current one."""
        if line.startswith(("#", " ")) and (heading := _ATX.match(line)):
            return self._set(len(heading[1]), (heading[2] or "").rstrip("# \t"))
        if "|" in line or not line.strip():
            return False
        if self._is_open:
            self._is_open = False
            return self._set(self._level, line)
        if "<" in line and (element := _HTML_HEADING.search(line)):
            self._is_open = not line[element.end() :].strip()
            return self._set(int(element[1] or 6), line[element.start() :])
        if _is_underline(following):
            return self._set(1 if "=" in following else 2, line)
        if self._level < 2 and (bold := _BOLD_LINE.fullmatch(line)):
            return self._set(1, bold[2])
        # a heading without a space after its signs is none in CommonMark, but was one on GitHub
        return line.startswith("#") and self._set(2, line.strip("# \t"))

    def _set(self, level: int, source: str) -> bool:
        self.current, self._level = read_inline(source).text, level
        return True


def _is_underline(line: str) -> bool:
    """Whether *line* makes a heading of the line before it."""
    return line.startswith(("=", "-", " ")) and line.strip() != "" and "" in (line.strip("= \t"), line.strip("- \t"))
