"""A run, looked at as a whole: what is wrong with each request, who answered how much, what each fault cost. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy import stats

from loadtest.nemesis import Fault
from loadtest.ordering import UpstreamHistory, VersionOrder
from loadtest.record import RequestRecord
from loadtest.run import RunHistory

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

_BIN = 0.5
"""Seconds: who answers at all is asked for each of these."""

_REDIS_IS_AWAY = ("redis", "drain", "lose-node")
"""Faults that take Redis away, or may have it start anew elsewhere: meanwhile each replica follows the upstream by itself."""


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


@dataclass(frozen=True)
class Analysis:
    """A run whose requests were looked at once more, all together: only then is it known what was shown elsewhere, and when."""

    history: RunHistory
    requests: list[RequestRecord]
    costs: list[Cost]

    @classmethod
    def of(cls, history: RunHistory) -> "Analysis":
        """Put the faults that only the whole run shows to the requests."""
        order, upstream_history = VersionOrder(), UpstreamHistory(history.upstream_history or (), history.sooner)
        for request in history.requests:
            order.note(request)
        away = [
            (fault.began, fault.ended + 2 * history.poll + 1)
            for fault in history.faults
            if fault.kind in _REDIS_IS_AWAY
        ]

        def judged(request: RequestRecord) -> RequestRecord:
            if request.fault or request.stamp < 0:
                return request
            if history.upstream_history and not upstream_history.knows(request.version):
                return _faulty(request, "bad catalogue", f"{request.version} is none that the upstream gave")
            if upstream_history.is_too_young(request.version, request.age, request.sent, request.done):
                return _faulty(request, "false age", f"Age: {request.age} from {request.replica}")
            if order.went_back(request):
                return _faulty(request, "went back", f"{request.replica} had shown a newer one than {request.version}")
            if order.is_behind(request, 2 * history.poll + _BIN) and not within(request.sent, away):
                return _faulty(request, "behind", f"{request.version} from {request.replica}")
            return request

        requests = [judged(request) for request in history.requests]
        return cls(history, requests, list(_costs(history, requests)))

    def of_kind(self, kind: str) -> list[RequestRecord]:
        """Those of one kind."""
        return [request for request in self.requests if request.kind == kind]

    def kinds(self) -> list[str]:
        """All kinds that there were."""
        return sorted({request.kind for request in self.requests})

    def failed(self) -> list[RequestRecord]:
        """Those that failed."""
        return [request for request in self.requests if request.fault]


def _faulty(request: RequestRecord, fault: str, detail: str) -> RequestRecord:
    return msgspec.structs.replace(request, fault=fault, detail=detail)


def within(moment: float, spells: Sequence[tuple[float, float]]) -> bool:
    """Whether *moment* lies in one of *spells*."""
    return any(begin <= moment <= end for begin, end in spells)


def latencies(requests: Sequence[RequestRecord]) -> dict[str, float]:
    """Quantiles of the time from the intended start to the end, in milliseconds."""
    if not requests:
        return {}
    seconds = [request.latency for request in requests]
    values = np.quantile(seconds, list(QUANTILES.values()), method="inverted_cdf")
    return {name: round(float(value) * 1000, 2) for name, value in zip(QUANTILES, values, strict=True)}


def shares(requests: Sequence[RequestRecord], *, kept_alive: bool) -> list[Share]:
    """Who answered how much of the requests on new connections, or on kept-alive ones."""
    counts = Counter(request.replica for request in requests if request.replica and request.kept_alive == kept_alive)
    total = counts.total()
    return [_share(replica, count, total) for replica, count in counts.most_common()]


def _share(replica: str, count: int, total: int) -> Share:
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Share(replica, count, *(round(float(value), 4) for value in (count / total, interval.low, interval.high)))


def strength(requests: Sequence[RequestRecord], until: float) -> list[int]:
    """How many replicas answered in each half second of the run."""
    names: list[set[str]] = [set() for _ in range(int(until / _BIN) + 1)]
    for request in requests:
        if request.replica and not request.fault and 0 <= request.done < until:
            names[int(request.done / _BIN)].add(request.replica)
    return [len(found) for found in names]


def _costs(history: RunHistory, requests: Sequence[RequestRecord]) -> Iterator[Cost]:
    bins = strength(requests, history.seconds)
    failed = sorted(request.done for request in requests if request.fault)
    for place, fault in enumerate(history.faults):
        end = history.faults[place + 1].began if place + 1 < len(history.faults) else history.seconds
        count = bisect_left(failed, end) - bisect_left(failed, fault.began)
        yield Cost(fault.what, fault.began, fault.ended, count, _full_strength_after(bins, fault, end))


def _full_strength_after(bins: Sequence[int], fault: Fault, end: float) -> float | None:
    """Seconds from the beginning of *fault* to the last half second, before the next, in which somebody was missing.

    0 when nobody ever was, None when it lasted until the end.
    """
    first, last = int(fault.began / _BIN) + 1, min(int(end / _BIN), len(bins) - 1)
    weak = [place for place in range(first, last) if bins[place] < fault.replicas]
    if not weak:
        return 0.0
    if weak[-1] == last - 1:
        return None
    return round((weak[-1] + 1) * _BIN - fault.began, 1)
