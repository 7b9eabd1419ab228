"""`apidex catalogue [FILE-OR-URL]`: checks a list, for its maintainer, or before it becomes an upstream."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from apidex.catalogue.formats import Parsed
from apidex.catalogue.formats.lint import LintReport, Suspicion, suspicions
from apidex.catalogue.formats.report import RowIssue
from apidex.cli import override
from apidex.cli.output import print_line, print_table
from apidex.cli.source import fetch, read, upstream_of
from apidex.errors import CatalogueError, UpstreamError
from apidex.settings import Settings
from apidex.terminal import counted
from apidex.urls import without_password

_MARKDOWN = ("markdown", "bullets")
"""Formats whose documents can have anchors."""


def run(options: Namespace, settings: Settings) -> int:
    """Fetch, read, and print the report. Return 1 if rows were rejected.

    Raises UpstreamError, or CatalogueError when a replica would refuse the list; the rejected rows are printed before that. For
    an operator's command in place of a list, runs `override.run`.
    """
    if options.place in override.DEMANDS:
        return override.run(options.place)
    if options.place == "-":
        body: bytes | bytearray = _standard_input(settings.upstream_limit)
        source = "-"
    else:
        settings = settings if options.place is None else replace(settings, upstream=upstream_of(options.place))
        body, source = fetch(settings).body, without_password(settings.upstream)
    report = LintReport()
    try:
        parsed = read(settings, body, report)
    except CatalogueError:
        if report.rejected.total and not options.json:
            print_table(_HEADS, _rows("rejected", report.rejected.first))
        raise
    found = suspicions(report, body.decode() if report.format in _MARKDOWN else "")
    if options.json:
        print_line(_as_json(parsed, source, found))
    else:
        _print_report(parsed, source, len(body), found)
    return 1 if report.rejected.total else 0


def _standard_input(limit: int) -> bytes:
    body = sys.stdin.buffer.read(limit + 1)
    if len(body) > limit:
        raise UpstreamError("too_large", f"standard input is larger than {limit} bytes")
    return body


def _as_json(parsed: Parsed, source: str, found: list[Suspicion]) -> str:
    catalogue, report = parsed.catalogue, parsed.report
    summary = {
        "source": source,
        "digest": catalogue.digest,
        "entries": len(catalogue),
        "categories": catalogue.categories,
        "format": report.format,
        "rows": report.rows,
        "repaired": report.repaired,
        "rejected": report.rejected,
        "ignored": report.ignored,
        "suspicious": found,
    }
    return msgspec.json.encode(summary).decode()


_HEADS = ("ISSUE", "ROW", "NAME", "COLUMN", "FROM", "TO", "WHY")


def _print_report(parsed: Parsed, source: str, size: int, found: list[Suspicion]) -> None:
    catalogue, report = parsed.catalogue, parsed.report
    contents = f"{counted(len(catalogue), 'entry')} in {counted(catalogue.categories, 'category')}"
    print_line(f"{source} ({report.format}, {counted(size, 'byte')})")
    print_line(f"{contents}, digest {catalogue.digest[:12]}")
    counts = {name: getattr(report, name).total for name in ("repaired", "rejected", "ignored")}
    print_line(f"rows: {', '.join(f'{count} {name}' for name, count in counts.items())}; {len(found)} suspicious")
    rows = [row for name in counts for row in _rows(name, getattr(report, name).first)]
    rows += [
        ("suspicious", ",".join(map(str, each.rows)), "", "", "", "", f"{each.kind}: {each.text}") for each in found
    ]
    if rows:
        print_line()
        print_table(_HEADS, rows)


def _rows(sort: str, issues: list[RowIssue]) -> Iterator[tuple[object, ...]]:
    """A table row for each repair of an issue, or one for an issue without repairs."""
    for issue in issues:
        for each in issue.repairs:
            yield sort, issue.row, issue.name, each.column, each.before, each.after, each.reason
        if not issue.repairs:
            yield sort, issue.row, issue.name, "", "", "", issue.reason
