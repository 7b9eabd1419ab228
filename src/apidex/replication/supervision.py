"""Continues the refresh task after any exception, and detects when it has stopped or was held up. Does no I/O."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from math import inf
from random import Random

from apidex.event_loop import is_cancelled
from apidex.replication.clock import Clock
from apidex.replication.freshness import MARGIN
from apidex.replication.status import broken

_STALLED_AFTER = 600.0
_STALLED_AFTER_POLLS = 20
"""Seconds and polls without a turn after which the refresh task counts as stalled: the longer of the two, up to twice that."""

_LONGEST_PAUSE = 60.0
"""Seconds. A poll that is later than that was not held up: the refresh task has stopped, which `is_stalled` detects."""


class Supervision:
    """Watches the turns of one replica, which polls every *poll*."""

    def __init__(self, poll: timedelta, clock: Clock, random: Random) -> None:
        self._poll, self._clock = poll.total_seconds(), clock
        self._last_turn, self._next_poll, self._was_late = clock.steady(), inf, False
        # random, so that replicas that stall at the same moment are not restarted at the same moment
        self._stalled_after = max(_STALLED_AFTER, _STALLED_AFTER_POLLS * self._poll) * (1 + random.random())

    def heartbeat(self) -> None:
        """Record that the refresh task runs: called as each poll begins, and as a fetch ends."""
        self._was_late, self._next_poll = self.is_behind(), inf
        self._last_turn = self._clock.steady()

    def since_last_turn(self) -> float:
        """Return the seconds since the refresh task last showed that it runs."""
        return self._clock.steady() - self._last_turn

    def is_stalled(self) -> bool:
        """Return whether the refresh task has not run for so long that only a restart of this process helps.

        Neither Redis nor the upstream can cause it: each wait for them has a limit.
        """
        return self.since_last_turn() > self._stalled_after

    def poll_scheduled(self, seconds: float) -> None:
        """Record that the next poll follows in *seconds*."""
        self._next_poll = self._clock.steady() + seconds

    def poll_ended(self) -> None:
        """Record the end of a poll, successful or not."""
        self._was_late = False

    def is_behind(self) -> bool:
        """Return whether this process was held up, as by a pause, for longer than an activation allows, and has not polled since.

        The others may answer from a newer catalogue. A poll ends soon after the process runs again, whether or not Redis answers.
        One that began in time may take long: a replica that loads a large catalogue is not behind. A defect that stops the
        refresh tasks of all replicas must not make all of them unready for good.
        """
        return self._was_late or MARGIN.total_seconds() < self._clock.steady() - self._next_poll < _LONGEST_PAUSE

    async def run(self, turn: Callable[[], Awaitable[object]], pause: Callable[[], float]) -> None:
        """Take turns until cancelled, even if a turn raises, with a *pause* in seconds after each."""
        while not is_cancelled():
            seconds = self._poll
            try:
                await turn()
                seconds = pause()
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
            except Exception as error:  # the handling of a failure failed
                with contextlib.suppress(Exception):
                    broken(error)
            await asyncio.sleep(seconds)
