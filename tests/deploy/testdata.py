"""The scenarios of both targets as they are played here, and what replicas answer from without an upstream."""

import json
import time
from pathlib import Path

from loadtest.checks.check import CheckResult
from loadtest.load_generator import Load
from loadtest.run import run
from loadtest.scenarios.scenario import Scenario
from loadtest.system import get
from loadtest.targets.target import Target
from loadtest.verdict import Verdict

from conftest import ROOT

STARTER = json.loads((ROOT / "src/apidex/catalogue/starter.json").read_text())["entries"]

SECONDS = 25.0
LOAD = Load(users=40, timeout=20.0)
"""Its clients wait longer than HAProxy holds a request: how fast four replicas start depends on how busy this machine is."""


def play(scenario: Scenario, target: Target, folder: Path, *, seconds: float = SECONDS, load: Load = LOAD) -> Verdict:
    """Run *scenario* and show its figures."""
    verdict = run(scenario, target, folder, seconds=seconds, load=load, tell=lambda _: None)
    print(f"\n{scenario.name} on {target.name}: {verdict.summary}", *map(_line, verdict.checks), sep="\n  ")
    return verdict


def assert_passed(verdict: Verdict) -> None:
    """The error names every check that failed."""
    assert verdict.passed, "\n".join([verdict.summary, *map(_line, verdict.failed_checks)])


def _line(check: CheckResult) -> str:
    return f"{check.name}: {check.figure} (allowed: {check.bound}). {check.sentence}"


def states_of_all(url: str, replicas: int) -> dict[str, dict]:
    """/v1/catalogue of every replica."""
    states, until = {}, time.monotonic() + 15
    while len(states) < replicas and time.monotonic() < until:
        response = get(f"{url}/v1/catalogue").raise_for_status()
        states.setdefault(response.headers["x-served-by"], response.json())
    assert len(states) == replicas, f"{len(states)} of {replicas} replicas answered"
    return states


def check_that_all_answer_from_the_starter_catalogue(url: str) -> None:
    assert {state["state"] for state in states_of_all(url, 4).values()} == {"bundled"}
    found = get(f"{url}/Cat").raise_for_status().json()
    assert found == [entry for entry in STARTER if "Cat" in entry["API"]]
