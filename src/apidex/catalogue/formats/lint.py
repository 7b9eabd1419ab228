"""Finds what is suspicious in a readable list, for its maintainer. Pure."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import msgspec

from apidex.catalogue.entry import Entry
from apidex.catalogue.formats.fields import key_of
from apidex.catalogue.formats.markup import read_inline
from apidex.catalogue.formats.report import Report, RowIssues
from apidex.urls import is_web_link


class AllIssues(RowIssues):
    """Keeps every issue."""

    KEPT: ClassVar = sys.maxsize


@dataclass(slots=True)
class LintReport(Report):
    """A report that keeps every issue, and every entry with its row."""

    repaired: RowIssues = field(default_factory=AllIssues)
    rejected: RowIssues = field(default_factory=AllIssues)
    ignored: RowIssues = field(default_factory=AllIssues)
    entries: list[tuple[int, Entry]] = field(default_factory=list)

    def accept(self, row: int, entry: Entry) -> None:
        """Keep *entry*."""
        self.entries.append((row, entry))


class Suspicion(msgspec.Struct, frozen=True):
    """A *kind* of fault with which a list can still be read, the *rows* that have it, and a description."""

    kind: str
    rows: list[int]
    text: str


def suspicions(report: LintReport, document: str) -> list[Suspicion]:
    """Return what is suspicious in a list, and in its *document* if that is Markdown."""
    entries = report.entries
    return [
        *_duplicates("duplicate name", entries, lambda entry: entry.name, key_of),
        *_duplicates("duplicate link", entries, lambda entry: entry.link, _same_link),
        *_unusable_links(entries),
        *_mixed_spellings("category", entries, lambda entry: entry.category),
        *_mixed_spellings("provider", entries, lambda entry: entry.provider),
        *_dead_anchors(document),
    ]


_Rows = Iterable[tuple[int, Entry]]


def _groups(entries: _Rows, value: Callable[[Entry], str], key: Callable[[str], str]) -> Iterator[dict[str, list[int]]]:
    """The rows of each value, for the values that have the same *key*."""
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, entry in entries:
        if text := value(entry):
            groups[key(text) or text][text].append(row)
    return iter(groups.values())


def _duplicates(
    kind: str, entries: _Rows, value: Callable[[Entry], str], key: Callable[[str], str]
) -> Iterator[Suspicion]:
    for group in _groups(entries, value, key):
        rows = sorted(chain(*group.values()))
        if len(rows) > 1:
            yield Suspicion(kind, rows, ", ".join(group))


def _mixed_spellings(column: str, entries: _Rows, value: Callable[[Entry], str]) -> Iterator[Suspicion]:
    for group in _groups(entries, value, key_of):
        if len(group) > 1:
            usual = max(group, key=lambda text: len(group[text]))
            others = {text: rows for text, rows in group.items() if text != usual}
            yield Suspicion(
                f"mixed spelling of {column}", sorted(chain(*others.values())), f"{', '.join(others)}; mostly {usual}"
            )


def _same_link(link: str) -> str:
    """A link in a normal form: without the scheme, with the host in lower case, and without a slash at the end."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    return parts._replace(scheme="", netloc=parts.netloc.lower(), path=parts.path.rstrip("/")).geturl()


def _unusable_links(entries: _Rows) -> Iterator[Suspicion]:
    for row, entry in entries:
        if entry.link and not is_web_link(entry.link):
            yield Suspicion("unusable link", [row], f"{entry.link}; allowed are https: and http:")


_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_UNDERLINE = re.compile(r"(=+|-+)[ \t]*")
_ANCHOR = re.compile(r"""<[^>]{0,200}\b(?:id|name)=["']([^"'>]{1,200})["']""")
_LINK = re.compile(r"""(?:\]\(|href=["'])#([^)\s"']{1,200})""")


def _dead_anchors(document: str) -> Iterator[Suspicion]:
    """The links to headings that the document does not have, by GitHub's names of headings."""
    lines = document.split("\n")
    anchors = {anchor.lower() for line in lines for anchor in _ANCHOR.findall(line)} | {*_anchors(lines)}
    for row, line in enumerate(lines, start=1):
        for target in _LINK.findall(line):
            if unquote(target).lower() not in anchors:
                yield Suspicion("dead anchor", [row], f"#{target}")


def _anchors(lines: list[str]) -> Iterator[str]:
    seen = Counter[str]()
    for line, following in pairwise([*lines, ""]):
        heading = _HEADING.match(line)
        if heading or (line.strip() and _UNDERLINE.fullmatch(following)):
            text = read_inline(heading[1].rstrip("# \t") if heading else line).text
            anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
            seen[anchor] += 1
