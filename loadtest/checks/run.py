"""Whether the run itself took place, and whether replicas ended in it."""

from collections.abc import Iterator

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult

_MEET = 2.0
"""Seconds from the end of a fault, at most, to the one that meets it: the effect of a kill lasts longer than the kill."""


def enough_requests(run: Analysis) -> Iterator[CheckResult]:
    """There were as many requests as were asked for."""
    count, least = len(run.requests), max(1, run.facts.min_requests)
    sentence = f"{counted(count, 'request')} in {run.facts.seconds:.0f} s, {run.per_second:.0f} a second."
    yield CheckResult("requests", count >= least, count, f"at least {least}", sentence)


def ran_to_its_end(run: Analysis) -> Iterator[CheckResult]:
    """The scenario did not stop early."""
    early = run.history.stopped_early
    sentence = f"The scenario {f'stopped early: {early}' if early else 'ran to its end'}."
    yield CheckResult("scenario", not early, "stopped early" if early else "complete", "complete", sentence)


def faults_were_injected(run: Analysis) -> Iterator[CheckResult]:
    """A run in which nothing was broken proves nothing; a process that was killed has ended."""
    faults, ended = run.history.faults, run.history.ended
    kills = sum(record.fault.kills for record in faults)
    if any(record.fault.replaces for record in faults):  # one that is gone has ended once, however often it was killed
        kills = min(kills, run.facts.replicas)
    sentence = f"{counted(len(faults), 'fault')}, {counted(ended, 'end')} of a replica."
    yield CheckResult("faults", bool(faults) and ended >= kills, len(faults), "at least 1, each effective", sentence)


def faults_overlapped(run: Analysis) -> Iterator[CheckResult]:
    """The faults of each round met: the second one began while the first one lasted, or within two seconds."""
    rounds = run.history.rounds
    apart = [each for each in rounds if max(one.began for one in each) > min(one.ended for one in each) + _MEET]
    met = len(rounds) - len(apart)
    sentence = f"In {met} of {counted(len(rounds), 'round')} the faults overlapped."
    yield CheckResult(
        "rounds in which the faults did not overlap", bool(rounds) and not apart, len(apart), "0", sentence
    )


def no_restarts(run: Analysis) -> Iterator[CheckResult]:
    """No replica ended."""
    ended = run.history.ended
    yield CheckResult("replicas that ended", ended == 0, ended, "0", f"{counted(ended, 'replica')} ended.")
