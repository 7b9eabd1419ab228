"""What the replicas and the upstream say of the catalogue."""

from collections.abc import Iterator

from apidex.terminal import counted
from loadtest.analysis import Analysis, is_within
from loadtest.checks.check import CheckResult
from loadtest.observer import Observation
from loadtest.ordering import UpstreamHistory


def versions_agree(run: Analysis) -> Iterator[CheckResult]:
    """All replicas answer from one version in the end."""
    versions = run.history.final_versions
    sentence = f"At the end all replicas answered from {', '.join(versions) or 'nothing'}."
    yield CheckResult("versions at the end", len(versions) == 1, len(versions), "1", sentence)


def states_were_true(run: Analysis) -> Iterator[CheckResult]:
    """The state that a replica reports follows from the age, and the age from when the upstream was asked."""
    history = run.history
    upstream = UpstreamHistory(history.upstream_log or (), history.sooner)
    wrong = [each for each in history.observations if not _is_true(each, upstream, run.facts.has_testbed)]
    stale = sum(each.state == "stale" for each in history.observations)
    yield CheckResult(
        "replicas that reported a wrong state",
        not wrong and len(history.observations) >= run.facts.seconds / 10,
        len(wrong),
        "0",
        f"Asked {counted(len(history.observations), 'time')}, the replicas called themselves stale {counted(stale, 'time')}; "
        f"the state was wrong {counted(len(wrong), 'time')}.",
    )


def _is_true(seen: Observation, upstream: UpstreamHistory, has_testbed: bool) -> bool:
    """On the testbed no replica has reason to answer from the starter catalogue; elsewhere the upstream may be out of reach."""
    if seen.state == "bundled":
        return not has_testbed
    true_age = not upstream.is_too_young(seen.version, seen.age, seen.asked, seen.at)
    return true_age and seen.state == ("stale" if seen.age > seen.max_age else "fresh")


def upstream_failure_was_reported(run: Analysis) -> Iterator[CheckResult]:
    """While the upstream fails, a replica says so."""
    intervals = [(each.began, each.ended + 1) for each in run.history.faults if each.fault.interrupts_upstream]
    reports = sum(bool(each.last_failure) and is_within(each.at, intervals) for each in run.history.observations)
    sentence = f"The upstream's failure was reported {counted(reports, 'time')}."
    yield CheckResult("reports of the upstream's failure", reports > 0, reports, "at least 1", sentence)


def upstream_kept_a_log(run: Analysis) -> Iterator[CheckResult]:
    """Where the testbed's upstream keeps a log, ages were checked against it."""
    if run.facts.has_testbed:
        given = len(run.history.upstream_log or ())
        yield CheckResult(
            "the upstream's log",
            given > 0,
            given,
            "at least 1 answer",
            f"The upstream logged {counted(given, 'answer')}.",
        )
