"""Every pair of faults: which there are, how two faults overlap, what they may cost, and the table. No load here."""

import signal
import threading
import time
from contextlib import ExitStack, nullcontext
from random import Random
from types import SimpleNamespace

import msgspec
import pytest
from loadtest.__main__ import _parser, _run_pairs
from loadtest.faults import FaultRecord
from loadtest.faults.redis import RedisDown
from loadtest.faults.replicas import Kill, KillEdge, LoseNode, Pause
from loadtest.nemesis import ScenarioRun
from loadtest.proxy import RedisLine
from loadtest.record import RequestFailure
from loadtest.scenarios.pairs import MEMBERS, PAIRS, chosen, named, pair
from loadtest.system import UnsupportedError, between
from loadtest.targets import TARGETS
from loadtest.targets.target import Replica, Target

from histories import request_at, spread_out, verdict_on
from loadtest import matrix

DIED = RequestFailure.RESET


def test_there_is_a_run_for_every_pair_and_for_every_fault_alone():
    count = len(MEMBERS)
    assert len(PAIRS) == len(set(PAIRS)) == count * (count + 1) // 2
    assert all(pair(name).name == name == named("+".join(reversed(name.split("+")))) for name in PAIRS)
    with pytest.raises(ValueError, match="kill"):
        named("kill")


def test_a_commit_always_chooses_the_same_six_and_another_one_others():
    drawn = [chosen(f"{number:040x}", PAIRS) for number in range(200)]
    assert drawn[0] == chosen(f"{0:040x}", reversed(PAIRS))
    assert {len(set(names)) for names in drawn} == {6}
    assert {name for names in drawn for name in names} == set(PAIRS)


@pytest.mark.parametrize(
    ("target", "missing"),
    [("processes", {"lose-node"}), ("compose", {"lose-node", "disk-full"}), ("kubernetes", {"disk-full"})],
)
def test_a_target_says_which_faults_it_can_inject(target, missing):
    assert {name for name, member in MEMBERS.items() if not TARGETS[target].supports(member.fault.verb)} == missing


class FakeTarget:
    """Four replicas; what is done to them is noted."""

    host, by_request = "", False

    def __init__(self) -> None:
        self.done, self.is_stopped = [], threading.Event()

    def replicas(self):
        return [Replica(f"replica-{number}", 0) for number in range(4)]

    def settle(self, *_):
        self.done.append("settled")

    def kill(self, replica):
        self.done.append(f"kill {replica}")

    def redis_stopped(self):
        return between(lambda: self.done.append("stop"), lambda: self.done.append("start"))

    redis_paused = redis_stopped

    def paused(self, replica):
        return nullcontext()

    def starved(self, replica):
        self.is_stopped.wait(30)
        raise UnsupportedError(f"no {replica}")


class OneAfterTheOther(ScenarioRun):
    """Follows one plan after the other, and notes how long each would wait."""

    def __init__(self, target) -> None:
        super().__init__(target, 54.0, time.monotonic(), Random(0))
        self.waited = []

    def wait(self, seconds):
        self.waited.append(seconds)

    def continues(self):
        return not self.faults

    def overlap(self, *plans):
        for plan in plans:
            plan()
        self.waited.append("over")


@pytest.mark.parametrize(
    ("name", "waited"),
    [
        ("redis-down+kill", [6, 12, 6, 0, "over", 6, 0, 1, 12, "over", 6]),
        ("redis-down+redis-down", [6, 12, "over", 6, 12, "over", 6]),
        ("redis-hang+pause", [6, 12, 6, 5, "over", 6, 5, 6, 12, "over", 6]),
    ],
)
def test_the_second_fault_begins_in_the_middle_of_the_first_in_both_orders(name, waited):
    run = OneAfterTheOther(FakeTarget())
    pair(name).script(run)
    assert run.waited == waited


def test_each_kill_hits_another_replica():
    run = OneAfterTheOther(FakeTarget())
    pair("kill+kill").script(run)
    assert run.target.done == ["kill replica-0", "settled", "kill replica-1", "settled"]


@pytest.mark.parametrize(("seconds", "told"), [(0.01, []), (0.1, ["over: kill -9 of b"])])
def test_a_fault_is_said_to_be_over_unless_it_took_a_moment(monkeypatch, seconds, told):
    said, moments = [], iter([5.9, 5.9 + seconds])
    run = ScenarioRun(FakeTarget(), 1.0, 0.0, Random(0), tell=said.append)
    monkeypatch.setattr(run, "now", lambda: next(moments))
    run.inject(Kill("b"))
    assert said == ["kill -9 of b", *told]


def test_faults_of_a_round_are_injected_at_the_same_time():
    run, meet = ScenarioRun(FakeTarget(), 1.0, 0.0, Random(0)), threading.Barrier(2, timeout=30)
    run.overlap(meet.wait, meet.wait)


def test_a_fault_that_cannot_be_injected_ends_the_round_and_undoes_the_other():
    target = FakeTarget()
    run = ScenarioRun(target, 3600.0, 0.0, Random(0), tell=lambda _: target.is_stopped.set())
    plans = (lambda: run.inject(RedisDown(), 3000.0), lambda: target.starved("replica-0"))
    with pytest.raises(UnsupportedError, match="no replica-0"):
        run.overlap(*plans)
    assert target.done == ["stop", "start"]
    run.wait(0.0)  # the scenario itself may go on


def test_an_interrupt_waits_until_what_is_broken_is_undone(interruptible):
    done = []

    def undo():
        signal.raise_signal(signal.SIGINT)
        done.append("undone")

    with pytest.raises(KeyboardInterrupt), between(lambda: None, undo):
        pass
    assert done == ["undone"]


def test_a_line_to_redis_that_ended_with_its_replica_need_not_be_restored():
    with RedisLine(1).running() as line, ExitStack() as broken:
        broken.enter_context(line.partitioned())
        restore = broken.pop_all()
    restore.close()


LOST = [request_at(5.2, status=0, failure=DIED, replica="")]
OVERLAPPING = [FaultRecord(RedisDown(), 2.0, 6.0, 2, 1), FaultRecord(Kill("a"), 4.0, 4.1, 2, 1)]
LATER = [request_at(9.0, status=0, failure=DIED, replica="")]


@pytest.mark.parametrize(
    ("fault", "by_request", "failed", "passes"),
    [
        (Kill("a"), False, LOST, True),
        (Kill("a"), True, LOST, False),
        (Kill("a"), False, LATER, False),
        (Pause("a"), False, LOST * 60, False),
        (KillEdge(), True, LOST, True),
        (KillEdge(), True, [msgspec.structs.replace(LOST[0], failure=RequestFailure.WRONG_BODY)], False),
        (LoseNode(), True, LATER, True),
        (RedisDown(), False, LOST, False),
    ],
    ids=["killed", "retried", "later", "too many", "edge", "edge, wrong", "node", "Redis takes none"],
)
def test_a_pair_may_lose_what_was_on_the_way_to_what_broke_and_no_more(fault, by_request, failed, passes):
    faults = [FaultRecord(fault, 5.0, 5.1, 2, 1), FaultRecord(RedisDown(), 5.0, 6.0, 2, 1)]
    verdict = verdict_on([*spread_out, *failed], "redis-down+kill", by_request, faults=faults, ended=1)
    assert verdict.passed is passes


@pytest.mark.parametrize(("node_is_back", "passes"), [(7.0, True), (4.5, False)])
def test_nothing_is_answered_while_an_edge_restarts_and_the_node_of_the_other_is_lost(node_is_back, passes):
    faults = [FaultRecord(LoseNode(), 2.0, node_is_back, 2, 1), FaultRecord(KillEdge(), 4.0, 7.0, 2, 1)]
    lost = [request_at(6.9, status=0, failure=DIED, replica="")] * 2000
    verdict = verdict_on([*spread_out, *lost], "kill-edge+lose-node", True, faults=faults, ended=0)
    assert (not verdict.failed_checks) is passes, verdict.failed_checks


def test_faults_that_did_not_overlap_prove_nothing_of_the_pair():
    apart = [FaultRecord(Kill("a"), 1.0, 1.1, 2, 1), FaultRecord(RedisDown(), 5.0, 6.0, 2, 1)]
    verdict = verdict_on(spread_out, "redis-down+kill", faults=apart, ended=1)
    assert [check.name for check in verdict.failed_checks] == ["rounds in which the faults did not overlap"]


def test_faults_that_overlap_are_one_cost():
    faults = [
        FaultRecord(RedisDown(), 2.0, 6.0, 2, 1),
        FaultRecord(Kill("a"), 4.0, 4.1, 2, 1),
        FaultRecord(Kill("a"), 8.0, 8.1, 2),
    ]
    costs = verdict_on(spread_out, "redis-down+kill", faults=faults, ended=2).faults
    assert [(cost.kind, cost.began, cost.ended) for cost in costs] == [
        ("redis-down and kill", 2.0, 6.0),
        ("kill", 8.0, 8.1),
    ]


def left_behind(folder, name: str, requests=spread_out, commit="", **other) -> None:
    verdict = verdict_on(requests, name, faults=OVERLAPPING, ended=1, **other)
    verdict = msgspec.structs.replace(verdict, facts=msgspec.structs.replace(verdict.facts, commit=commit))
    (folder / name).mkdir()
    (folder / name / "verdict.json").write_bytes(msgspec.json.encode(verdict))


def test_the_table_has_a_cell_for_each_run_that_leads_to_it_and_is_put_into_the_results(tmp_path):
    left_behind(tmp_path, "redis-down+kill", [*spread_out, *LOST], commit="abc1234")
    left_behind(tmp_path, "kill+kill", [*spread_out, *LATER], commit="abc1234")
    matrix.write(tmp_path, ["redis-down+kill", "kill+kill", "kill+pause"], "python -m loadtest run pairs")
    page, text = ((tmp_path / name).read_text() for name in ("index.html", "matrix.md"))
    assert "2 of 3 pairs played, 1 passed; 2 of 1002 requests failed." in text
    assert "commit abc1234: python -m loadtest run pairs" in text
    assert "| kill | 1 · 10 ms · 0.0 s | 1 · 10 ms · 0.0 s **bad** |" in text
    assert "- redis-down+kill: 1 request failed, at most" in text
    assert "<td class=good title='failed, allowed: at most" in page
    assert "<a href='redis-down+kill/report.html'>1 · 10 ms · 0.0 s</a>" in page
    results = tmp_path / "results.md"
    results.write_text("# Results\n\n## Others\n\nold\n")
    matrix.put_into(results, matrix.Matrix.read(text))
    once = results.read_text()
    matrix.put_into(results, matrix.Matrix.read(text))
    assert results.read_text() == once == f"# Results\n\n## Others\n\nold\n\n{text.rstrip()}\n"


def test_a_table_in_the_results_is_completed_by_another_run(tmp_path):
    first, second, results = tmp_path / "first", tmp_path / "second", tmp_path / "results.md"
    for folder in (first, second):
        folder.mkdir()
    left_behind(first, "redis-down+kill", [*spread_out, *LOST])
    left_behind(first, "kill+kill", [*spread_out, *LATER])
    matrix.write(first, ["redis-down+kill", "kill+kill"], "first")
    results.write_text(f"# Results\n\n{(first / 'matrix.md').read_text()}\n## Others\n\nold\n")
    left_behind(second, "kill+kill")
    left_behind(second, "kill+pause", [*spread_out, *LATER])
    matrix.write(second, ["kill+kill", "kill+pause"], "second")
    matrix.put_into(results, matrix.Matrix.read((second / "matrix.md").read_text()))
    text = results.read_text()
    assert "3 pairs, 2 passed:\n\n- 2 of 2 pairs played, 1 passed; 1 of 1001" in text
    assert "second\n- 2 of 2 pairs played, 1 passed; 2 of 1002" in text
    assert "| kill | 1 · 10 ms · 0.0 s | 0 · 10 ms · 0.0 s |  |" in text
    assert "| pause |  | 1 · 10 ms · 0.0 s **bad** |  |" in text
    assert "- redis-down+kill: 1 request failed, at most" in text
    assert text.endswith("\n\n## Others\n\nold\n")
    assert matrix.Matrix.read(text).passed == {"redis-down+kill", "kill+kill"}


def test_pairs_that_passed_in_the_results_stay_there_and_in_the_table_of_a_resumed_run(tmp_path):
    results, folder, elsewhere = (tmp_path / name for name in ("results.md", "pairs-processes", "elsewhere"))
    for each in (folder, elsewhere):
        each.mkdir()
    left_behind(elsewhere, "kill+kill")
    results.write_text("# Results\n")
    matrix.put_into(results, matrix.Matrix.left_in(elsewhere, ["kill+kill"], "elsewhere"))
    left_behind(folder, "kill+kill", [*spread_out, *LATER])
    left_behind(folder, "redis-down+kill")
    options = _parser().parse_args(["run", "pairs", "--results", str(results), "--output", str(tmp_path)])

    def renew():
        raise UnsupportedError("nothing is played")

    able = {Target.kill, Target.redis_stopped}
    assert _run_pairs(options, SimpleNamespace(name="processes", can=able.__contains__, renew=renew)) == 2
    assert matrix.Matrix.read(results.read_text()).passed == {"kill+kill", "redis-down+kill"}
    assert "<a href='kill+kill/report.html'>" in (folder / "index.html").read_text()
    once = results.read_text()
    able.remove(Target.redis_stopped)
    assert _run_pairs(options, SimpleNamespace(name="processes", can=able.__contains__)) == 0
    assert results.read_text() == once


def test_the_table_names_every_commit_that_was_played(tmp_path):
    for name, commit in {"kill+kill": "abc1234", "pause+pause": "def5678-dirty", "kill+pause": "def5678-dirty"}.items():
        left_behind(tmp_path, name, commit=commit)
    matrix.write(tmp_path, ["kill+kill", "pause+pause", "kill+pause"], "python -m loadtest run pairs")
    assert "commits def5678-dirty (2 pairs), abc1234 (1 pair): python -m" in (tmp_path / "matrix.md").read_text()


def test_what_is_done_is_kept_unless_it_says_nothing_of_the_service(tmp_path):
    left_behind(tmp_path, "kill+kill", [*spread_out, *LATER])
    left_behind(tmp_path, "redis-down+kill", stopped_early="it was interrupted")
    done = {
        name: matrix.is_done(matrix.read_verdict(tmp_path / name)) for name in ("kill+kill", "redis-down+kill", "none")
    }
    assert done == {"kill+kill": True, "redis-down+kill": False, "none": False}
    matrix.write(tmp_path, list(done), "python -m loadtest run pairs")
    assert "1 of 3 pairs played" in (tmp_path / "matrix.md").read_text()
