"""From what a run saw to what a person believes: every check, and in a sentence what was broken and what it cost. Pure.

A run is void when the load generator was the bottleneck: then nothing is said of the service.
"""

from collections import Counter

import msgspec

from loadtest.analysis import Analysis, Cost, Share, latencies, shares
from loadtest.checks import Check, checks, counted
from loadtest.scenarios import Scenario

VERDICT_VERSION = 2

_LAG = 0.1
"""Seconds that a request may be sent later than it could."""
_LAG_SHARE = 0.05
_BUSY = 0.9


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of one run."""

    verdict_version: int
    passed: bool
    void: bool
    summary: str
    scenario: str
    target: str
    by_request: bool
    host: str
    began: str
    command: str
    seed: int
    seconds: float
    requests: int
    failed: int
    failures: dict[str, int]
    latency_ms: dict[str, float]
    latency_by_kind_ms: dict[str, dict[str, float]]
    checks: list[Check]
    faults: list[Cost]
    shares: dict[str, list[Share]]
    generator: dict[str, float]


def judge(run: Analysis, scenario: Scenario) -> Verdict:
    """The verdict on a run of *scenario*."""
    history = run.history
    generator = _generator(run)
    void = _void(generator, history.generator.processes)
    held = list(checks(run, scenario, void))
    passed = all(check.passed for check in held)
    failures = Counter(request.fault for request in run.requests if request.fault)
    return Verdict(
        verdict_version=VERDICT_VERSION,
        passed=passed,
        void=bool(void),
        summary=_summary(run, passed, void, failures),
        scenario=history.scenario,
        target=history.target,
        by_request=history.by_request,
        host=history.host,
        began=history.began,
        command=history.command,
        seed=history.seed,
        seconds=history.seconds,
        requests=len(run.requests),
        failed=failures.total(),
        failures=dict(failures.most_common()),
        latency_ms=latencies(run.requests),
        latency_by_kind_ms={kind: latencies(run.of_kind(kind)) for kind in run.kinds()},
        checks=held,
        faults=run.costs,
        shares={
            "new connections": shares(run.requests, kept_alive=False),
            "kept-alive connections": shares(run.requests, kept_alive=True),
        },
        generator=generator,
    )


def _void(figures: dict[str, float], processes: int) -> str:
    """Why nothing can be said of the service, if so."""
    if figures["busy"] > _BUSY * max(1, processes):
        busy = f"{figures['busy']:.0%}"
        return f"Locust ran or waited to run {busy} of the time: it was the bottleneck, and the run says nothing of the service."
    if figures["sent_late_share"] > _LAG_SHARE:
        return (
            f"{figures['sent_late_share']:.1%} of the requests were sent more than {_LAG * 1000:.0f} ms after they were due, "
            "with nothing in their way: Locust or its machine was the bottleneck, and the run says nothing of the service."
        )
    return ""


def _generator(run: Analysis) -> dict[str, float]:
    """What the load generator did, and what it could do: its limit, in requests a second, is a core's worth of its own CPU."""
    generator, count = run.history.generator, len(run.requests)
    late = sum(request.lag > _LAG for request in run.requests)
    per_request = generator.cpu / count if count else 0.0
    return {
        "cpu_ms_per_request": round(per_request * 1000, 3),
        "limit_per_second": round(1 / per_request) * generator.processes if per_request else 0,
        "busy": round((generator.cpu + generator.waited) / generator.seconds, 3) if generator.seconds else 0.0,
        "sent_late_share": round(late / count, 4) if count else 0.0,
    }


def _summary(run: Analysis, passed: bool, void: str, failures: "Counter[str]") -> str:
    """Three facts: what was broken, what failed, how long it took."""
    if void:
        return f"Void: {void}"
    faults = Counter(fault.kind for fault in run.history.faults)
    broken = ", ".join(f"{count} × {kind}" for kind, count in faults.most_common()) or "nothing"
    back = [cost.full_strength_after for cost in run.costs]
    whole = max((seconds for seconds in back if seconds is not None), default=0.0)
    until = f" Full strength after {whole:.1f} s at most." if whole else ""
    never = " It was not always at full strength again before the next." if None in back else ""
    return (
        f"{'Passed' if passed else 'Failed'}. Broken: {broken}. "
        f"Failed: {failures.total()} of {counted(len(run.requests), 'request')}.{until}{never}"
    )
