"""What commands print. Untrusted text is escaped for the terminal here, and nowhere else in a command.

On a terminal, rows are laid out for people; elsewhere each row is one line. Messages go to standard error, so that they are never
among the rows.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from apidex.terminal import printable, wants_color

if TYPE_CHECKING:
    from rich.console import Console

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Listing:
    """The result of a command, which can be printed in any of FORMATS.

    *items* are the rows, by key; *columns* has the headers of the keys that are shown, *name* is the key of the name. On a
    terminal the keys in *notes* have lines of their own below the row. *body* is the whole result as JSON. *highlights* are
    ranges of each name.
    """

    items: Sequence[Mapping[str, Any]]
    columns: Mapping[str, str]
    body: bytes
    name: str
    notes: Sequence[str] = ()
    highlights: Sequence[Sequence[Range]] = field(default_factory=list)

    def used(self) -> list[str]:
        """The keys of the columns that are not empty in every row."""
        return [key for key in self.columns if any(_shown(key, item.get(key, "")) for item in self.items)]

    def cells(self, item: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
        """The texts of *item* for *keys*, as they are shown."""
        return [printable(_shown(key, item.get(key, ""))) for key in keys]


def _shown(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or ("none" if key == "Auth" else "")


def show(listing: Listing, format_name: str | None) -> None:
    """Print *listing* in the given format; without one, as a table on a terminal, and as TSV elsewhere.

    Without rows, only JSON is printed.
    """
    if listing.items or format_name == "json":
        FORMATS[format_name or ("table" if sys.stdout.isatty() else "tsv")](listing)


def is_for_people(format_name: str | None) -> bool:
    """Whether people read rows in this format, so that messages may be printed too."""
    return sys.stdout.isatty() and format_name in (None, "table")


def _table(listing: Listing) -> None:
    if sys.stdout.isatty():
        _print_for_people(listing)
    else:
        keys = listing.used()
        print_table([listing.columns[key] for key in keys], [listing.cells(item, keys) for item in listing.items])


def _tsv(listing: Listing) -> None:
    for item in listing.items:
        print_line("\t".join(listing.cells(item, listing.columns)), is_clean=True)


def _csv(listing: Listing) -> None:
    from apidex.catalogue.spreadsheet import to_csv

    heads = list(dict.fromkeys(key for item in listing.items for key in item))
    rows = [[_printable_cell(item.get(head, "")) for head in heads] for item in listing.items]
    sys.stdout.write(to_csv([heads, *rows]))


def _printable_cell(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


def _json(listing: Listing) -> None:
    print_line(listing.body.decode())


def _ndjson(listing: Listing) -> None:
    for item in listing.items:
        print_line(msgspec.json.encode(item).decode())


def _names(listing: Listing) -> None:
    for item in listing.items:
        print_line(str(item[listing.name]))


def _links(listing: Listing) -> None:
    for link in filter(None, [item["Link"] for item in listing.items]):
        print_line(link)


FORMATS: dict[str, Callable[[Listing], None]] = {
    "table": _table,
    "tsv": _tsv,
    "csv": _csv,
    "json": _json,
    "ndjson": _ndjson,
    "names": _names,
    "links": _links,
}
"""How a listing can be printed; as links, if its rows are entries."""


def print_line(text: str = "", *, is_clean: bool = False) -> None:
    """Print *text* on a line of its own."""
    sys.stdout.write(f"{text if is_clean else printable(text)}\n")


def warn(text: object) -> None:
    """Print *text* for people, on standard error, if that is possible."""
    say(f"apidex: {text}")


def say(text: str) -> None:
    """Print *text* for people, without the name of the command."""
    try:
        print(printable(text), file=sys.stderr)
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send what *stream*, which cannot be written, still holds to the null device.

    Otherwise the interpreter tries to write it again when it ends, and makes of the failure a status of its own.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns. The last column is not padded or cut."""
    lines = [[*heads], *([printable(str(cell)) for cell in row] for row in rows)]
    for cells in _padded(lines):
        print_line("  ".join(cells).rstrip())


_WIDEST = 40
"""The width to which a column is padded. A longer value moves the rest of its row."""


def _padded(lines: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    from rich.cells import cell_len  # a local import: only this function needs rich

    widths = [min(_WIDEST, max(map(cell_len, column))) for column in zip(*lines, strict=True)]
    for line in lines:
        yield [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]


def _print_for_people(listing: Listing) -> None:
    """Print each row on a line, and its notes below it. Descriptions are wrapped; links are not, so that they can be copied."""
    from rich.text import Text

    out = console()
    keys = [key for key in listing.used() if key not in listing.notes]
    lines = [[listing.columns[key] for key in keys], *(listing.cells(item, keys) for item in listing.items)]
    head, *rows = _padded(lines)
    out.print(Text("  ".join(head).rstrip(), style="bold"), soft_wrap=True)
    for place, (item, cells) in enumerate(zip(listing.items, rows, strict=True)):
        row = Text("  ".join(cells).rstrip())
        for start, end in listing.highlights[place] if listing.highlights and _is_clean(item, listing.name) else ():
            row.stylize("bold", start, end)
        out.print(row, soft_wrap=True)
        for text in filter(None, listing.cells(item, listing.notes)):
            for line in wrap(text, max(out.width - 2, 20), break_long_words=False, break_on_hyphens=False):
                out.print(Text(f"  {line}", style="dim"), soft_wrap=True)


def _is_clean(item: Mapping[str, Any], key: str) -> bool:
    return bool(printable(item[key]) == item[key])


def console() -> "Console":
    """Standard output, with styles if the terminal and the environment allow them."""
    from rich.console import Console

    class Output(Console):
        """Leaves a closed pipe to the command line: rich would end the process with status 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    color = wants_color(sys.stdout.isatty(), os.environ)
    made = Output(highlight=False, force_terminal=color, color_system="standard" if color else None, no_color=False)
    made.width = made.width or 80  # 0, such as that of COLUMNS, stands for unknown
    return made


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show *text* on a terminal during the block, and remove it afterwards."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(text))):
        yield
