"""From a run to what a person believes: every check, and in a sentence what was broken and what it cost. Pure."""

from collections import Counter

import msgspec

from apidex.terminal import counted
from loadtest.analysis import Analysis, FaultCost, Share, latencies, latencies_by_kind, recovery, shares
from loadtest.checks import CheckResult
from loadtest.checks.load_generator import GeneratorLoad, bottleneck, cause_of_failures
from loadtest.history import RunFacts
from loadtest.record import RequestFailure
from loadtest.scenarios.scenario import Scenario

VERDICT_VERSION = 5


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run: *void* if the load generator was the bottleneck, or delayed most of the requests that were lost.

    *stopped_early* is the reason of an early end.
    """

    verdict_version: int = VERDICT_VERSION
    passed: bool
    void: bool
    summary: str
    facts: RunFacts
    stopped_early: str
    requests: int
    failed: int
    failures: dict[RequestFailure, int]
    latency_ms: dict[str, float]
    latency_by_kind_ms: dict[str, dict[str, float]]
    checks: list[CheckResult]
    faults: list[FaultCost]
    shares: dict[str, list[Share]]
    generator: GeneratorLoad

    @property
    def outcome(self) -> str:
        """As reports colour it."""
        return "void" if self.void else "good" if self.passed else "bad"

    @property
    def failed_checks(self) -> list[CheckResult]:
        """What did not hold."""
        return [check for check in self.checks if not check.passed]


def judge(run: Analysis, scenario: Scenario) -> Verdict:
    """The verdict on a run of *scenario*."""
    results = [(check, result) for check in scenario.all_checks() for result in check(run)]
    wrong = [check for check, result in results if not result.passed]
    passed = not wrong
    only_lost = bool(wrong) and all(check is scenario.failures for check in wrong)
    void = bottleneck(run) or (cause_of_failures(run) if only_lost else "")
    return Verdict(
        passed=passed,
        void=bool(void),
        summary=_summary(run, passed, void),
        facts=run.facts,
        stopped_early=run.history.stopped_early,
        requests=len(run.requests),
        failed=len(run.failed),
        failures=dict(run.failures.most_common()),
        latency_ms=latencies(run.requests),
        latency_by_kind_ms=latencies_by_kind(run.requests),
        checks=[result for _, result in results],
        faults=run.costs,
        shares={
            "new connections": shares(run.requests, kept_alive=False),
            "kept-alive connections": shares(run.requests, kept_alive=True),
        },
        generator=GeneratorLoad.of(run),
    )


def _summary(run: Analysis, passed: bool, void: str) -> str:
    """Three facts: what was broken, what failed, how long it took. Or why the run is *void*."""
    if void:
        return f"Void: {void} The run says nothing of the service."
    faults = Counter(cost.kind for cost in run.costs)
    broken = ", ".join(f"{count} × {kind}" for kind, count in faults.most_common()) or "nothing"
    again = f" All replicas answered again {recovery(run.costs)}." if run.costs else ""
    return (
        f"{'Passed' if passed else 'Failed'}. Broken: {broken}. "
        f"Failed: {len(run.failed)} of {counted(len(run.requests), 'request')}.{again}"
    )
