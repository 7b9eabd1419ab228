"""When an event loop of the load test itself stood still: what it delayed meanwhile says nothing of the service. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from operator import itemgetter

BEAT = 0.05
"""Seconds between two beats of a loop."""

_LEAST = 0.25
"""Seconds by which a beat must be late to count as a stall."""

Stall = tuple[float, float]
"""When a loop was alive for the last time, and when again."""


class StallLog:
    """The stalls of one loop, which calls `beat` every `BEAT` seconds. Moments are seconds on one steady clock."""

    def __init__(self, now: float) -> None:
        self.stalls, self._last = list[Stall](), now

    def beat(self, now: float) -> None:
        """Record that the loop is alive."""
        if now - self._last > BEAT + _LEAST:
            self.stalls.append((self._last, now))
        self._last = now

    def longest(self, since: float, now: float) -> float:
        """As the function below, with the stall that ends *now*, which no beat has recorded yet."""
        current = [(self._last, now)] if now - self._last > BEAT + _LEAST else []
        return longest(self.stalls + current, since, now)


def delay(new: float, earlier: float, behind: float) -> float:
    """Seconds by which the load generator delays a request: by a *new* delay, or by the rest of an *earlier* one.

    The request is sent *behind* its schedule by so much. If the earlier delay is less than half of that, its user waits for the
    service.
    """
    return max(new, min(earlier, behind) if 2 * earlier >= behind else 0.0)


def longest(stalls: Sequence[Stall], since: float, until: float) -> float:
    """Seconds of the longest of *stalls*, which are in order, that overlaps the time from *since* to *until*; 0 if none does."""
    first = bisect_left(stalls, since, key=itemgetter(1))
    last = bisect_left(stalls, until, key=itemgetter(0))
    return max((end - begin for begin, end in stalls[first:last]), default=0.0)
