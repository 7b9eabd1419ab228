"""Detects that a replica has more requests than it can answer, by the delay of its queues."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from apidex.http.connection_stats import ConnectionStats


class LoopLagDetector:
    """Measures how long the iterations of the event loop take: the request that is read last in one has waited at least that
    long.

    A single long iteration means that the process was held up. There is a queue if all iterations have been longer than
    *target* seconds for ten times that, as in CoDel (RFC 8289). asyncio does not tell when an iteration begins, and
    `loop.time()` stands still during it, so a callback is scheduled: it runs in the next iteration, and until then the present
    one lasts. Once in 10 ms is often enough, and costs nothing beside thousands of requests. A *target* of 0 disables it.
    """

    _INTERVAL = 0.01

    def __init__(self, target: float, stats: ConnectionStats, *, clock: Callable[[], float] = monotonic) -> None:
        self._stats, self._clock = stats, clock
        self._target = target or float("inf")
        self._patience = 10 * self._target
        self._scheduled_at: float | None = None
        self._ran_at = self._short_at = float("-inf")

    def is_overloaded(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this iteration is too long, after a series of others that were."""
        now = self._clock()
        if self._scheduled_at is not None:
            return now - self._scheduled_at > self._target and now - self._short_at > self._patience
        if now - self._ran_at > self._INTERVAL:
            if now - self._ran_at > self._patience:
                self._short_at = now  # there was no request for that long, so no queue
            self._scheduled_at = now
            loop.call_soon(self._run, now)
        return False

    def _run(self, scheduled_at: float) -> None:
        self._scheduled_at, self._ran_at = None, self._clock()
        self._stats.loop_lag = self._ran_at - scheduled_at
        if self._stats.loop_lag <= self._target:
            self._short_at = self._ran_at


class TurnQueue:
    """Runs one waiting task in each turn of the event loop, in order. Requests that need not wait are answered in between.

    Otherwise a thousand requests that arrive together would be one turn of several seconds. The queue is overloaded, as above,
    when its first task has waited longer than *target* seconds for ten times that; 0 for no bound. For a hundred times the
    target after an overload, it is overloaded again as soon as its first task waits longer: otherwise it would fill up again
    each time, and all would wait.
    """

    def __init__(self, target: float = 0.0) -> None:
        self._target = target or float("inf")
        self._waiting: deque[tuple[Callable[[], bool], float]] = deque()
        self._is_turn_taken = False
        self._short_at = self._stood_at = float("-inf")

    def is_overloaded(self, now: float) -> bool:
        """Whether the queue is overloaded. Must be called for every request that could enter it."""
        if not self._waiting or now - self._waiting[0][1] <= self._target:
            self._short_at = now
            return False
        if now - self._short_at <= 10 * self._target and now - self._stood_at > 100 * self._target:
            return False
        self._stood_at = now
        return True

    def enter(self, run: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        """Call *run* in a later turn, after those that entered before. It returns whether it needed the turn."""
        self._waiting.append((run, loop.time()))
        self._take_turn(loop)

    async def turn(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait for the caller's turn, if others wait. May be cancelled.

        Return whether it came in time. Many requests enter before an overload is detected; late ones are shed.
        """
        if not self._is_turn_taken:
            self._take_turn(loop)
            return True
        turn, entered_at = loop.create_future(), loop.time()

        def begin() -> bool:
            if not turn.done():
                turn.set_result(None)
            return not turn.cancelled()

        self.enter(begin, loop)
        await turn
        return loop.time() - entered_at <= 10 * self._target

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_turn_taken:
            self._is_turn_taken = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_turn_taken = False
        while self._waiting:
            run, _ = self._waiting.popleft()
            if run():
                self._take_turn(loop)
                break
