"""How soon a replica that was killed answers again."""

from collections.abc import Iterator
from math import inf, isinf

from apidex.terminal import counted
from loadtest.analysis import Analysis
from loadtest.checks.check import CheckResult
from loadtest.faults import FaultRecord
from loadtest.faults.replicas import Kill

_RESTART = 30.0
"""Seconds from the kill to the first answer of the restarted process."""


def killed_replicas_answer_again(run: Analysis) -> Iterator[CheckResult]:
    """Every replica that was killed answers again soon, and no replica was restarted without a kill."""
    killed = [
        (record, victim) for record in run.history.faults if record.fault.kills for victim in _victims(run, record)
    ]
    seconds = [_first_answer(run, record, victim) for record, victim in killed]
    slowest = max(seconds, default=0.0)
    again = f"the slowest of them took {slowest:.1f} s to answer"
    if isinf(slowest):
        again = "one of them never answered again"
    yield CheckResult(
        "seconds until a killed replica answers again",
        slowest <= _RESTART,
        "never" if isinf(slowest) else round(slowest, 1),
        f"at most {_RESTART:g}",
        f"{counted(len(killed), 'replica')} killed; {again}.",
    )
    ended, most = run.history.ended, len(killed)
    sentence = f"Killed: {counted(most, 'replica')}; ended: {ended}."
    yield CheckResult("replicas that ended", ended <= most, ended, f"at most {most}, those that were killed", sentence)


def _victims(run: Analysis, record: FaultRecord) -> set[str]:
    if isinstance(record.fault, Kill):
        return {record.fault.replica}
    return {request.replica for request in run.requests if request.replica and request.done < record.began}


def _first_answer(run: Analysis, record: FaultRecord, victim: str) -> float:
    """Seconds until *victim* answers a request that was sent after the kill; infinite if it never does."""
    answers = (each.done for each in run.requests if each.replica == victim and each.sent > record.ended)
    return min(answers, default=inf) - record.began
