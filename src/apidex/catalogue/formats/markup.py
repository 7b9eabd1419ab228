"""From markdown and HTML to plain text, by markdown-it-py (CommonMark). Pure.

Most texts have no markup, or are one link; they do not need the parser. Texts longer than MARKUP_LIMIT are cut before they are
parsed. Texts with more than a few hundred signs of markup are not parsed, so that no text takes more than linear time.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import unescape
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from apidex.catalogue.entry import TEXT_LIMIT

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MARKUP_LIMIT = 2 * TEXT_LIMIT
"""Characters of a text that are parsed; what follows is left out."""

_MOST_SIGNS = 200
"""The largest number of signs of markup in a text that is parsed: if nested, each can take a tenth of a millisecond."""

_SIGN = re.compile(r"[\[\]*_~`<&!\n]")
_SUSPICIOUS = re.compile(r"[\\`*_\[<~&#>\r\n]").search
"""Finds what may be markup. One class of characters, because every text is searched."""

_MARKUP = re.compile(r"[\\`*_\[<]|~~|&#?\w+;")
_BLOCKS = re.compile(r"[\r\n]|^\s*[#<>]")
_ONE_LINK = re.compile(r"\[((?:[^\\`*_\[\]<>&~]|&(?!#?\w+;))+)\]\(([^\\`\s()<>&\"']+)\)")
URL = re.compile(r"https?://[^\s|<>]+", re.IGNORECASE)
_HREF = re.compile(r"<a\s[^>]*?\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_SPACE_IN_LINK = re.compile(r"\]\s{1,8}\((?=https?://)")
_SPACES = re.compile(r"\s+")
_BREAKS = {"softbreak", "hardbreak"}
_HTML = re.compile(
    r"<(?:[!?]|/?(?:a|abbr|address|article|aside|b|big|blockquote|body|br|button|caption|center|cite|code|col|dd|del|details|div|dl|dt"
    r"|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav"
    r"|ol|option|p|pre|q|s|samp|script|section|select|small|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template"
    r"|tfoot|th|thead|title|tr|tt|u|ul|var|video)\b)",
    re.IGNORECASE,
)
"""Tags of HTML. Other words between angle brackets are part of the text, as in "set of <SmartAPI>"."""

_BREAKING_TAGS = re.compile(r"</?(?:br|p|li|div|tr|td|h\d)\b", re.IGNORECASE)
_HIDING_TAGS = re.compile(r"<(/?)(?:script|style|template)\b", re.IGNORECASE)


class Inline(NamedTuple):
    """A text without markup, its first link, the text of that link, and the text beside it."""

    text: str
    link: str = ""
    link_text: str = ""
    beside: str = ""

    @property
    def name(self) -> str:
        """The text of the link where only signs are beside it, otherwise the whole text."""
        return self.link_text if self.link and not any(map(str.isalnum, self.beside)) else self.text


def read_inline(source: str) -> Inline:
    """Return what one line of markdown says, such as a cell of a table."""
    if one := read_link(source):
        return one
    if not _SUSPICIOUS(source) or not _MARKUP.search(source) or _parsed(source) < min(len(source), MARKUP_LIMIT):
        return Inline(source.strip())
    return _read_tokens(_inline(_SPACE_IN_LINK.sub("](", source[:MARKUP_LIMIT])))


def _parsed(source: str) -> int:
    """How many characters of *source* are parsed."""
    if len(source) <= _MOST_SIGNS:
        return len(source)
    beyond = next(islice(_SIGN.finditer(source, 0, MARKUP_LIMIT), _MOST_SIGNS, None), None)
    return beyond.start() if beyond else min(len(source), MARKUP_LIMIT)


def read_link(source: str) -> Inline | None:
    """Return the text and target of a plain Markdown link; None for another text."""
    one = _ONE_LINK.fullmatch(source) if source.startswith("[") else None
    return Inline(one[1].strip(), one[2], one[1].strip()) if one else None


def has_space_in_link(source: str) -> bool:
    """Whether a link is written `[name] (https://…)`, which is none in CommonMark; `read_inline` takes it for one."""
    return "] " in source and bool(_SPACE_IN_LINK.search(source))


def plain_text(source: str) -> str:
    """Return the first paragraph of *source* without markup, in one line; its first heading, if it has no paragraph."""
    if not _SUSPICIOUS(source):
        return source
    if _BLOCKS.search(source):
        return next(_paragraphs(source[: _parsed(source)]), "")
    return read_inline(source).text if _MARKUP.search(source) else source


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # on first use, to start fast

    parser = MarkdownIt("commonmark").enable("strikethrough")
    parser.normalizeLink = str  # type: ignore[method-assign, assignment] # links stay as they are written
    parser.validateLink = bool  # type: ignore[method-assign, assignment] # `row` decides which are kept
    return parser


def _inline(source: str) -> list["Token"]:
    [token] = _parser().parseInline(source)
    return token.children or []


def _read_tokens(tokens: Iterable["Token"]) -> Inline:
    texts: list[str] = []
    link_texts: list[str] = []
    beside: list[str] = []
    images: list[str] = []
    links, is_first, hidden = [], False, False
    for token in tokens:
        if token.type == "html_inline" and (tag := _HIDING_TAGS.match(token.content)):
            hidden = not tag[1]
        elif hidden:
            continue
        elif (link := _opened_link(token)) is not None:
            links.append(link)
            is_first = len(links) == 1
        elif token.type == "link_close" or (token.type == "html_inline" and token.content.lower() == "</a>"):
            is_first = False
        elif token.type == "image":
            images.append(token.content)
        else:
            texts.append(text := _text_of(token))
            (link_texts if is_first else beside).append(text)
    text, link_text, outside = (_one_line("".join(parts)) for parts in (texts, link_texts, beside))
    alternative = _one_line(" ".join(images))
    return (
        Inline(text or alternative, links[0], link_text or alternative, outside)
        if links
        else Inline(text or alternative)
    )


def _opened_link(token: "Token") -> str | None:
    """The target of the link, of Markdown or HTML, that begins with *token*."""
    if token.type == "link_open":
        return str(token.attrGet("href") or "").strip()
    element = _HREF.match(token.content) if token.type == "html_inline" else None
    return unescape(element[1] or element[2] or element[3] or "").strip() if element else None


def _text_of(token: "Token") -> str:
    if token.type in _BREAKS:
        return " "
    if token.type == "html_inline" and _HTML.match(token.content):
        return " " if _BREAKING_TAGS.match(token.content) else ""
    return token.content


def _one_line(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


def _paragraphs(source: str) -> Iterator[str]:
    """The texts of all paragraphs, and then of all headings and others."""
    tokens = _parser().parse(source)
    headings, previous = [], ""
    for token in tokens:
        if token.type == "inline":
            text = _read_tokens(token.children or []).text
            if previous == "heading_open":
                headings.append(text)
            elif text:
                yield text
        elif token.type == "html_block" and (text := _read_tokens(_inline(token.content)).text):
            yield text
        previous = token.type
    yield from filter(None, headings)
    yield from filter(None, (_one_line(token.content) for token in tokens if token.type in ("fence", "code_block")))
