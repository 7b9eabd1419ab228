"""The format `bullets`: a Markdown document with a list of links, as awesome lists have them.

    ## Animals
    - [Cat Facts](https://…) - Daily cat facts

The category is the heading above the list. Items that do not begin with a link to another site are not entries, such as those of
a table of contents.
"""

import re
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from typing import TypeGuard

from apidex.catalogue.formats.blocks import Headings, lines_of, visible
from apidex.catalogue.formats.markup import Inline, read_inline
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row
from apidex.urls import is_web_link

NAME = "bullets"

_ITEM = re.compile(r"\s{0,16}(?:[-*+•]|\d{1,5}[.)])[ \t]+(\S.*)")
_SIGNS = " \t-–—―:|·•.,"
_BETWEEN = re.compile(rf"(?:(?![.,]\S)[{re.escape(_SIGNS)}])*")
"""Signs between a link and its description, which may begin with a period (.NET)."""

_FEWEST = 3
"""A document with fewer entries is another text with links."""


_SAMPLE = 1000
"""Items that are examined to recognise the format."""


def recognises(document: object) -> TypeGuard[str]:
    """Whether *document* is a text with lists, of which most items begin with a link to another site."""
    if not isinstance(document, str):
        return False
    kinds = [is_entry for _, _, is_entry, _ in islice(_items(document), _SAMPLE)]
    return sum(kinds) >= _FEWEST and sum(kinds) * 2 > len(kinds)


def rows(document: str, report: Report) -> Iterator[Row]:
    """A row for each item that begins with a link. Other items go to *report* as ignored."""
    for number, item, is_entry, category in _items(document):
        if is_entry:
            description = _BETWEEN.sub("", _around(item)[1], count=1).rstrip(_SIGNS)
            yield Row(number, item.link_text, description, link=item.link, category=category)
        else:
            report.ignored.add(number, item.text, "an item without a link to another site at its beginning")


def auths(document: str) -> Iterator[str]:  # noqa: ARG001 - one signature for every format
    """Nothing: the items have no field for authentication."""
    return iter(())


def _items(document: str) -> Iterator[tuple[int, Inline, bool, str]]:
    """The line number, text and category of each item, and whether it is an entry. Links within the document are left out."""
    for number, text, category in _paragraphs(document):
        if not (item := read_inline(text)).link.startswith("#"):
            yield number, item, _is_entry(item), category


def _paragraphs(document: str) -> Iterator[tuple[int, str, str]]:
    """The line number and the first paragraph of each item, which may have several lines, and its category."""
    headings, number, lines = Headings(), 0, list[str]()
    for at, (line, following) in enumerate(pairwise(chain(lines_of(visible(document)), ("", ""))), start=1):
        item, category = _ITEM.match(line), headings.current
        if (item or not line.strip() or headings.take(line, following)) and lines:
            yield number, " ".join(lines), category
            lines = []
        if item:
            number, lines = at, [item[1]]
        elif lines:
            lines.append(line.strip())


def _is_entry(item: Inline) -> bool:
    return is_web_link(item.link) and not any(map(str.isalnum, _around(item)[0]))


def _around(item: Inline) -> tuple[str, str]:
    """The text before and after the link. That of a link that is a picture is not in the text of the item: all of it is after."""
    if not item.link_text or item.link_text not in item.text:
        return "", item.text
    before, _, after = item.text.partition(item.link_text)
    return before, after
