"""The report on every pair of faults: one table, whose cells lead to the runs. Pure, but for the files."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import NamedTuple

import msgspec

from apidex.terminal import counted
from loadtest.analysis import slowest_recovery
from loadtest.report import STYLE
from loadtest.run import INTERRUPTED
from loadtest.scenarios.pairs import MEMBERS, PAIRS
from loadtest.verdict import Verdict

HEADING = "## Every pair of faults"

_LEGEND = (
    "A cell has the requests that failed, the worst p99 in a fault, in milliseconds from the intended start, and the time from "
    "the beginning of a round until all replicas answered again (0.0 s: none was missing for a second). "
    "A row and a column of the same name are that fault alone, twice."
)
_CELL = re.compile(r"(\d+) · (\d+) ms · (?:([\d.]+) s|not before the end)(?: \*\*(\w+)\*\*)?")
_BOUND = re.compile(r"- (\S+): \d+ requests? failed, (.+)\.")
_COLOURS = (
    "td.bad{background:#c6282833}td.void{background:#9a670033}td.good{background:#1a7f3722}td{white-space:nowrap}"
)


class Cell(NamedTuple):
    """What the run of a pair came to."""

    outcome: str
    failed: int
    allowed: str
    p99: float
    full_strength_after: float | None

    @classmethod
    def of(cls, verdict: Verdict) -> "Cell":
        """That of one run."""
        allowed = next((check.bound for check in verdict.checks if check.name == "requests lost with what broke"), "0")
        return cls(
            verdict.outcome,
            verdict.failed,
            allowed,
            max((cost.p99_in or 0.0 for cost in verdict.faults), default=0.0),
            slowest_recovery(verdict.faults),
        )

    @classmethod
    def read(cls, text: str, allowed: str) -> "Cell | None":
        """That of a *text* in the table; None for one that is empty."""
        if not (found := _CELL.fullmatch(text)):
            return None
        failed, p99, after, outcome = found.groups()
        return cls(outcome or "good", int(failed), allowed, float(p99), float(after) if after else None)

    def __str__(self) -> str:
        after = "not before the end" if self.full_strength_after is None else f"{self.full_strength_after:.1f} s"
        return f"{self.failed} · {self.p99:.0f} ms · {after}"


class Matrix(NamedTuple):
    """The section of a page that has the cells of one run of the pairs, or of several: a sentence for each, the newest first."""

    runs: list[str]
    cells: dict[str, Cell]

    @classmethod
    def read(cls, page: str) -> "Matrix":
        """That of a *page* of Markdown; an empty one where it has none."""
        lines = page.partition(f"{HEADING}\n")[2].partition("\n## ")[0].splitlines()
        bounds = {found[1]: found[2] for line in lines if (found := _BOUND.fullmatch(line))}
        rows = [[text.strip() for text in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        texts = {
            f"{other}+{row[0]}": text for row in rows[2:] for other, text in zip(rows[0][1:], row[1:], strict=False)
        }
        cells = {name: cell for name, text in texts.items() if (cell := Cell.read(text, bounds.get(name, "0")))}
        return cls([line.removeprefix("- ") for line in lines if " played, " in line], cells)

    @classmethod
    def left_in(cls, folder: Path, names: Sequence[str], command: str) -> "Matrix":
        """What the runs of *names* have left in *folder*, unless interrupted."""
        found = {name: verdict for name in names if (verdict := read_verdict(folder / name))}
        verdicts = {name: verdict for name, verdict in found.items() if verdict.stopped_early != INTERRUPTED}
        cells = {name: Cell.of(verdict) for name, verdict in verdicts.items()}
        return cls([_summary(verdicts, names, command)], cells)

    def updated(self, newer: "Matrix") -> "Matrix":
        """This one with the cells of a *newer* run. A run of which no cell is left is not named."""
        left = self.runs if self.cells.keys() - newer.cells.keys() else []
        return Matrix(list(dict.fromkeys([*newer.runs, *left])), self.cells | newer.cells)

    @property
    def passed(self) -> set[str]:
        """The pairs that passed."""
        return {name for name, cell in self.cells.items() if cell.outcome == "good"}


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict in *folder*; None where there is none of today's form."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / "verdict.json").read_bytes(), type=Verdict)
    return None


def is_done(verdict: Verdict | None) -> bool:
    """Whether a run need not be repeated: it says something of the service, good or bad."""
    return verdict is not None and not verdict.void and verdict.stopped_early != INTERRUPTED


def write(folder: Path, names: Sequence[str], command: str) -> None:
    """Write `index.html` and `matrix.md` into *folder*, from what the runs of *names* have left there, unless interrupted."""
    table = Matrix.left_in(folder, names, command)
    (folder / "index.html").write_text(_page(table.runs[0], table.cells))
    (folder / "matrix.md").write_text(_markdown(table))


def put_into(results: Path, newer: Matrix) -> None:
    """Put the cells of *newer*, if it has any, into the section of *results*, which is added at the end where there is none."""
    if not newer.cells:
        return
    page = results.read_text()
    before, _, rest = page.partition(f"{HEADING}\n")
    _, heading, after = rest.partition("\n## ")
    section = _markdown(Matrix.read(page).updated(newer))
    results.write_text(f"{before.rstrip()}\n\n{section.rstrip()}\n" + (f"{heading}{after}" if heading else ""))


def _summary(verdicts: Mapping[str, Verdict], names: Sequence[str], command: str) -> str:
    requests = sum(verdict.requests for verdict in verdicts.values())
    failed = sum(verdict.failed for verdict in verdicts.values())
    passed = sum(verdict.passed for verdict in verdicts.values())
    dates = sorted(verdict.facts.began for verdict in verdicts.values()) or ["no run yet"]
    commits = Counter(verdict.facts.commit or "unknown" for verdict in verdicts.values())
    return (
        f"{len(verdicts)} of {counted(len(names), 'pair')} played, {passed} passed; "
        f"{failed} of {counted(requests, 'request')} failed. "
        f"From {dates[0]} to {dates[-1]}, {_commits(commits)}: {command}"
    )


def _commits(counts: Counter[str]) -> str:
    if len(counts) < 2:
        return f"commit {next(iter(counts), 'unknown')}"
    each = [f"{commit} ({counted(pairs, 'pair')})" for commit, pairs in counts.most_common()]
    return f"commits {', '.join(each)}"


def _rows(cells: Mapping[str, Cell]) -> Iterator[tuple[str, list[tuple[str, Cell | None]]]]:
    """A row for each fault that was played: with each one that comes before it in `MEMBERS`, and itself."""
    played = {one for name in cells for one in name.split("+")}
    order = [one for one in MEMBERS if one in played]
    for place, one in enumerate(order):
        pairs = [f"{other}+{one}" for other in order[: place + 1]]
        yield one, [(name, cells.get(name)) for name in pairs]


def _markdown(table: Matrix) -> str:
    rows = list(_rows(table.cells))
    lines = [f"| | {' | '.join(one for one, _ in rows)} |", f"|---|{'---|' * len(rows)}"]
    for one, row in rows:
        texts = [
            "" if cell is None else f"{cell}{'' if cell.outcome == 'good' else f' **{cell.outcome}**'}"
            for _, cell in row
        ]
        lines.append(f"| {one} | {' | '.join([*texts, *[''] * (len(rows) - len(row))])} |")
    bounds = [
        f"- {name}: {counted(cell.failed, 'request')} failed, {cell.allowed}."
        for name in PAIRS
        if (cell := table.cells.get(name)) and cell.allowed != "0"
    ]
    stated = ["", "Pairs that cannot be free of loss, and their bounds:", "", *bounds] if bounds else []
    runs = [f"- {sentence}" for sentence in table.runs]
    total = f"{counted(len(table.cells), 'pair')}, {len(table.passed)} passed:"
    return "\n".join([HEADING, "", total, "", *runs, "", _LEGEND, "", *lines, *stated, ""])


def _page(summary: str, cells: Mapping[str, Cell]) -> str:
    rows = list(_rows(cells))
    head = "".join(f"<th>{escape(one)}" for one, _ in rows)
    body = "".join(f"<tr><th>{escape(one)}{''.join(_cell(*each) for each in row)}" for one, row in rows)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Every pair of faults</title>"
        f"<style>{STYLE}{_COLOURS}body{{max-width:none}}</style><main><h1>Every pair of faults</h1><p>{escape(summary)}</p>"
        f"<p>{escape(_LEGEND)}</p><div class=wide><table><tr><th>{head}{body}</table></div></main></html>"
    )


def _cell(name: str, cell: Cell | None) -> str:
    if cell is None:
        return "<td>"
    link = f"<a href='{escape(name)}/report.html'>{escape(str(cell))}</a>"
    return f"<td class={cell.outcome} title='failed, allowed: {escape(cell.allowed)}'>{link}"
