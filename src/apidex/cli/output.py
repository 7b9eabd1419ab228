"""What commands print. Text of strangers is made fit for a terminal here, and nowhere else in a command."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from apidex.terminal import printable


def print_line(text: str = "") -> None:
    """Print *text* on a line of its own."""
    sys.stdout.write(f"{printable(text)}\n")


def warn(text: object) -> None:
    """Tell people *text*, whatever standard output is for. Where that is impossible, it is not told."""
    with suppress(OSError, ValueError):
        print(f"apidex: {printable(str(text))}", file=sys.stderr)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, the last one as long as it is, without spaces at the end of a line."""
    from rich.cells import cell_len  # no other user of this module needs rich

    lines = [[*heads], *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        print_line("  ".join(cells).rstrip())


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show *text* on a terminal meanwhile, and remove it afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(text))):
        yield
