"""A verdict as one page without external resources: the checks that failed, and the faults with their cost. The rest folds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from apidex.terminal import counted
from loadtest.analysis import QUANTILES, Analysis, FaultCost, Share, recovery
from loadtest.charts import Drawing, latency, picture, rates, versions
from loadtest.checks import CheckResult
from loadtest.faults import MOMENT
from loadtest.verdict import Verdict

_MOST_FAULTS = 4
"""Above this number, faults are summed up by kind: the first screen has space for so many."""

STYLE = """
:root{color-scheme:light dark;--soft:#8884;--good:#1a7f37;--bad:#c62828;--void:#9a6700}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff7b72;--void:#d4a72c}}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:1rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:.2rem 0} h2{margin:1.2rem 0 .3rem;font-size:1.15rem}
.verdict{border-left:.5rem solid;padding:.4rem 1rem;font-size:1.25rem}
.good{color:var(--good)} .bad{color:var(--bad)} .void{color:var(--void)}
.verdict.good,.verdict.bad,.verdict.void{border-color:currentColor}
.wide{overflow-x:auto}
summary{cursor:pointer;font-weight:600;margin:1rem 0 .3rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0;font-size:.93rem}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid var(--soft);padding:.3rem .5rem}
td.n,th.n{text-align:right} td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:.5rem 0;background:#fff;border-radius:.4rem;padding:.4rem} img{width:100%;display:block}
code{font-family:ui-monospace,monospace;font-size:.9em}
@media(max-width:40rem){body{font-size:15px;padding:0 .6rem}td,th{padding:.3rem .25rem;font-size:.8rem}}
@media(max-width:40rem){.verdict{font-size:1.1rem;padding:.3rem .7rem}}
footer{margin-top:2rem;font-size:.85rem;opacity:.75}
"""


def page(verdict: Verdict, run: Analysis) -> str:
    """The report on *verdict*, which *run* came to."""
    title = f"{escape(run.facts.scenario)} on {escape(run.facts.target)}"
    held = [check for check in verdict.checks if check.passed]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{title}: {escape(verdict.summary.partition('.')[0])}</title>"
        f"<style>{STYLE}</style><main><h1>{title}</h1><p class='verdict {verdict.outcome}'>{escape(verdict.summary)}</p>"
        f"{_checks('What did not hold', verdict.failed_checks)}{_faults(verdict.faults)}"
        f"{_figure('Requests a second, by replica', rates, run)}{_failures(run)}"
        f"{_folded(counted(len(held), 'check') + ' that held', _checks('', held))}"
        f"{_figure('Latency from the intended start', latency, run)}{_latencies(verdict)}"
        f"{_folded('Who answered', _shares(verdict.shares))}"
        f"{_folded('Versions', _figure('The catalogue’s version on each replica', versions, run))}"
        f"{_foot(verdict, run)}</main></html>"
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def _figure(title: str, draw: Drawing, run: Analysis) -> str:
    return f"<h2>{title}</h2>{picture(title, draw, run)}"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A section with a table; a column whose name begins with # holds numbers."""
    kinds = [" class=n" if column.startswith("#") else "" for column in columns]
    lines = [
        "".join(f"<{tag}{kind}>{escape(str(cell))}" for kind, cell in zip(kinds, cells, strict=True))
        for tag, cells in [("th", [column.removeprefix("#") for column in columns]), *(("td", row) for row in rows)]
    ]
    head = f"<h2>{escape(title)}</h2>" if title else ""
    return f"{head}<div class=wide><table>{''.join(f'<tr>{line}' for line in lines)}</table></div>"


def _checks(title: str, checks: Sequence[CheckResult]) -> str:
    rows = [(each.name, each.figure, each.bound, each.sentence) for each in checks]
    return _table(title, ("Check", "#Measured", "Allowed", "In words"), rows) if rows else ""


_COST = ("#Failed requests", "#p99 before, ms", "#p99 in it", "#p99 after", "#All replicas answered again")


def _faults(costs: Sequence[FaultCost]) -> str:
    """The cost of each fault; if there are many, the worst of each kind, with all of them folded."""
    rows = [(f"{each.began:.1f} s", each.what, _duration(each), *_cost([each])) for each in costs]
    each_fault = _table("What was broken, and what it cost", ("#At", "Fault", "#For", *_COST), rows) if rows else ""
    if len(costs) <= _MOST_FAULTS:
        return each_fault
    kinds = Counter(each.kind for each in costs)
    worst = [(kind, count, *_cost([each for each in costs if each.kind == kind])) for kind, count in kinds.items()]
    title = "What was broken, and what it cost: all failures, and the worst of each figure"
    return _table(title, ("Fault", "#Times", *_COST), worst) + _folded("Each fault", each_fault)


def _duration(cost: FaultCost) -> str:
    seconds = cost.ended - cost.began
    return "a moment" if seconds < MOMENT else f"{seconds:.1f} s"


def _cost(costs: Sequence[FaultCost]) -> tuple[str | int, ...]:
    """All of the failures, and the worst of each other figure."""
    p99s = [
        max((value for value in values if value is not None), default=None)
        for values in zip(*((each.p99_before, each.p99_in, each.p99_after) for each in costs), strict=True)
    ]
    shown = ["–" if value is None else f"{value:.1f}" for value in p99s]
    return (sum(each.failed for each in costs), *shown, recovery(costs))


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
        ages = f"Ages were checked against {counted(len(log), 'answer')} of the upstream."
    overtime = facts.overtime(facts.seconds)
    return (
        f"<footer><p>Began {escape(facts.began)}, lasted {facts.seconds:.0f} s"
        f"{f', {overtime}' if overtime else ''}. <code>{escape(facts.command)}</code> ran "
        f"against {escape(facts.host)}, {counted(facts.replicas, 'replica')}"
        f"{f', at commit {escape(facts.commit)}' if facts.commit else ''}. The load generator ran or waited to run "
        f"{generator.busy:.0%} of the time, {generator.cpu_ms_per_request:.2f} ms a request: its limit here is about "
        f"{generator.limit_per_second:.0f} requests a second. It delayed {generator.delayed_share:.1%} of the requests. "
        f"There were no retries. A replica is missing if it gives no answer for a second. {ages}</p></footer>"
    )
