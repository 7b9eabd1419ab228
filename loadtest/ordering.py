"""What is wrong with the version and the age of an answer. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Self

from loadtest.oracle import DIGEST_LENGTH, digest_of
from loadtest.record import RequestFailure, RequestRecord


@dataclass
class Newest:
    """The newest stamp that had been shown by any moment; rows may come in any order of *done*."""

    _moments: list[float] = field(default_factory=list)
    _stamps: list[int] = field(default_factory=list)

    def shown(self, stamp: int, at: float) -> None:
        """An answer with *stamp* was whole at *at*."""
        place = bisect_right(self._moments, at)
        if place and self._stamps[place - 1] >= stamp:
            return
        self._moments.insert(place, at)
        self._stamps.insert(place, stamp)
        later = place + 1
        while later < len(self._stamps) and self._stamps[later] <= stamp:
            del self._moments[later], self._stamps[later]

    def first_after(self, stamp: int) -> float:
        """When the first version newer than *stamp* was shown; infinite for none."""
        place = bisect_right(self._stamps, stamp)
        return self._moments[place] if place < len(self._moments) else inf

    def before(self, moment: float) -> int:
        """The newest that was shown before *moment*; -1 for none."""
        place = bisect_left(self._moments, moment)
        return self._stamps[place - 1] if place else -1


class VersionOrder:
    """Whether versions only ever go forward. Two answers are in order if the one was whole before the other was asked for."""

    def __init__(self) -> None:
        self._of_replica: dict[str, Newest] = defaultdict(Newest)
        self._anywhere = Newest()

    @classmethod
    def of(cls, requests: Iterable[RequestRecord]) -> Self:
        """Learn from all *requests*."""
        order = cls()
        for request in requests:
            order.note(request)
        return order

    def note(self, request: RequestRecord) -> None:
        """Learn from an answer."""
        if request.stamp >= 0:
            self._of_replica[request.replica].shown(request.stamp, request.done)
            self._anywhere.shown(request.stamp, request.done)

    def judged(self, request: RequestRecord) -> RequestRecord:
        """*request*, failed if it went back."""
        if not self.went_back(request):
            return request
        newest = self._of_replica[request.replica].before(request.sent)
        return request.failed(RequestFailure.WENT_BACK, f"{request.replica} had shown {newest}")

    def went_back(self, request: RequestRecord, skew: float = 0.0) -> bool:
        """Whether the replica had shown a newer version before this was asked, by clocks that differ by *skew* at most."""
        return 0 <= request.stamp < self._of_replica[request.replica].before(request.sent - skew)

    def is_behind(self, request: RequestRecord, allowed: float) -> bool:
        """Whether a newer version had been shown by any replica, *allowed* seconds and more before this was asked."""
        return request.stamp >= 0 and self.behind(request) > allowed

    def behind(self, request: RequestRecord) -> float:
        """The time from the first newer version of any replica to this request; negative if there was none before."""
        return request.sent - self._anywhere.first_after(request.stamp)

    def skews(self, requests: Iterable[RequestRecord]) -> list[float]:
        """For each version but the last: seconds from the first answer with a newer one to the last request that got this one."""
        latest: dict[int, float] = {}
        for request in requests:
            if request.stamp >= 0:
                latest[request.stamp] = max(latest.get(request.stamp, 0.0), self.behind(request))
        return [latest[stamp] for stamp in sorted(latest)[:-1]]


class UpstreamHistory:
    """When the upstream validated each catalogue, and so how old an answer from it must at least be.

    *given* are moments and digests. The upstream may have answered up to *sooner* seconds before each moment: an age that may
    be true is not called false.
    """

    SLACK = 1.5
    """Seconds: `Age` counts whole ones, and the upstream's moment is known to a part of one."""

    def __init__(self, given: Iterable[tuple[float, str]], sooner: float = 0.0) -> None:
        self._moments: dict[str, list[float]] = defaultdict(list)
        self._sooner = sooner
        for moment, digest in sorted(given):
            self._moments[digest[:DIGEST_LENGTH]].append(moment)

    def knows(self, version: str) -> bool:
        """Whether the upstream ever gave this catalogue."""
        return digest_of(version) in self._moments

    def is_too_young(self, version: str, age: float, asked: float, answered: float) -> bool:
        """Whether *age* is less than the time since the upstream last validated the catalogue, before the answer was whole."""
        moments = self._moments.get(digest_of(version), [])
        place = bisect_right(moments, answered + self._sooner)
        return bool(place) and age < asked - moments[place - 1] - self.SLACK
