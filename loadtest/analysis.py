"""A run as a whole: what is wrong with each request, who answered how much, what each fault cost. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from operator import attrgetter

import msgspec

from loadtest.faults.fault import Fault
from loadtest.history import RunFacts, RunHistory
from loadtest.ordering import UpstreamHistory, VersionOrder
from loadtest.record import RequestFailure, RequestRecord
from loadtest.stalls import Stall, longest

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

_BIN = 0.5
"""Seconds: which replicas answered is counted for each of these; one without an answer in two in a row is missing."""

_AT_LEAST = 1.0
"""The shortest duration of a fault, in seconds: a fault that ends sooner counts as this long."""


class Share(msgspec.Struct, frozen=True):
    """The part of the answers that a replica gave, with its 95 % confidence interval (Wilson)."""

    replica: str
    answers: int
    share: float
    low: float
    high: float


class FaultCost(msgspec.Struct, frozen=True):
    """What a fault cost: requests that failed until the next one, seconds until all replicas answered again, and latency.

    Faults that were injected to overlap are one.

    *full_strength_after* is counted from the beginning to the first answer of the replica that was missing last: 0 if none was
    missing for a second, None if one was missing until the next fault or the end. The p99s are in milliseconds, before
    the fault, in it (until it ended and all replicas answered again, for a second at least) and after it, until the next; None if
    no request was due.
    """

    kind: str
    what: str
    began: float
    ended: float
    failed: int
    full_strength_after: float | None
    p99_before: float | None
    p99_in: float | None
    p99_after: float | None


@dataclass(frozen=True)
class Analysis:
    """A run whose *requests* carry also those failures that only the whole run shows: what other replicas gave, and when."""

    history: RunHistory
    requests: list[RequestRecord]
    costs: list[FaultCost]

    @classmethod
    def of(cls, history: RunHistory) -> "Analysis":
        """Analyse *history*."""
        judge = _Judge(history)
        requests = [judge.judged(_delayed(request, history.stalls)) for request in history.requests]
        return cls(history, requests, list(_costs(history, requests)))

    @property
    def facts(self) -> RunFacts:
        """What was run."""
        return self.history.facts

    @cached_property
    def failed(self) -> list[RequestRecord]:
        """The requests that failed."""
        return [request for request in self.requests if request.failure]

    @cached_property
    def failures(self) -> "Counter[RequestFailure]":
        """How many failed in which way."""
        return Counter(request.failure for request in self.failed)

    @property
    def without_polls(self) -> list[tuple[float, float]]:
        """The times in which a replica could not poll Redis, until all agreed again."""
        return _intervals(self.history, lambda fault: fault.interrupts_redis or fault.pauses)

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.requests) / max(1.0, self.facts.seconds)


def _delayed(request: RequestRecord, stalls: Sequence[Stall]) -> RequestRecord:
    """*request*, with the delay by the balancer's *stalls* too."""
    stall = longest(stalls, request.sent, request.done)
    return msgspec.structs.replace(request, lag=stall) if stall > request.lag else request


class _Judge:
    def __init__(self, history: RunHistory) -> None:
        self._log = history.upstream_log
        self._order = VersionOrder.of(history.requests)
        self._skew = 2 * history.generator.skew  # one worker's clock may be late, and another's early
        self._upstream = UpstreamHistory(history.upstream_log or (), history.sooner)
        two_polls = 2 * history.facts.poll
        self._behind_after = two_polls + _BIN
        self._without_redis = _intervals(history, lambda fault: fault.interrupts_redis)

    def judged(self, request: RequestRecord) -> RequestRecord:
        """*request*, failed if it is wrong."""
        if request.failure or request.stamp < 0:
            return request
        if self._log and not self._upstream.knows(request.version):
            return request.failed(RequestFailure.BAD_CATALOGUE, f"{request.version} is not from the upstream")
        if self._upstream.is_too_young(request.version, request.age, request.sent, request.done):
            return request.failed(RequestFailure.FALSE_AGE, f"Age: {request.age} from {request.replica}")
        if self._order.went_back(request, self._skew):
            return request.failed(
                RequestFailure.WENT_BACK, f"{request.replica} had shown a newer one than {request.version}"
            )
        if self._order.is_behind(request, self._behind_after) and not is_within(request.sent, self._without_redis):
            return request.failed(RequestFailure.BEHIND, f"{request.version} from {request.replica}")
        return request


def _intervals(history: RunHistory, affects: Callable[[Fault], bool]) -> list[tuple[float, float]]:
    """From the injection of a fault that *affects* something until the replicas agree again: two polls and a lead later."""
    after = 3 * history.facts.poll + 2
    return [(each.began, each.ended + after) for each in history.faults if affects(each.fault)]


def slowest_recovery(costs: Sequence[FaultCost]) -> float | None:
    """`full_strength_after` of the worst of *costs*."""
    after = [cost.full_strength_after for cost in costs]
    return None if None in after else max((seconds or 0.0 for seconds in after), default=0.0)


def recovery(costs: Sequence[FaultCost]) -> str:
    """When all replicas answered again, after the worst of *costs*: the words for a sentence and for tables."""
    slowest = slowest_recovery(costs)
    if slowest is None:
        return "not before the next fault or the end"
    return f"after {slowest:.1f} s" if slowest else "within a second"


def is_within(moment: float, intervals: Sequence[tuple[float, float]]) -> bool:
    """Whether *moment* lies in one of *intervals*."""
    return any(begin <= moment <= end for begin, end in intervals)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The `QUANTILES` of *values*, each one of them; empty for none."""
    ordered = sorted(values)
    return {name: ordered[ceil(part * len(ordered)) - 1] for name, part in QUANTILES.items()} if ordered else {}


def latencies(requests: Sequence[RequestRecord]) -> dict[str, float]:
    """Quantiles of the time from the intended start to the end, in milliseconds."""
    return {name: round(value * 1000, 2) for name, value in quantiles([each.latency for each in requests]).items()}


def latencies_by_kind(requests: Sequence[RequestRecord]) -> dict[str, dict[str, float]]:
    """The same for each kind of request."""
    kinds = sorted({request.kind for request in requests})
    return {kind: latencies([request for request in requests if request.kind == kind]) for kind in kinds}


def shares(requests: Sequence[RequestRecord], *, kept_alive: bool) -> list[Share]:
    """Who answered how much of the requests on new connections, or on kept-alive ones."""
    counts = Counter(request.replica for request in requests if request.replica and request.kept_alive == kept_alive)
    return [_share(replica, count, counts.total()) for replica, count in counts.most_common()]


def _share(replica: str, count: int, total: int) -> Share:
    from scipy import stats  # takes a second: only where a verdict is reached

    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Share(replica, count, *(round(float(value), 4) for value in (count / total, interval.low, interval.high)))


def _costs(history: RunHistory, requests: Sequence[RequestRecord]) -> Iterator[FaultCost]:
    answers = sorted((each.done, each.replica) for each in requests if each.replica and not each.failure)
    failed = sorted(request.done for request in requests if request.failure)
    by_due = sorted(requests, key=attrgetter("due"))
    rounds = history.rounds
    ends = [*(each[0].began for each in rounds[1:]), history.facts.seconds]
    recovered = 0.0
    for faults, end in zip(rounds, ends, strict=False):
        began, ended = faults[0].began, max(each.ended for each in faults)
        count = bisect_left(failed, end) - bisect_left(failed, began)
        after = _full_strength_after(answers, began, end, faults[-1].replicas)
        over = end if after is None else min(end, max(ended, began + max(after, _AT_LEAST)))
        p99s = [_p99(by_due, *span) for span in ((recovered, began), (began, over), (over, end))]
        kind = " and ".join(each.fault.kind for each in faults)
        yield FaultCost(kind, " and ".join(str(each.fault) for each in faults), began, ended, count, after, *p99s)
        recovered = over


def _p99(by_due: Sequence[RequestRecord], begin: float, end: float) -> float | None:
    """The p99 of the requests that were due from *begin* to *end*, in milliseconds."""
    first, last = (bisect_left(by_due, moment, key=attrgetter("due")) for moment in (begin, end))
    some = by_due[first:last]
    return latencies(some)["p99"] if some else None


def _full_strength_after(answers: Sequence[tuple[float, str]], began: float, end: float, replicas: int) -> float | None:
    """Seconds from the beginning of a fault to the first answer of the replica that was missing last, before the next fault.

    One is missing if it gave none of the *answers*, which are moments with names in order, for two half seconds in a row: one
    alone is chance where requests are few. 0 when none ever was, None when one was until the end.
    """
    bins: list[dict[str, float]] = [{} for _ in range(int((end - began) / _BIN) + 1)]
    for moment, name in answers[bisect_left(answers, (began,)) : bisect_left(answers, (end,))]:
        bins[int((moment - began) / _BIN)].setdefault(name, moment)
    seconds = [one | two for one, two in pairwise(bins[:-1])]
    weak = [place for place, seen in enumerate(seconds) if len(seen) < replicas]
    if not weak:
        return 0.0
    if weak[-1] == len(seconds) - 1:
        return None
    before, after = seconds[weak[-1]], bins[weak[-1] + 2]
    returned = sorted(moment for name, moment in after.items() if name not in before)
    return round(returned[replicas - len(before) - 1] - began, 1)
