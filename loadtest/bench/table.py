"""Tables in Markdown that can be read on a terminal too."""

from collections.abc import Mapping, Sequence

Cell = str | float


def formatted(columns: Mapping[str, str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose cells are formatted by the specification of their column; a cell that is a string stays."""
    specs = columns.values()
    cells = [[_text(cell, spec) for cell, spec in zip(row, specs, strict=True)] for row in rows]
    return table(list(columns), cells)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, figures to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in (head, ruler, *rows)) + "\n"


def _text(cell: Cell, spec: str) -> str:
    return cell if isinstance(cell, str) else f"{cell:{spec}}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in others) + " |"
