"""Invented histories of load tests, and the verdicts on them."""

from collections.abc import Sequence

import msgspec
from loadtest.analysis import Analysis
from loadtest.history import RunFacts, RunHistory
from loadtest.load_generator import GeneratorUsage
from loadtest.observer import Observation
from loadtest.record import RequestRecord
from loadtest.scenarios import scenario_of
from loadtest.verdict import judge


def request_at(sent: float, took: float = 0.01, **other) -> RequestRecord:
    facts = {"kind": "search", "kept_alive": True, "due": sent, "lag": 0.0, "status": 200, "replica": "a"}
    return RequestRecord(sent=sent, done=sent + took, **(facts | other))


FACTS = RunFacts(
    scenario="steady",
    target="processes",
    by_request=False,
    has_testbed=False,
    host="http://127.0.0.1:1",
    replicas=2,
    poll=1.0,
    began="2026-11-24T00:00:00+00:00",
    command="python -m loadtest",
    seed=0,
    min_requests=0,
    seconds=10.0,
)
HISTORY = RunHistory(
    facts=FACTS,
    requests=[],
    faults=[],
    stopped_early="",
    observations=[Observation(float(at), at + 0.01, "a", "1-a", "fresh", 1.0, 7.5, "") for at in range(10)],
    upstream_log=None,
    sooner=0.0,
    generator=GeneratorUsage(1.0, 0.0, 10.0),
    ended=0,
    final_versions=["1-a"],
)


def verdict_on(requests, scenario: str = "steady", by_request: bool = False, **other):
    facts = msgspec.structs.replace(FACTS, scenario=scenario, by_request=by_request)
    return verdict_of(requests, facts=facts, **other)


def verdict_of(requests, **other):
    in_order = sorted(requests, key=lambda request: request.done)
    history = msgspec.structs.replace(HISTORY, requests=in_order, **other)
    return judge(Analysis.of(history), scenario_of(history.facts.scenario))


def spread_over(replicas: Sequence[str]) -> list[RequestRecord]:
    """Ten seconds of requests, which *replicas* answer in turn, on kept-alive connections and on new ones alike."""
    count = len(replicas)
    return [
        request_at(n / 50, replica=replicas[n % count], kept_alive=n // count % 2 == 0, version="1-a")
        for n in range(500)
    ]


spread_out = spread_over("ab")
