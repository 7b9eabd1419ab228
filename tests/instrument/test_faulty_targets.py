"""Each target here is bad in one way, and the verdict must name it. These are real runs, of some seconds each."""

import os
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import msgspec
import pytest
from loadtest.balancer import Balancer
from loadtest.history import RunHistory
from loadtest.load_generator import Load
from loadtest.run import run
from loadtest.scenarios import SCENARIOS
from loadtest.targets.processes import SERVE, running
from loadtest.verdict import Verdict

from conftest import ROOT
from processes import left_running

FAULTY = (sys.executable, str(Path(__file__).with_name("faulty.py")))

pytestmark = pytest.mark.real


def in_turn():
    """Chooses one replica after the other. Chance deals forty connections unfairly one time in fifty, and there are many runs."""
    turn = count()
    return lambda ready: ready[next(turn) % len(ready)]


def fair() -> Balancer:
    return Balancer(in_turn())


def verdict_on(folder, scenario: str, *, seconds: float, load=None, command=SERVE, balancer=fair) -> Verdict:
    with running(folder, 4, command, balancer) as target:
        verdict = run(SCENARIOS[scenario], target, folder, seconds=seconds, load=load, tell=lambda _: None)
    print(f"\n{verdict.summary} {verdict.failures}", *(check.sentence for check in verdict.failed_checks))
    return verdict


def failed_checks(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.failed_checks]


def test_a_target_that_is_well_passes(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=10)
    assert failed_checks(verdict) == []
    assert verdict.failures == {}


def test_rows_of_workers_become_one_history(tmp_path):
    """As many as Locust itself counted, on one clock."""
    command = [sys.executable, "-m", "locust", "--worker", "--locustfile", str(ROOT / "loadtest/locustfile.py")]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    workers = [subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) for _ in range(3)]
    try:
        verdict = verdict_on(tmp_path, "steady", seconds=10, load=Load(workers=3))
        assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
    assert failed_checks(verdict) == []
    generator = msgspec.json.decode((tmp_path / "history.json").read_bytes(), type=RunHistory).generator
    assert generator.processes == 3
    assert 0 < generator.skew < 0.02
    counted = re.findall(r"Aggregated +(\d+) ", (tmp_path / "locust.log").read_text())
    assert counted[0] == str(verdict.requests)


@pytest.mark.parametrize(
    ("fault", "scenario", "seconds", "named"),
    [
        ("stale", "steady", 16, {"went back"}),
        ("young", "steady", 14, {"false age"}),
        ("late", "steady", 12, {"late"}),
        ("wrong", "steady", 10, {"wrong body", "wrong page"}),
        ("unasked", "steady", 8, {"not held"}),
        ("blended", "steady", 16, {"wrong page"}),
        ("abrupt", "rollout", 14, {"closed unanswered", "reset"}),
    ],
)
def test_a_replica_that_is_bad_fails(tmp_path, fault, scenario, seconds, named):
    also = {"unreadable", "error"} if fault == "wrong" else set()  # a byte may be one of a compressed body
    verdict = verdict_on(tmp_path, scenario, seconds=seconds, command=(*FAULTY, fault))
    assert not verdict.passed
    assert verdict.failures.keys() & named
    assert verdict.failures.keys() <= named | also
    # an answer that goes back may also be older than one that another replica gave 50 ms before
    allowed = {"monotonic reads"} if fault == "stale" else set()
    assert {*failed_checks(verdict)} - allowed == {"failed requests"}


class Dropping(Balancer):
    """Loses one request in 10,000, when it has come whole."""

    passed = 0

    def received(self, data: bytes) -> bytes:
        self.passed += 1
        if self.passed % 10_000 == 0:
            raise ConnectionAbortedError
        return data


def test_replicas_that_change_one_after_another_are_found(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=16, command=(*FAULTY, "early"))
    assert "monotonic reads" in failed_checks(verdict)
    assert verdict.failures.keys() <= {"behind"}, "on a busy machine, even by more than two polls"


def test_versions_that_are_gone_before_their_last_page_are_found(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=16, command=(*FAULTY, "forgetful"))
    assert failed_checks(verdict) == ["versions that were gone before their last page"]
    assert verdict.failures == {}


class Doubling(Balancer):
    """Sends a request twice when it has seen so many."""

    passed_so_far = 0

    def received(self, data: bytes) -> bytes:
        self.passed_so_far += 1
        return data * 2 if self.passed_so_far == 500 else data


def test_a_request_that_is_sent_twice_is_found(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=6, balancer=lambda: Doubling(in_turn()))
    assert "requests that were sent twice" in failed_checks(verdict)


def test_one_request_in_ten_thousand_that_is_dropped_is_found(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=34, load=Load(users=75), balancer=lambda: Dropping(in_turn()))
    assert verdict.requests > 10_000
    assert failed_checks(verdict) == ["failed requests"]
    assert verdict.failures.keys() <= {"reset", "closed unanswered"}
    assert 1 <= verdict.failed <= verdict.requests // 10_000


def test_clients_that_are_all_pinned_to_one_replica_are_found(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=8, balancer=lambda: Balancer(min))
    spread = ["spread of new connections", "spread of kept-alive connections"]
    assert failed_checks(verdict) == ["versions at the end", *spread]


def test_a_run_in_which_the_load_generator_was_the_bottleneck_is_void(tmp_path):
    verdict = verdict_on(tmp_path, "steady", seconds=8, load=Load(users=200, rate=100))
    assert verdict.void
    assert not verdict.passed
    assert "the load generator" in failed_checks(verdict)


def test_an_interrupt_undoes_what_is_broken_and_leaves_nothing_running(tmp_path):
    command = [sys.executable, "-m", "loadtest", "run", "redis-hang", "--seconds", "15", "--output", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if "Redis hangs" in line:
                process.send_signal(signal.SIGINT)
                break
        rest, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "over: Redis hangs" in rest
    assert complaint == "loadtest: interrupted; every fault is undone\n"
    assert "The scenario stopped early: it was interrupted." in rest
    folder = tmp_path / "redis-hang-processes"
    assert "Redis hangs" in (folder / "report.html").read_text()
    assert not list(folder.glob("rows*.csv"))
    assert left_running(tmp_path) == []


def test_a_pair_of_faults_is_played_once_and_the_table_leads_to_its_run(tmp_path):
    name = "redis-down+kill"
    command = [sys.executable, "-m", "loadtest", "run", "pairs", "--only", "kill+redis-down", "--seconds", "18"]
    elsewhere = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}}
    first, again = (
        subprocess.run([*command, "--output", "report"], capture_output=True, text=True, timeout=300, **elsewhere)
        for _ in range(2)
    )
    print(first.stdout)
    folder = tmp_path / "report/pairs-processes"
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert again.stdout.startswith(
        f"{name}: done before. Passed. Broken: 1 × redis-down and kill, 1 × kill and redis-down."
    )
    assert f"<a href='{name}/report.html'>" in (folder / "index.html").read_text()
    assert (folder / name / "report.html").exists()
