"""Curves over the number of entries, as an SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.bench.table import Cell


def draw(
    file: Path, counts: Sequence[float], titles: Sequence[str], curves: Mapping[str, Sequence[Sequence[Cell]]]
) -> None:
    """Draw a part for each of *titles*, with its own scales; *curves* has a value for each title and count, by label."""
    import matplotlib as mpl  # the import takes longer than a short run

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "apidex", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(titles), figsize=(2.5 * len(titles), 3), layout="constrained")
    for place, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for label, values in curves.items():
            axis.plot(counts, values[place], marker="o", label=label)
        axis.set(xscale="log", yscale="log", title=title, xlabel="entries")
        axis.grid(visible=True, which="major", alpha=0.3)
    if len(curves) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves))
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
