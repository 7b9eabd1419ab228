"""The two clocks that are passed to other code: a steady one to measure ages, and the wall clock for display and stamps."""

import time
from datetime import UTC, datetime


class Clock:
    """What ages and stamps are measured with: this machine's clocks. Tests pass one that they move themselves."""

    def steady(self) -> float:
        """Seconds from an arbitrary moment. Never goes back, even if the wall clock is set."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, as this machine believes."""
        return time.time()


def iso(wall: float) -> str:
    """RFC 3339 in UTC, to the millisecond: `2026-11-23T05:24:07.120Z`."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
