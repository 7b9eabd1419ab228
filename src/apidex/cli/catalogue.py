"""`apidex catalogue`: the upstream's catalogue, and the report of how it was read."""

import sys
from argparse import Namespace

import msgspec
from rich.console import Console
from rich.text import Text

from apidex.catalogue.formats import Parsed
from apidex.cli.source import fetch, read
from apidex.settings import Settings
from apidex.urls import without_password

_SHOWN = 10


def run(options: Namespace, settings: Settings) -> int:
    """Fetch, read, and print the report. Raises UpstreamError, or CatalogueError when the catalogue would be refused."""
    fetched = fetch(settings)
    parsed = read(settings, fetched.body)
    if options.json:
        sys.stdout.write(_as_json(parsed, settings) + "\n")
    else:
        _as_text(parsed, settings, len(fetched.body))
    return 0


def _as_json(parsed: Parsed, settings: Settings) -> str:
    catalogue = parsed.catalogue
    summary = {
        "source": without_password(settings.upstream),
        "digest": catalogue.digest,
        "entries": len(catalogue),
        "categories": catalogue.categories,
    }
    return msgspec.json.encode(summary | msgspec.to_builtins(parsed.report)).decode()


def _as_text(parsed: Parsed, settings: Settings, size: int) -> None:
    catalogue, report, console = parsed.catalogue, parsed.report, Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{without_password(settings.upstream)} ({report.format}, {size} bytes)"))
    console.print(
        Text(f"{len(catalogue)} entries in {catalogue.categories} categories, digest {catalogue.digest[:12]}")
    )
    for what, issues in (("repaired", report.repaired), ("rejected", report.rejected), ("ignored", report.ignored)):
        console.print(Text(f"{issues.total} rows {what}"))
        for issue in issues.first[:_SHOWN]:
            console.print(Text(f"  row {issue.row}: {issue.name}: {issue.reason}"))
        if issues.total > _SHOWN:
            console.print(Text(f"  … and {issues.total - _SHOWN} more (--json lists the first {len(issues.first)})"))
