"""What must hold: each check with its figure, its bound, and a sentence. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from scipy import stats

from loadtest.analysis import Analysis, Share, shares, within
from loadtest.nemesis import Fault
from loadtest.observer import Observation
from loadtest.ordering import UpstreamHistory
from loadtest.record import RequestRecord
from loadtest.scenarios import Scenario

_WARM = 2.0
"""Seconds after which a run is past its start."""

_HANDS = 2.0
"""Seconds for which requests may still be sent to a replica that has died, where nothing asks again."""

_LEFT = 15.0
"""Seconds for which requests may still be sent to a node that is lost."""

_UNCHECKED_SHARE = 0.0002
"""Those of a version that was gone before it could be learnt."""

_MIN_P_VALUE = 1e-4
"""How seldom a fair spread looks as uneven by chance as what fails the check."""

_ON_THE_WAY = {"refused", "reset", "closed unanswered", "torn", "late", "unreachable", "transport"}
"""How a request fails that nobody has answered, or not to the end."""


class Check(msgspec.Struct, frozen=True):
    """One thing that had to hold. *figure* is what was measured, *bound* what was allowed."""

    name: str
    passed: bool
    figure: float | int | str
    bound: str
    sentence: str


def counted(count: int, what: str) -> str:
    """*count* and what is counted, one or several."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def checks(run: Analysis, scenario: Scenario, void: str) -> Iterator[Check]:
    """All that a run of *scenario* had to hold; *void* is why nothing can be said of the service, if so."""
    if void:
        yield Check("the load generator", False, "the bottleneck", "not the bottleneck", void)
    yield from _failures(run, scenario)
    yield _enough(run)
    yield _broken(run, scenario)
    yield _bytes(run)
    yield _agreed(run)
    yield _truthful(run, told=scenario.truthful)
    if run.history.has_testbed:
        yield _accounted(run)
    if scenario.shares:
        yield from _spread(run)
    if scenario.p99_at_most:
        yield _slower(run, scenario.p99_at_most)
    if scenario.no_restarts:
        yield _ended(run)


def _failures(run: Analysis, scenario: Scenario) -> Iterator[Check]:
    failed = run.failed()
    if scenario.failures == "none after the node is left":
        yield from _left(run, failed)
    elif scenario.failures == "none, or in flight" and not run.history.by_request:
        yield from _in_flight(run, failed)
    else:
        yield Check("failed requests", not failed, len(failed), "0", f"{_of(run, failed)} failed{_kinds(failed)}.")


def _of(run: Analysis, some: Sequence[RequestRecord]) -> str:
    return f"{len(some)} of {counted(len(run.requests), 'request')}"


def _kinds(failed: Sequence[RequestRecord]) -> str:
    counts = Counter(request.fault for request in failed)
    return f" ({', '.join(f'{count} {fault}' for fault, count in counts.most_common())})" if counts else ""


def _in_flight(run: Analysis, failed: Sequence[RequestRecord]) -> Iterator[Check]:
    """Nothing asks again here: what a replica had in flight when it died is lost, and nothing else."""
    faults = run.history.faults
    lost = [[request.sent for request in failed if _is_lost_to(request, fault)] for fault in faults]
    far = [request for request in failed if not any(_is_lost_to(request, fault) for fault in faults)]
    yield Check(
        "failed requests that were not in flight to a dying replica",
        not far,
        len(far),
        "0",
        f"{_of(run, failed)} failed{_kinds(failed)}; {len(far)} of these otherwise than on the way to a replica that had died "
        f"at most {_HANDS:g} s before.",
    )
    most = max(map(len, lost), default=0)
    allowed = int(_HANDS * _per_second(run) / max(1, run.history.replicas)) + 1
    gap = max((max(sent) - min(sent) for sent in lost if sent), default=0.0)
    yield Check(
        "requests lost with one replica",
        most <= allowed,
        most,
        f"at most {allowed}: what is sent to one in {_HANDS:g} s",
        f"{len(failed) - len(far)} were lost in {counted(len(faults), 'fault')}, at most {most} in one, "
        f"over at most {gap:.2f} s.",
    )


def _is_lost_to(request: RequestRecord, fault: Fault) -> bool:
    """Whether *request* failed on the way while *fault* was done, or soon after."""
    return request.fault in _ON_THE_WAY and request.done >= fault.began and request.sent <= fault.ended + _HANDS


def _per_second(run: Analysis) -> float:
    return len(run.requests) / max(1.0, run.history.seconds)


def _left(run: Analysis, failed: Sequence[RequestRecord]) -> Iterator[Check]:
    """A node that is lost takes what is sent to it until the cluster knows. Whatever reaches what is left is answered.

    That holds with an edge too: half of it stood on that node.
    """
    cut = run.history.faults[0].began if run.history.faults else 0.0
    other = [request for request in failed if request.done < cut or request.fault not in _ON_THE_WAY]
    yield Check(
        "requests that failed otherwise", not other, len(other), "0", f"{len(other)} failed before, or not on the way."
    )
    last = max((request.sent - cut for request in failed), default=0.0)
    yield Check(
        "seconds until the lost node is left",
        last <= _LEFT,
        round(last, 1),
        f"at most {_LEFT:g}",
        f"The last request that was lost there was sent {last:.1f} s after the cut; {_of(run, failed)} were{_kinds(failed)}.",
    )


def _enough(run: Analysis) -> Check:
    least = max(1, run.history.least)
    return Check(
        "requests",
        len(run.requests) >= least,
        len(run.requests),
        f"at least {least}",
        f"{counted(len(run.requests), 'request')} in {run.history.seconds:.0f} s, {_per_second(run):.0f} a second.",
    )


def _broken(run: Analysis, scenario: Scenario) -> Check:
    """A run in which nothing was broken proves nothing, and so does one that was cut short."""
    history, kills = run.history, sum(fault.kind == "kill" for fault in run.history.faults)
    done = len(history.faults) > 0 or scenario.shares
    came_back = counted(history.ended, "end") + " of a replica" if kills else counted(len(history.faults), "fault")
    return Check(
        "faults",
        done and not history.cut_short and history.ended >= kills,
        len(history.faults),
        "the scenario's, to its end",
        f"{came_back}, and the scenario {'stopped early: ' + history.cut_short if history.cut_short else 'ran to its end'}.",
    )


def _bytes(run: Analysis) -> Check:
    """That a body was compared is worth saying: what was not compared cannot have been wrong."""
    unseen = sum(request.detail == "not checked" for request in run.requests)
    compared = sum(request.status in (200, 304) for request in run.requests) - unseen
    return Check(
        "answers whose bytes were not compared",
        unseen <= compared * _UNCHECKED_SHARE and compared > 0,
        unseen,
        f"at most {_UNCHECKED_SHARE:.2%} of those that were",
        f"{compared} bodies, sent or held, were compared with what their catalogue demands.",
    )


def _accounted(run: Analysis) -> Check:
    given = len(run.history.upstream_history or ())
    return Check(
        "the upstream's account", given > 0, given, "at least 1 answer", f"The upstream accounts for {given} answers."
    )


def _agreed(run: Analysis) -> Check:
    versions = run.history.versions_at_the_end
    return Check(
        "versions at the end",
        len(versions) == 1,
        len(versions),
        "1",
        f"At the end all replicas answered from {', '.join(versions) or 'nothing'}.",
    )


def _spread(run: Analysis) -> Iterator[Check]:
    new, kept = shares(run.requests, kept_alive=False), shares(run.requests, kept_alive=True)
    missing = run.history.replicas - len(new)
    alone = run.history.replicas == 1
    p_value = (
        float(stats.chisquare([share.answers for share in new]).pvalue)
        if len(new) > 1 and not missing
        else float(alone)
    )
    yield Check(
        "spread of new connections",
        p_value >= _MIN_P_VALUE,
        f"p = {p_value:.3g}",
        f"p of at least {_MIN_P_VALUE:g} (chi-square, {len(new) - 1} degrees of freedom)",
        f"New connections: {_shown(new)}; so uneven by chance {p_value:.2%} of the time.",
    )
    least, most = (kept[-1].share, kept[0].share) if len(kept) == run.history.replicas else (0.0, 1.0)
    yield Check(
        "spread of kept-alive connections",
        least >= 0.1 and most <= 4 * least,
        round(most / least, 2) if least else "a replica got none",
        "each at least 10 %, the most at most 4 times the least",
        f"Kept-alive connections: {_shown(kept)}.",
    )


def _shown(found: Sequence[Share]) -> str:
    return ", ".join(f"{share.share:.1%} (± {(share.high - share.low) / 2:.1%})" for share in found)


def _slower(run: Analysis, times: float) -> Check:
    first = min((fault.began for fault in run.history.faults), default=run.history.seconds)
    last = max((fault.ended for fault in run.history.faults), default=run.history.seconds)
    before = _p99([request for request in run.requests if request.due > _WARM and request.done < first])
    during = _p99([request for request in run.requests if request.done >= first and request.due <= last])
    return Check(
        "p99 during the fault, as a multiple of that before",
        bool(before[1]) and during[0] <= times * before[2],
        round(during[1] / before[1], 2) if before[1] else "nothing came before",
        f"at most {times:g}, as surely as so few can tell",
        f"p99 was {before[1]:.1f} ms before the fault (95 % confident of {before[0]:.1f} to {before[2]:.1f}), {during[1]:.1f} ms "
        f"during it ({during[0]:.1f} to {during[2]:.1f}).",
    )


def _p99(requests: Sequence[RequestRecord]) -> tuple[float, float, float]:
    """p99 of their latency in milliseconds, in the middle of what it may be with 95 % confidence (by order statistics)."""
    if not requests:
        return 0.0, 0.0, 0.0
    ordered, count = sorted(request.latency * 1000 for request in requests), len(requests)
    low, high = (int(rank) for rank in stats.binom.ppf((0.025, 0.975), count, 0.99))
    return ordered[max(0, low - 1)], ordered[int(0.99 * (count - 1))], ordered[min(count - 1, high)]


def _ended(run: Analysis) -> Check:
    return Check(
        "replicas that ended",
        run.history.ended == 0,
        run.history.ended,
        "0",
        f"{counted(run.history.ended, 'replica')} ended.",
    )


def _truthful(run: Analysis, *, told: bool) -> Check:
    """The state follows from the age, and the age from when the upstream validated; its failure is *told* where it fails."""
    history, upstream_history = run.history, UpstreamHistory(run.history.upstream_history or (), run.history.sooner)
    lies = [said for said in history.observations if not _is_true(said, upstream_history, history.has_testbed)]
    stale = sum(said.state == "stale" for said in history.observations)
    spells = [(fault.began, fault.ended + 1) for fault in history.faults if fault.kind == "upstream"]
    heard = any(said.last_failure and within(said.at, spells) for said in history.observations)
    enough = len(history.observations) >= history.seconds / 10
    failure = f" The upstream's failure was {'' if heard else 'not '}told." if told else ""
    return Check(
        "replicas that said what was not so",
        not lies and enough and (heard or not told),
        len(lies),
        "0, and the failure of the upstream told" if told else "0",
        f"Asked {len(history.observations)} times, the replicas called themselves stale {stale} times; "
        f"{len(lies)} times they said what was not so.{failure}",
    )


def _is_true(said: Observation, upstream_history: UpstreamHistory, has_testbed: bool) -> bool:
    """On the testbed no replica has reason to answer from the starter catalogue; elsewhere the upstream may be out of reach."""
    if said.state == "bundled":
        return not has_testbed
    honest = not upstream_history.is_too_young(said.version, said.age, said.asked, said.at)
    return honest and said.state == ("stale" if said.age > said.max_age else "fresh")
