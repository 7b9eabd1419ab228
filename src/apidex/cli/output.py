"""What commands print: tables of a row a line, as wide as they are."""

import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, the last one as long as it is, without spaces at the end of a line."""
    lines = [[*heads], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
