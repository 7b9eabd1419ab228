"""A verdict as one page for a person, with nothing to load from anywhere: what was broken, when, and what it cost."""

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from html import escape

import matplotlib as mpl

mpl.use("svg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loadtest.analysis import QUANTILES, Cost, Share
from loadtest.checks import Check
from loadtest.record import RequestRecord
from loadtest.run import RunHistory
from loadtest.verdict import Verdict

_STYLE = """
:root{color-scheme:light dark;--soft:#8884;--good:#1a7f37;--bad:#c62828;--void:#9a6700}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff7b72;--void:#d4a72c}}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:.2rem 0} h2{margin-top:2rem;font-size:1.15rem}
.verdict{border-left:.5rem solid;padding:.4rem 1rem;font-size:1.25rem}
.good{color:var(--good)} .bad{color:var(--bad)} .void{color:var(--void)}
.verdict.good,.verdict.bad,.verdict.void{border-color:currentColor}
table{border-collapse:collapse;width:100%;margin:.5rem 0;font-size:.93rem}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid var(--soft);padding:.3rem .5rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:1rem 0;background:#fff;border-radius:.4rem;padding:.4rem} img{width:100%;display:block}
code{font-family:ui-monospace,monospace;font-size:.9em}
footer{margin-top:2rem;font-size:.85rem;opacity:.75}
"""

_FAULT = "#d1495b"
_COLOURS = (
    "#30638e",
    "#66a182",
    "#edae49",
    "#8d6a9f",
    "#00798c",
    "#b56576",
    "#6c757d",
    "#3d5a80",
    "#98c1d9",
    "#bc6c25",
)


def page(verdict: Verdict, history: RunHistory, requests: Sequence[RequestRecord]) -> str:
    """The report on *verdict*; *requests* are those that were judged."""
    mood = "void" if verdict.void else "good" if verdict.passed else "bad"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(verdict.scenario)} on {escape(verdict.target)}: {escape(verdict.summary.partition('.')[0])}</title>"
        f"<style>{_STYLE}</style><main><h1>{escape(verdict.scenario)} on {escape(verdict.target)}</h1>"
        f"<p class='verdict {mood}'>{escape(verdict.summary)}</p>"
        f"{_checks(verdict.checks)}{_figures(history, requests)}{_faults(verdict.faults)}{_shares(verdict.shares)}"
        f"{_latencies(verdict)}{_failures(requests)}{_foot(verdict, history)}</main></html>"
    )


def _checks(checks: Sequence[Check]) -> str:
    rows = "".join(
        f"<tr><td class={'good' if check.passed else 'bad'}>{'holds' if check.passed else 'FAILS'}"
        f"<td>{escape(check.name)}<td class=n>{escape(str(check.figure))}<td>{escape(check.bound)}<td>{escape(check.sentence)}"
        for check in checks
    )
    return (
        f"<h2>What had to hold</h2><table><tr><th><th>Check<th class=n>RunHistory<th>Allowed<th>In words{rows}</table>"
    )


def _figures(history: RunHistory, requests: Sequence[RequestRecord]) -> str:
    drawn = (
        ("Requests a second, by replica", lambda axes: _rates(axes, history, requests)),
        ("Latency from the intended start", lambda axes: _latency(axes, requests)),
        ("The catalogue's version on each replica", lambda axes: _versions(axes, requests)),
    )
    return "".join(
        f"<h2>{title}</h2><figure><img alt='{title} over time, faults marked' src='{_svg(draw, history)}'></figure>"
        for title, draw in drawn
    )


def _svg(draw: Callable[[Axes], None], history: RunHistory) -> str:
    """A drawing over the time of the run, its faults marked, as a data: URL."""
    with mpl.rc_context(
        {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "apidex"}
    ):
        figure, axes = plt.subplots(figsize=(10, 2.8), layout="constrained")
        for fault in history.faults:
            axes.axvspan(fault.began, max(fault.ended, fault.began + 0.2), color=_FAULT, alpha=0.13, linewidth=0)
            axes.axvline(fault.began, color=_FAULT, linewidth=0.8)
        _labels(axes, history)
        draw(axes)
        axes.set_xlim(0, history.seconds)
        axes.set_xlabel("seconds")
        axes.spines[["top", "right"]].set_visible(False)
        image = io.BytesIO()
        figure.savefig(image, format="svg", metadata={"Date": None})
        plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(image.getvalue()).decode()


def _labels(axes: Axes, history: RunHistory) -> None:
    """Name the faults that have room for a name."""
    free = 0.0
    for fault in history.faults:
        if fault.began >= free:
            axes.text(
                fault.began,
                1.02,
                fault.what,
                transform=axes.get_xaxis_transform(),
                fontsize=7,
                color=_FAULT,
                clip_on=False,
            )
            free = fault.began + len(fault.what) * history.seconds / 150


def _rates(axes: Axes, history: RunHistory, requests: Sequence[RequestRecord]) -> None:
    edges = np.arange(0.0, history.seconds + 1.0)
    counts = Counter(request.replica for request in requests if request.replica)
    replicas = [name for name, _ in counts.most_common()]
    heights = [
        np.histogram([request.done for request in requests if request.replica == name and not request.fault], edges)[0]
        for name in replicas
    ]
    colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(replicas))]
    if heights:
        axes.stackplot(edges[:-1] + 0.5, heights, labels=replicas, colors=colours, alpha=0.85, linewidth=0)
    failed = np.histogram([request.done for request in requests if request.fault], edges)[0]
    if failed.any():
        axes.bar(edges[:-1] + 0.5, failed, width=1.0, color="black", label="failed")
    axes.set_ylabel("requests a second")
    axes.set_ylim(bottom=0)
    if 0 < len(replicas) <= 8:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)


def _latency(axes: Axes, requests: Sequence[RequestRecord]) -> None:
    by_second: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        by_second[int(request.due)].append(request.latency * 1000)
    seconds = sorted(by_second)
    for (name, quantile), colour in zip(QUANTILES.items(), ("#98c1d9", "#30638e", "#edae49", "#d1495b"), strict=True):
        values = [float(np.quantile(by_second[second], quantile, method="inverted_cdf")) for second in seconds]
        axes.plot([second + 0.5 for second in seconds], values, label=name, color=colour, linewidth=1.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("milliseconds")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)


def _versions(axes: Axes, requests: Sequence[RequestRecord]) -> None:
    stamps = sorted({request.stamp for request in requests if request.stamp >= 0})
    rank = {stamp: place + 1 for place, stamp in enumerate(stamps)}
    shown: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for request in requests:
        if request.stamp >= 0:
            points = shown[request.replica]
            if not points or points[-1][1] != rank[request.stamp]:
                points.append((request.done, rank[request.stamp]))
    for place, (replica, points) in enumerate(sorted(shown.items())):
        last = max(request.done for request in requests if request.replica == replica)
        moments, ranks = zip(*points, (last, points[-1][1]), strict=True)
        axes.step(
            moments,
            np.array(ranks) + 0.06 * (place % 8),
            where="post",
            color=_COLOURS[place % len(_COLOURS)],
            linewidth=1.2,
        )
    axes.set_ylabel("n-th version")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _faults(costs: Sequence[Cost]) -> str:
    if not costs:
        return ""
    rows = "".join(
        f"<tr><td class=n>{cost.began:.1f} s<td>{escape(cost.what)}<td class=n>{cost.ended - cost.began:.1f} s"
        f"<td class=n>{cost.failed}<td class=n>{_after(cost.full_strength_after)}"
        for cost in costs
    )
    return (
        "<h2>What was broken, and what it cost</h2><table><tr><th class=n>At<th>What<th class=n>For"
        f"<th class=n>Failed requests until the next<th class=n>All replicas answered again after{rows}</table>"
    )


def _after(seconds: float | None) -> str:
    if seconds is None:
        return "not before the next"
    return f"{seconds:.1f} s" if seconds else "never missing"


def _shares(found: dict[str, list[Share]]) -> str:
    return "".join(
        f"<h2>Who answered on {escape(kind)}</h2><table><tr><th>Replica<th class=n>Answers<th class=n>Share"
        "<th class=n>With 95 % confidence between"
        + "".join(
            f"<tr><td>{escape(share.replica)}<td class=n>{share.answers}<td class=n>{share.share:.1%}"
            f"<td class=n>{share.low:.1%} and {share.high:.1%}"
            for share in shares
        )
        + "</table>"
        for kind, shares in found.items()
    )


def _latencies(verdict: Verdict) -> str:
    rows = "".join(
        f"<tr><td>{escape(kind)}" + "".join(f"<td class=n>{values[name]:.1f}" for name in QUANTILES)
        for kind, values in {"all requests": verdict.latency_ms, **verdict.latency_by_kind_ms}.items()
        if values
    )
    head = "".join(f"<th class=n>{name}" for name in QUANTILES)
    return f"<h2>Latency, in milliseconds from the intended start</h2><table><tr><th>Kind{head}{rows}</table>"


def _failures(requests: Sequence[RequestRecord]) -> str:
    failed = [request for request in requests if request.fault]
    if not failed:
        return ""
    counts = Counter((request.fault, request.kind) for request in failed)
    first = {(request.fault, request.kind): request for request in reversed(failed)}
    rows = "".join(
        f"<tr><td class=n>{count}<td>{escape(fault)}<td>{escape(kind)}"
        f"<td class=n>{first[fault, kind].sent:.2f} s<td>{escape(first[fault, kind].detail)}"
        for (fault, kind), count in counts.most_common()
    )
    head = "<tr><th class=n>Count<th>Fault<th>RequestRecord<th class=n>The first at<th>and what was said of it"
    return f"<h2>What failed</h2><table>{head}{rows}</table>"


def _foot(verdict: Verdict, history: RunHistory) -> str:
    generator = verdict.generator
    return (
        f"<footer><p>Began {escape(verdict.began)}, lasted {verdict.seconds:.0f} s: <code>{escape(verdict.command)}</code> "
        f"against {escape(verdict.host)}, {history.replicas} replicas. The load generator ran or waited to run "
        f"{generator['busy']:.0%} of the time, "
        f"{generator['cpu_ms_per_request']:.2f} ms a request: its limit here is about {generator['limit_per_second']:.0f} "
        f"requests a second. Nothing was asked twice. {_ages(history)}</p></footer>"
    )


def _ages(history: RunHistory) -> str:
    if history.upstream_history is None:
        return "What the upstream gave is not known here, so ages were not held against it."
    return f"Ages were held against {len(history.upstream_history)} answers of the upstream."
