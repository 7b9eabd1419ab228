"""Charts as SVG: of a run over time, with its faults, for the report; and of what is predicted beside what was measured."""

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import matplotlib as mpl

mpl.use("svg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from loadtest.analysis import QUANTILES, Analysis, quantiles
from loadtest.record import RequestRecord

_MATPLOTLIB: Any = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "apidex"}
_FAULT, _RECOVERED, _FAILED = "#d1495b", "#1a7f37", "#b00020"
_MOST_NAMED = 10
COLOURS = ["#30638e", "#66a182", "#edae49", "#8d6a9f", "#00798c", "#b56576", "#6c757d", "#3d5a80", "#98c1d9", "#bc6c25"]
Drawing = Callable[[Axes, Analysis], None]

_WIDE, _NARROW = (10, 2.8), (4.2, 3.4)
"""Sizes in inches, for a page, and for a telephone, where the letters of the first would be too small."""


def picture(title: str, draw: Drawing, run: Analysis) -> str:
    """A figure for a page of any width: the drawing of *draw* over the time of the run, with its faults."""
    return (
        f"<figure><picture><source media='(max-width:40rem)' srcset='{_svg(draw, run, _NARROW)}'>"
        f"<img alt='{title} over time, faults marked' src='{_svg(draw, run, _WIDE)}'></picture></figure>"
    )


def _svg(draw: Drawing, run: Analysis, size: tuple[float, float]) -> str:
    """A data: URL."""
    with mpl.rc_context(_MATPLOTLIB):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        axes.set_prop_cycle(color=COLOURS)
        _mark_faults(axes, run)
        draw(axes, run)
        axes.set_xlim(0, run.facts.seconds)
        axes.set_xlabel("seconds")
        axes.spines[["top", "right"]].set_visible(False)
        _name_lines(axes, below=size == _NARROW)
        image = _saved(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(image).decode()


def _saved(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="svg", metadata={"Date": None})
    plt.close(figure)
    return image.getvalue()


def _name_lines(axes: Axes, *, below: bool) -> None:
    """A legend beside the drawing, or below it, if not too many lines have a name."""
    if not 0 < len(axes.get_legend_handles_labels()[1]) <= _MOST_NAMED:
        return
    if below:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False, fontsize=7)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)


class Panel(NamedTuple):
    """A part of a figure: what was measured, as points, and what is predicted, as a line, over the same quantity."""

    title: str
    over: str
    points: tuple[Sequence[float], Sequence[float]]
    line: tuple[Sequence[float], Sequence[float]]
    scale: Literal["log", "linear"] = "log"


def panels(parts: Sequence[Panel]) -> bytes:
    """An SVG of all *parts*, four in a row."""
    rows = -(-len(parts) // 4)
    with mpl.rc_context(_MATPLOTLIB):
        figure, grid = plt.subplots(rows, 4, figsize=(13, 2.7 * rows), layout="constrained", squeeze=False)
        for axes, part in zip_longest(grid.flat, parts):
            if part is None:
                axes.set_visible(False)
                continue
            axes.plot(*part.line, color=COLOURS[0], linewidth=1.2, label="predicted")
            axes.plot(*part.points, "o", color=_FAULT, ms=4, label="measured")
            axes.set(title=part.title, xlabel=part.over, xscale=part.scale)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=part.scale == "linear"))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.spines[["top", "right"]].set_visible(False)
        grid[0][0].legend(frameon=False, fontsize=7)
        return _saved(figure)


def _mark_faults(axes: Axes, run: Analysis) -> None:
    """Mark each fault, and the moment at which all replicas answered again; name the faults that have enough space."""
    free, again_named, width = 0.0, False, axes.get_figure().get_figwidth()  # type: ignore[union-attr]
    for fault in run.costs:
        axes.axvspan(fault.began, max(fault.ended, fault.began + 0.2), color=_FAULT, alpha=0.13, linewidth=0)
        axes.axvline(fault.began, color=_FAULT, linewidth=0.8)
        if fault.full_strength_after:
            again = fault.began + fault.full_strength_after
            label = "" if again_named else "all replicas answered again"
            axes.axvline(again, color=_RECOVERED, linewidth=1.0, linestyle=":", label=label)
            again_named = True
        if fault.began >= free:
            axes.text(fault.began, 1.02, fault.what, transform=axes.get_xaxis_transform(), color=_FAULT, size=7)
            free = fault.began + len(fault.what) * run.facts.seconds / (15 * width)


def rates(axes: Axes, run: Analysis) -> None:
    edges = np.arange(0.0, run.facts.seconds + 1.0)
    replicas = [name for name, _ in Counter(each.replica for each in run.requests if each.replica).most_common()]
    heights = [
        np.histogram([each.done for each in run.requests if each.replica == name and not each.failure], edges)[0]
        for name in replicas
    ]
    if heights:
        axes.stackplot(edges[:-1] + 0.5, heights, labels=replicas, alpha=0.85, linewidth=0)
    axes.set_ylabel("requests a second")
    axes.set_ylim(bottom=0)
    _mark_failures(axes, np.histogram([each.done for each in run.failed], edges)[0], edges)


def _mark_failures(axes: Axes, failed: "np.ndarray[Any, Any]", edges: "np.ndarray[Any, Any]") -> None:
    """A mark as high as the chart for each second with a failed request: in an area, one in thousands would be invisible."""
    seconds = np.flatnonzero(failed)
    if not len(seconds):
        return
    across = axes.get_xaxis_transform()
    moments = edges[:-1][seconds] + 0.5
    axes.vlines(moments, 0, 1, transform=across, color=_FAILED, linewidth=1.0)
    axes.plot(
        moments, [0.97] * len(moments), "v", transform=across, color=_FAILED, ms=6, label=f"{failed.sum()} failed"
    )
    for second in sorted(seconds, key=lambda each: -failed[each])[:3]:
        axes.text(edges[second] + 1, 0.9, f" {failed[second]}", transform=across, color=_FAILED, size=9, weight="bold")


def latency(axes: Axes, run: Analysis) -> None:
    by_second: dict[int, list[float]] = defaultdict(list)
    for request in run.requests:
        by_second[int(request.due)].append(request.latency * 1000)
    seconds = sorted(by_second)
    values = [quantiles(by_second[second]) for second in seconds]
    for name, colour in zip(QUANTILES, ("#98c1d9", "#30638e", "#edae49", _FAULT), strict=True):
        axes.plot([each + 0.5 for each in seconds], [each[name] for each in values], label=name, color=colour, lw=1.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("milliseconds")


def versions(axes: Axes, run: Analysis) -> None:
    stamps = sorted({request.stamp for request in run.requests if request.stamp >= 0})
    rank = {stamp: place + 1 for place, stamp in enumerate(stamps)}
    shown: dict[str, list[RequestRecord]] = defaultdict(list)
    for request in run.requests:
        if request.stamp >= 0:
            shown[request.replica].append(request)
    for place, (_, requests) in enumerate(sorted(shown.items())):
        ranks = np.array([rank[request.stamp] for request in requests])
        kept = [*np.flatnonzero(np.diff(ranks, prepend=0)), len(requests) - 1]
        moments = [requests[each].done for each in kept]
        axes.step(moments, ranks[kept] + 0.06 * (place % 8), where="post", linewidth=1.2)
    axes.set_ylabel("n-th version")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
