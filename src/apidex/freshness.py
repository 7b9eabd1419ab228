"""How old is too old, what to say of it, and when to ask again. Pure: ages come in, decisions go out.

The words are those of RFC 9111 (fresh, stale, age, max-age) and RFC 5861 (stale-while-revalidate, stale-if-error).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class State(StrEnum):
    """What a catalogue is, by its age and origin."""

    FRESH = "fresh"
    STALE = "stale"
    BUNDLED = "bundled"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an answer may be used: as fresh, and for how much longer as stale."""

    max_age: timedelta
    stale_while_revalidate: timedelta
    stale_if_error: timedelta

    def state(self, age: float, *, bundled: bool) -> State:
        """What a catalogue of *age* seconds is. The starter catalogue is neither fresh nor stale, but bundled."""
        if bundled:
            return State.BUNDLED
        return State.FRESH if age <= self.max_age.total_seconds() else State.STALE

    def cache_control(self, *, bundled: bool) -> str:
        """The Cache-Control of an answer. One from the starter catalogue is to be asked for anew each time."""
        if bundled:
            return "no-cache"
        seconds = [
            int(limit.total_seconds()) for limit in (self.max_age, self.stale_while_revalidate, self.stale_if_error)
        ]
        return "public, max-age={}, stale-while-revalidate={}, stale-if-error={}".format(*seconds)

    def cache_status(self, age: float, *, bundled: bool) -> str:
        """The Cache-Status of an answer (RFC 9211): always a hit, with the seconds that it stays fresh, or is stale already."""
        if bundled:
            return "apidex; hit; detail=bundled"
        return f"apidex; hit; ttl={int(self.max_age.total_seconds()) - int(age)}"


FIRST_RETRY = timedelta(seconds=2)


def retry_in(failures: int, max_age: timedelta, jitter: float, retry_after: float | None = None) -> timedelta:
    """How long to wait after the *failures*-th failure in a row: twice as long each time, up to *max_age*.

    *jitter* in [0, 1) spreads the replicas over the upper half of that. An upstream's own Retry-After, in seconds, is kept
    if it is longer, up to a day.
    """
    longest = max(max_age, FIRST_RETRY)
    doubled: int = 2 ** min(failures - 1, 30)
    wait = min(longest, FIRST_RETRY * doubled) * (0.5 + jitter / 2)
    asked = timedelta(seconds=min(retry_after or 0, 86_400))
    return max(wait, asked)


def due_in(age: float, max_age: timedelta, jitter: float) -> timedelta:
    """How long to wait until a catalogue of *age* seconds is to be refreshed: its last tenth is spread by *jitter* in [0, 1)."""
    return timedelta(seconds=max(0.0, max_age.total_seconds() * (1 - jitter / 10) - age))
