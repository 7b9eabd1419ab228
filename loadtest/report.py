"""A verdict as one page that loads nothing: what was broken, when, and what it cost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from loadtest.analysis import QUANTILES, Analysis, FaultCost, Share
from loadtest.charts import Drawing, latency, rates, svg, versions
from loadtest.checks import CheckResult
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


def page(verdict: Verdict, run: Analysis) -> str:
    """The report on *verdict*, which *run* came to."""
    outcome = "void" if verdict.void else "good" if verdict.passed else "bad"
    title = f"{escape(run.facts.scenario)} on {escape(run.facts.target)}"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}: {escape(verdict.summary.partition('.')[0])}</title>"
        f"<style>{_STYLE}</style><main><h1>{title}</h1><p class='verdict {outcome}'>{escape(verdict.summary)}</p>"
        f"{_checks(verdict.checks)}{_figures(run)}{_faults(verdict.faults)}{_shares(verdict.shares)}"
        f"{_latencies(verdict)}{_failures(run)}{_foot(verdict, run)}</main></html>"
    )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A section with a table; a column whose name begins with # holds numbers."""
    kinds = [" class=n" if column.startswith("#") else "" for column in columns]
    lines = [
        "".join(f"<{tag}{kind}>{escape(str(cell))}" for kind, cell in zip(kinds, cells, strict=True))
        for tag, cells in [("th", [column.removeprefix("#") for column in columns]), *(("td", row) for row in rows)]
    ]
    return f"<h2>{escape(title)}</h2><table>{''.join(f'<tr>{line}' for line in lines)}</table>"


def _checks(checks: Sequence[CheckResult]) -> str:
    rows = [("holds" if each.passed else "FAILS", each.name, each.figure, each.bound, each.sentence) for each in checks]
    table = _table("What had to hold", ("", "Check", "#Measured", "Allowed", "In words"), rows)
    return table.replace("<td>holds", "<td class=good>holds").replace("<td>FAILS", "<td class=bad>FAILS")


def _figures(run: Analysis) -> str:
    drawn: dict[str, Drawing] = {
        "Requests a second, by replica": rates,
        "Latency from the intended start": latency,
        "The catalogue's version on each replica": versions,
    }
    return "".join(
        f"<h2>{title}</h2><figure><img alt='{title} over time, faults marked' src='{svg(draw, run)}'></figure>"
        for title, draw in drawn.items()
    )


def _faults(costs: Sequence[FaultCost]) -> str:
    columns = ("#At", "Fault", "#For", "#Failed requests until the next", "#All replicas answered again after")
    rows = [
        (f"{each.began:.1f} s", each.what, f"{each.ended - each.began:.1f} s", each.failed, _recovery(each))
        for each in costs
    ]
    return _table("What was broken, and what it cost", columns, rows) if rows else ""


def _recovery(cost: FaultCost) -> str:
    if cost.full_strength_after is None:
        return "not before the next"
    return f"{cost.full_strength_after:.1f} s" if cost.full_strength_after else "never missing"


def _shares(found: dict[str, list[Share]]) -> str:
    columns = ("Replica", "#Answers", "#Share", "#With 95 % confidence between")
    return "".join(
        _table(
            f"Who answered on {kind}",
            columns,
            [(each.replica, each.answers, f"{each.share:.1%}", f"{each.low:.1%} and {each.high:.1%}") for each in some],
        )
        for kind, some in found.items()
    )


def _latencies(verdict: Verdict) -> str:
    rows = [
        (kind, *(f"{values[name]:.1f}" for name in QUANTILES))
        for kind, values in {"all requests": verdict.latency_ms, **verdict.latency_by_kind_ms}.items()
        if values
    ]
    columns = ("Kind", *(f"#{name}" for name in QUANTILES))
    return _table("Latency, in milliseconds from the intended start", columns, rows)


def _failures(run: Analysis) -> str:
    counts = Counter((each.failure, each.kind) for each in run.failed)
    first = {(each.failure, each.kind): each for each in reversed(run.failed)}
    columns = ("#Count", "Failure", "Request", "#The first at", "Detail of the first")
    rows = [(count, *key, f"{first[key].sent:.2f} s", first[key].detail) for key, count in counts.most_common()]
    return _table("What failed", columns, rows) if rows else ""


def _foot(verdict: Verdict, run: Analysis) -> str:
    facts, generator, log = run.facts, verdict.generator, run.history.upstream_log
    ages = "The upstream's log is not known here, so ages were not checked against it."
    if log is not None:
        ages = f"Ages were checked against {len(log)} answers of the upstream."
    return (
        f"<footer><p>Began {escape(facts.began)}, lasted {facts.seconds:.0f} s: <code>{escape(facts.command)}</code> "
        f"against {escape(facts.host)}, {facts.replicas} replicas. The load generator ran or waited to run "
        f"{generator.busy:.0%} of the time, {generator.cpu_ms_per_request:.2f} ms a request: its limit here is about "
        f"{generator.limit_per_second:.0f} requests a second. There were no retries. {ages}</p></footer>"
    )
