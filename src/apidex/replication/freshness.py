"""When a catalogue is stale, the headers for it, and when to fetch again. Pure: ages come in, decisions go out.

The words are those of RFC 9111 (fresh, stale, age, max-age) and RFC 5861 (stale-while-revalidate, stale-if-error).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MARGIN = timedelta(seconds=1)
"""Time for what is not measured: answers of Redis, the transfer of a payload, a busy machine."""

LONGEST_LEAD = timedelta(minutes=10)
"""The longest time from a publication to its activation. No replica writes a later moment."""


class State(StrEnum):
    """What a catalogue is, by its age and origin."""

    FRESH = "fresh"
    STALE = "stale"
    BUNDLED = "bundled"


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """How old a catalogue may get before it is refreshed, and how long stale answers may be used.

    *refresh* is the age at which a replica asks the upstream, *poll* how often it reads Redis. The maximum age includes this time
    and the wait for activation: at an interval of an hour, a catalogue of 3,604 seconds is still fresh.
    """

    refresh: timedelta
    poll: timedelta
    stale_while_revalidate: timedelta
    stale_if_error: timedelta

    @property
    def max_age(self) -> timedelta:
        """How old a catalogue is called fresh."""
        return self.refresh * 1.1 + self.poll * 2 + self.lead(0)

    def lead(self, build_seconds: float) -> timedelta:
        """Return the time from the publication of a catalogue to its activation.

        It is enough for a poll, and for a build that takes twice as long as the publisher's.
        """
        return min(self.poll + timedelta(seconds=2 * build_seconds) + MARGIN, LONGEST_LEAD)

    def state(self, age: float, *, bundled: bool) -> State:
        """What a catalogue of *age* seconds is. The starter catalogue is neither fresh nor stale, but bundled."""
        if bundled:
            return State.BUNDLED
        return State.FRESH if age <= self.max_age.total_seconds() else State.STALE

    def cache_control(self, *, bundled: bool) -> str:
        """The Cache-Control of an answer. One from the starter catalogue must be revalidated each time."""
        if bundled:
            return "no-cache"
        seconds = [
            int(limit.total_seconds()) for limit in (self.max_age, self.stale_while_revalidate, self.stale_if_error)
        ]
        return "public, max-age={}, stale-while-revalidate={}, stale-if-error={}".format(*seconds)

    def cache_status(self, age: float, *, bundled: bool, shared: bool) -> str:
        """The Cache-Status of an answer (RFC 9211), the cache nearest to the upstream first.

        Always a hit, with the seconds that it stays fresh; less than 0 if it is stale. Redis is listed as long as the catalogue
        is *shared*.
        """
        if bundled:
            return "apidex; hit; detail=bundled"
        own = f"apidex; hit; ttl={int(self.max_age.total_seconds()) - int(age)}"
        return f"redis; {own.partition('; ')[2]}, {own}" if shared else own


FIRST_RETRY = timedelta(seconds=2)

LONGEST_BACK_OFF = timedelta(days=1)
"""The longest wait that an upstream can ask for, and the longest one in Redis that is believed."""


def backoff_delay(failures: int, refresh: timedelta, jitter: float, retry_after: float | None = None) -> timedelta:
    """Return how long to wait after the *failures*-th failure in a row: twice as long each time, up to *refresh*.

    *jitter* in [0, 1) spreads the replicas over the upper half of that. A longer *retry_after*, in seconds, counts, up to a day.
    """
    longest = max(refresh, FIRST_RETRY)
    doubled: int = 2 ** min(failures - 1, 30)
    wait = min(longest, FIRST_RETRY * doubled) * (0.5 + jitter / 2)
    asked = timedelta(seconds=min(retry_after or 0, LONGEST_BACK_OFF.total_seconds()))
    return max(wait, asked)


def standalone_delay(
    refresh: timedelta, jitter: float, failures: int, retry_after: float | None = None, *, provisional: bool
) -> timedelta:
    """Return how long a replica that cannot reach Redis waits between requests to the upstream, after *failures* in a row.

    It is *refresh*, plus up to a tenth by *jitter* in [0, 1), so that not all replicas ask at the same time; shorter, as in
    `backoff_delay`, while the catalogue is *provisional*.
    """
    backoff, interval = backoff_delay(max(failures, 1), refresh, jitter, retry_after), refresh * (1 + jitter / 10)
    if provisional:
        return backoff
    return max(interval, backoff) if failures else interval
