"""The visible lines of a Markdown document, each with its heading. Pure.

Recognises only the parts that can hold entries. Each function takes linear time.
"""

import re
from collections.abc import Iterator

from apidex.catalogue.formats.markup import read_inline

_PIECE = 2**16
"""Characters that are split into lines in one step."""

_HIDING = re.compile(r"^ {0,3}(?:(`{3,16})[^`\n]*$|(~{3,16})[^\n]*$)|(?:^[ \t]*|(?<=>))<!--", re.MULTILINE)
_QUOTE = re.compile(r"^>(?: {0,3}>)* ?", re.MULTILINE)
_DEFINITION = re.compile(r"^ {0,3}\[([^\[\]]{1,200})\]:[ \t]*<?([^\s<>]+)>?", re.MULTILINE)
_REFERENCE = re.compile(r"\[([^\[\]]{1,200})\](?:\[([^\[\]]{0,200})\])?(?![\[(:])")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*)|$)")
_HTML_HEADING = re.compile(r"<(?:h([1-6])|summary)\b[^<>]*>", re.IGNORECASE)
_BOLD_LINE = re.compile(r"\s{0,3}(\*\*|__)([^*_\[\]|]+)\1:?\s*")


def lines_of(document: str) -> Iterator[str]:
    """The lines of *document*, in batches. Only line feeds separate them: a name may contain other separators, such as U+2028."""
    start = 0
    while start <= len(document):
        end = document.find("\n", start + _PIECE)
        end = end if end >= 0 else len(document)
        yield from document[start:end].replace("\r\n", "\n").removesuffix("\r").split("\n")
        start = end + 1


def visible(document: str) -> str:
    """Return *document* without comments, fenced code and quotation marks (`>`), and with links in place of references.

    Text after an unclosed comment or fence stays. Line numbers do not change.
    """
    # searching the signs is ten times as fast as searching their lines
    shown = _without_hidden(document) if any(sign in document for sign in ("```", "~~~", "<!--")) else document
    shown = _QUOTE.sub("", shown) if shown.startswith(">") or "\n>" in shown else shown
    return _with_links(shown) if "]:" in shown else shown


def _with_links(document: str) -> str:
    """Return *document* with `[text](link)` in place of `[text][label]` and `[label]`, if a line `[label]: link` defines it.

    The result is at most twice as long.
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
    """The end of the comment or fence that *kind* closes, a fence with as many of its characters or more; -1 if it stays open."""
    if kind == "-->":
        return document.find(kind, start)
    closing = re.compile(rf"^ {{0,3}}{kind}{kind[0]}*[ \t\r]*$", re.MULTILINE).search(document, start)
    return closing.end() if closing else -1


class Headings:
    """The heading of the lines of a document: a Markdown heading, an HTML heading, or a bold line below a title."""

    def __init__(self) -> None:
        self.current = ""
        self._level = 0
        self._is_open = False  # an HTML element whose text is on the following lines

    def take(self, line: str, following: str) -> bool:
        """Whether *line*, which is before the line *following*, is a heading. A heading becomes the current one."""
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
        # CommonMark requires a space after the signs of a heading; GitHub did not
        return line.startswith("#") and self._set(2, line.strip("# \t"))

    def _set(self, level: int, source: str) -> bool:
        self.current, self._level = read_inline(source).text, level
        return True


def _is_underline(line: str) -> bool:
    """Whether *line* underlines the line before it, which makes that a heading."""
    return line.startswith(("=", "-", " ")) and line.strip() != "" and "" in (line.strip("= \t"), line.strip("- \t"))
