"""From what a run saw to what a person believes: each check with its figure, its bound, a sentence, and whether it held. Pure.

A run is void when the load generator was the bottleneck: then nothing is said of the service.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy import stats

from loadtest.checks import Order, Vouched
from loadtest.nemesis import Fault
from loadtest.record import Request
from loadtest.run import Seen
from loadtest.scenarios import Scenario
from loadtest.watching import Observation

VERDICT_VERSION = 1

_LAG = 0.1
"""Seconds that a request may be sent later than it could."""
_LAG_SHARE = 0.05
_BUSY = 0.9
_BIN = 0.5
_WARM = 2.0
"""Seconds after which a run is past its start."""
_HANDS = 2.0
"""Seconds for which requests may still be sent to a replica that has died, where nothing asks again."""
_LEFT = 15.0
_UNCHECKED_SHARE = 0.0002
"""Those of a version that was gone before it could be learnt."""
_LUCK = 1e-4
"""How seldom a fair spread looks as uneven by chance as what fails the check."""


class Check(msgspec.Struct, frozen=True):
    """One thing that had to hold. *figure* is what was seen, *bound* what was allowed."""

    name: str
    passed: bool
    figure: float | int | str
    bound: str
    sentence: str


class Share(msgspec.Struct, frozen=True):
    """The part of the answers that a replica gave, with the interval in which it lies with 95 % confidence (Wilson)."""

    replica: str
    answers: int
    share: float
    low: float
    high: float


class Cost(msgspec.Struct, frozen=True):
    """What a fault cost: requests that failed until the next one, and seconds until all replicas answered again."""

    what: str
    began: float
    ended: float
    failed: int
    full_strength_after: float | None


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


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def judge(run: "Judged", scenario: Scenario) -> Verdict:
    """The verdict on a run of *scenario*."""
    seen = run.seen
    void = _void(run)
    checks = list(_checks(run, scenario, void))
    passed = all(check.passed for check in checks)
    failures = Counter(request.fault for request in run.requests if request.fault)
    return Verdict(
        verdict_version=VERDICT_VERSION,
        passed=passed,
        void=bool(void),
        summary=_summary(run, passed, void, failures),
        scenario=seen.scenario,
        target=seen.target,
        by_request=seen.by_request,
        host=seen.host,
        began=seen.began,
        command=seen.command,
        seconds=seen.seconds,
        requests=len(run.requests),
        failed=failures.total(),
        failures=dict(failures.most_common()),
        latency_ms=latencies(run.requests),
        latency_by_kind_ms={kind: latencies(run.of_kind(kind)) for kind in run.kinds()},
        checks=checks,
        faults=run.costs,
        shares={
            "new connections": shares(run.requests, kept_alive=False),
            "kept-alive connections": shares(run.requests, kept_alive=True),
        },
        generator=_generator(run),
    )


@dataclass(frozen=True)
class Judged:
    """A run whose requests were looked at once more, all together: only then is it known what was shown elsewhere, and when."""

    seen: Seen
    requests: list[Request]
    costs: list[Cost]

    @classmethod
    def of(cls, seen: Seen) -> "Judged":
        """Put the faults that only the whole run shows to the requests."""
        order, vouched = Order(), Vouched(seen.vouched or (), seen.sooner)
        for request in seen.requests:
            order.note(request)
        away = [(fault.began, fault.ended + 2 * seen.poll + 1) for fault in seen.faults if fault.kind == "redis"]

        def judged(request: Request) -> Request:
            if request.fault or request.stamp < 0:
                return request
            if seen.vouched and not vouched.knows(request.version):
                return _faulty(request, "bad catalogue", f"{request.version} is none that the upstream gave")
            if vouched.is_too_young(request.version, request.age, request.sent, request.done):
                return _faulty(request, "false age", f"Age: {request.age} from {request.replica}")
            if order.went_back(request):
                return _faulty(request, "went back", f"{request.replica} had shown a newer one than {request.version}")
            if order.is_behind(request, 2 * seen.poll + _BIN) and not _within(request.sent, away):
                return _faulty(request, "behind", f"{request.version} from {request.replica}")
            return request

        requests = [judged(request) for request in seen.requests]
        return cls(seen, requests, list(_costs(seen, requests)))

    def of_kind(self, kind: str) -> list[Request]:
        """Those of one kind."""
        return [request for request in self.requests if request.kind == kind]

    def kinds(self) -> list[str]:
        """All kinds that there were."""
        return sorted({request.kind for request in self.requests})

    def failed(self) -> list[Request]:
        """Those that failed."""
        return [request for request in self.requests if request.fault]


def _faulty(request: Request, fault: str, detail: str) -> Request:
    return msgspec.structs.replace(request, fault=fault, detail=detail)


def _within(moment: float, spells: Sequence[tuple[float, float]]) -> bool:
    return any(begin <= moment <= end for begin, end in spells)


def latencies(requests: Sequence[Request]) -> dict[str, float]:
    """Quantiles of the time from the intended start to the end, in milliseconds."""
    if not requests:
        return {}
    seconds = [request.latency for request in requests]
    values = np.quantile(seconds, list(QUANTILES.values()), method="inverted_cdf")
    return {name: round(float(value) * 1000, 2) for name, value in zip(QUANTILES, values, strict=True)}


def shares(requests: Sequence[Request], *, kept_alive: bool) -> list[Share]:
    """Who answered how much of the requests on new connections, or on kept-alive ones."""
    counts = Counter(request.replica for request in requests if request.replica and request.kept_alive == kept_alive)
    total = counts.total()
    return [_share(replica, count, total) for replica, count in counts.most_common()]


def _share(replica: str, count: int, total: int) -> Share:
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Share(replica, count, *(round(float(value), 4) for value in (count / total, interval.low, interval.high)))


def strength(requests: Sequence[Request], until: float) -> list[int]:
    """How many replicas answered in each half second of the run."""
    names: list[set[str]] = [set() for _ in range(int(until / _BIN) + 1)]
    for request in requests:
        if request.replica and not request.fault and 0 <= request.done < until:
            names[int(request.done / _BIN)].add(request.replica)
    return [len(found) for found in names]


def _costs(seen: Seen, requests: Sequence[Request]) -> Iterator[Cost]:
    bins = strength(requests, seen.seconds)
    failed = sorted(request.done for request in requests if request.fault)
    for place, fault in enumerate(seen.faults):
        end = seen.faults[place + 1].began if place + 1 < len(seen.faults) else seen.seconds
        count = bisect_left(failed, end) - bisect_left(failed, fault.began)
        yield Cost(fault.what, fault.began, fault.ended, count, _full_strength_after(bins, fault, end, seen.replicas))


def _full_strength_after(bins: Sequence[int], fault: Fault, end: float, replicas: int) -> float | None:
    """Seconds from the beginning of *fault* to the last half second, before the next, in which somebody was missing.

    0 when nobody ever was, None when it lasted until the end.
    """
    first, last = int(fault.began / _BIN) + 1, min(int(end / _BIN), len(bins) - 1)
    weak = [place for place in range(first, last) if bins[place] < replicas]
    if not weak:
        return 0.0
    if weak[-1] == last - 1:
        return None
    return round((weak[-1] + 1) * _BIN - fault.began, 1)


def _checks(run: Judged, scenario: Scenario, void: str) -> Iterator[Check]:
    if void:
        yield Check("the load generator", False, "the bottleneck", "not the bottleneck", void)
    yield from _failures(run, scenario)
    yield _enough(run)
    yield _broken(run, scenario)
    yield _bytes(run)
    yield _agreed(run)
    yield _truthful(run, told=scenario.truthful)
    if run.seen.staged:
        yield _accounted(run)
    if scenario.shares:
        yield from _spread(run)
    if scenario.p99_at_most:
        yield _slower(run, scenario.p99_at_most)
    if scenario.no_restarts:
        yield _ended(run)


def _failures(run: Judged, scenario: Scenario) -> Iterator[Check]:
    failed = run.failed()
    if scenario.failures == "none after the node is left":
        yield from _left(run, failed)
    elif scenario.failures == "none, or in hand" and not run.seen.by_request:
        yield from _in_hand(run, failed)
    else:
        yield Check("failed requests", not failed, len(failed), "0", f"{_of(run, failed)} failed{_kinds(failed)}.")


def _of(run: Judged, some: Sequence[Request]) -> str:
    return f"{len(some)} of {len(run.requests)} requests"


def _kinds(failed: Sequence[Request]) -> str:
    counts = Counter(request.fault for request in failed)
    return f" ({', '.join(f'{count} {fault}' for fault, count in counts.most_common())})" if counts else ""


_ON_THE_WAY = {"refused", "reset", "closed unanswered", "torn", "late", "unreachable", "transport"}


def _in_hand(run: Judged, failed: Sequence[Request]) -> Iterator[Check]:
    """Nothing asks again here: what a replica had in hand when it died is lost, and nothing else."""
    faults = run.seen.faults
    lost = [[request.sent for request in failed if _is_lost_to(request, fault)] for fault in faults]
    far = [request for request in failed if not any(_is_lost_to(request, fault) for fault in faults)]
    yield Check(
        "failed requests that no dying replica had in hand",
        not far,
        len(far),
        "0",
        f"{_of(run, failed)} failed{_kinds(failed)}; {len(far)} of these otherwise than on the way to a replica that had died "
        f"at most {_HANDS:g} s before.",
    )
    most = max(map(len, lost), default=0)
    allowed = int(_HANDS * _per_second(run) / max(1, run.seen.replicas)) + 1
    gap = max((max(sent) - min(sent) for sent in lost if sent), default=0.0)
    yield Check(
        "requests lost with one replica",
        most <= allowed,
        most,
        f"at most {allowed}: what is sent to one in {_HANDS:g} s",
        f"{len(failed) - len(far)} were lost in {len(faults)} faults, at most {most} in one, over at most {gap:.2f} s.",
    )


def _is_lost_to(request: Request, fault: Fault) -> bool:
    """Whether *request* failed on the way while *fault* was done, or soon after."""
    return request.fault in _ON_THE_WAY and request.done >= fault.began and request.sent <= fault.ended + _HANDS


def _per_second(run: Judged) -> float:
    return len(run.requests) / max(1.0, run.seen.seconds)


def _left(run: Judged, failed: Sequence[Request]) -> Iterator[Check]:
    """A node that is lost takes what is sent to it until the cluster knows; with something that asks again, nothing."""
    if run.seen.by_request:
        yield Check("failed requests", not failed, len(failed), "0", f"{_of(run, failed)} failed{_kinds(failed)}.")
        return
    cut = run.seen.faults[0].began if run.seen.faults else 0.0
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


def _enough(run: Judged) -> Check:
    least = max(1, run.seen.least)
    return Check(
        "requests",
        len(run.requests) >= least,
        len(run.requests),
        f"at least {least}",
        f"{len(run.requests)} requests in {run.seen.seconds:.0f} s, {_per_second(run):.0f} a second.",
    )


def _broken(run: Judged, scenario: Scenario) -> Check:
    """A run in which nothing was broken proves nothing, and so does one that was cut short."""
    seen, kills = run.seen, sum(fault.kind == "kill" for fault in run.seen.faults)
    done = len(seen.faults) > 0 or scenario.shares
    came_back = f"{seen.ended} replicas ended" if kills else f"{len(seen.faults)} faults"
    return Check(
        "faults",
        done and not seen.cut_short and seen.ended >= kills,
        len(seen.faults),
        "the scenario's, to its end",
        f"{came_back}, and the scenario {'was cut short: ' + seen.cut_short if seen.cut_short else 'was played to its end'}.",
    )


def _bytes(run: Judged) -> Check:
    """That a body was compared is worth saying: what was not seen cannot have been wrong."""
    unseen = sum(request.detail == "not checked" for request in run.requests)
    compared = sum(request.status in (200, 304) for request in run.requests) - unseen
    return Check(
        "answers whose bytes were not compared",
        unseen <= compared * _UNCHECKED_SHARE and compared > 0,
        unseen,
        f"at most {_UNCHECKED_SHARE:.2%} of those that were",
        f"{compared} bodies, sent or held, were compared with what their catalogue demands.",
    )


def _accounted(run: Judged) -> Check:
    given = len(run.seen.vouched or ())
    return Check(
        "the upstream's account", given > 0, given, "at least 1 answer", f"The upstream accounts for {given} answers."
    )


def _agreed(run: Judged) -> Check:
    versions = run.seen.versions_at_the_end
    return Check(
        "versions at the end",
        len(versions) == 1,
        len(versions),
        "1",
        f"At the end all replicas answered from {', '.join(versions) or 'nothing'}.",
    )


def _spread(run: Judged) -> Iterator[Check]:
    new, kept = shares(run.requests, kept_alive=False), shares(run.requests, kept_alive=True)
    missing = run.seen.replicas - len(new)
    alone = run.seen.replicas == 1
    luck = (
        float(stats.chisquare([share.answers for share in new]).pvalue)
        if len(new) > 1 and not missing
        else float(alone)
    )
    yield Check(
        "spread of new connections",
        luck >= _LUCK,
        f"p = {luck:.3g}",
        f"p of at least {_LUCK:g} (chi-square, {len(new) - 1} degrees of freedom)",
        f"New connections: {_shown(new)}; so uneven by chance {luck:.2%} of the time.",
    )
    least, most = (kept[-1].share, kept[0].share) if len(kept) == run.seen.replicas else (0.0, 1.0)
    yield Check(
        "spread of kept-alive connections",
        least >= 0.1 and most <= 4 * least,
        round(most / least, 2) if least else "a replica got none",
        "each at least 10 %, the most at most 4 times the least",
        f"Kept-alive connections: {_shown(kept)}.",
    )


def _shown(found: Sequence[Share]) -> str:
    return ", ".join(f"{share.share:.1%} (± {(share.high - share.low) / 2:.1%})" for share in found)


def _slower(run: Judged, times: float) -> Check:
    first = min((fault.began for fault in run.seen.faults), default=run.seen.seconds)
    last = max((fault.ended for fault in run.seen.faults), default=run.seen.seconds)
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


def _p99(requests: Sequence[Request]) -> tuple[float, float, float]:
    """p99 of their latency in milliseconds, in the middle of what it may be with 95 % confidence (by order statistics)."""
    if not requests:
        return 0.0, 0.0, 0.0
    ordered, count = sorted(request.latency * 1000 for request in requests), len(requests)
    low, high = (int(rank) for rank in stats.binom.ppf((0.025, 0.975), count, 0.99))
    return ordered[max(0, low - 1)], ordered[int(0.99 * (count - 1))], ordered[min(count - 1, high)]


def _ended(run: Judged) -> Check:
    return Check("replicas that ended", run.seen.ended == 0, run.seen.ended, "0", f"{run.seen.ended} replicas ended.")


def _truthful(run: Judged, *, told: bool) -> Check:
    """The state follows from the age, and the age from when the upstream vouched; its failure is *told* where it fails."""
    seen, vouched = run.seen, Vouched(run.seen.vouched or (), run.seen.sooner)
    lies = [said for said in seen.observations if not _is_true(said, vouched, seen.staged)]
    stale = sum(said.state == "stale" for said in seen.observations)
    spells = [(fault.began, fault.ended + 1) for fault in seen.faults if fault.kind == "upstream"]
    heard = any(said.last_failure and _within(said.at, spells) for said in seen.observations)
    enough = len(seen.observations) >= seen.seconds / 10
    failure = f" The upstream's failure was {'' if heard else 'not '}told." if told else ""
    return Check(
        "replicas that said what was not so",
        not lies and enough and (heard or not told),
        len(lies),
        "0, and the failure of the upstream told" if told else "0",
        f"Asked {len(seen.observations)} times, the replicas called themselves stale {stale} times; "
        f"{len(lies)} times they said what was not so.{failure}",
    )


def _is_true(said: Observation, vouched: Vouched, staged: bool) -> bool:
    """On a stage nobody has reason to answer from the starter catalogue; elsewhere the upstream may be out of reach."""
    if said.state == "bundled":
        return not staged
    honest = not vouched.is_too_young(said.version, said.age, said.asked, said.at)
    return honest and said.state == ("stale" if said.age > said.max_age else "fresh")


def _void(run: Judged) -> str:
    """Why nothing can be said of the service, if so."""
    figures = _generator(run)
    if figures["busy"] > _BUSY * max(1, run.seen.generator.processes):
        busy = f"{figures['busy']:.0%}"
        return f"Locust ran or waited to run {busy} of the time: it was the bottleneck, and the run says nothing of the service."
    if figures["sent_late_share"] > _LAG_SHARE:
        return (
            f"{figures['sent_late_share']:.1%} of the requests were sent more than {_LAG * 1000:.0f} ms after they were due, "
            "with nothing in their way: Locust or its machine was the bottleneck, and the run says nothing of the service."
        )
    return ""


def _generator(run: Judged) -> dict[str, float]:
    """What the load generator did, and what it could do: its limit, in requests a second, is a core's worth of its own CPU."""
    generator, count = run.seen.generator, len(run.requests)
    late = sum(request.lag > _LAG for request in run.requests)
    per_request = generator.cpu / count if count else 0.0
    return {
        "cpu_ms_per_request": round(per_request * 1000, 3),
        "limit_per_second": round(1 / per_request) * generator.processes if per_request else 0,
        "busy": round((generator.cpu + generator.waited) / generator.seconds, 3) if generator.seconds else 0.0,
        "sent_late_share": round(late / count, 4) if count else 0.0,
    }


def _summary(run: Judged, passed: bool, void: str, failures: "Counter[str]") -> str:
    """Three facts: what was broken, what failed, how long it took."""
    if void:
        return f"Void: {void}"
    faults = Counter(fault.kind for fault in run.seen.faults)
    broken = ", ".join(f"{count} × {kind}" for kind, count in faults.most_common()) or "nothing"
    back = [cost.full_strength_after for cost in run.costs]
    whole = max((seconds for seconds in back if seconds is not None), default=0.0)
    until = f" Full strength after {whole:.1f} s at most." if whole else ""
    never = " It was not always at full strength again before the next." if None in back else ""
    return (
        f"{'Passed' if passed else 'Failed'}. Broken: {broken}. Failed: {failures.total()} of {len(run.requests)} requests."
        f"{until}{never}"
    )
