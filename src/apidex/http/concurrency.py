"""How requests share one event loop: long work runs in slices or in a thread, and equal requests share one result.

`TimeSlices` is for work in Python, which is written as a generator; `WorkerThread` for calls that release the interpreter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, TypeVar, cast

T = TypeVar("T")

SLICE_SECONDS = 0.001

SLICE_BYTES = 2**16
"""The bytes after which a slice ends: a replica holds no more for a client that does not read."""


class TimeSlices:
    """Runs generators slice by slice.

    Each turn of the event loop runs one slice, for all generators together: first come, first served. Other requests wait for a
    slice and for the step of a generator in which it ends. A step takes at most a few tenths of a millisecond.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def take(self, pieces: Iterator[bytes]) -> bytes | None:
        """The output of *pieces* in one slice, possibly empty; None after their end."""
        taken, size = list[bytes](), 0
        async with self._turn:
            until = perf_counter() + SLICE_SECONDS
            for piece in pieces:
                taken.append(piece)
                size += len(piece)
                if size >= SLICE_BYTES or perf_counter() >= until:
                    break
            await asyncio.sleep(0)
        return b"".join(taken) if taken else None

    async def join(self, pieces: Iterator[bytes], limit: int) -> bytes | None:
        """The whole output of *pieces*; None if it has more than *limit* bytes, in which case *pieces* continue."""
        taken, size = list[bytes](), 0
        while size <= limit and (part := await self.take(pieces)) is not None:
            taken.append(part)
            size += len(part)
        return b"".join(taken) if size <= limit else None

    async def result(self, steps: Generator[None, None, T]) -> T:
        """The result of *steps*."""
        while True:
            async with self._turn:
                until = perf_counter() + SLICE_SECONDS
                try:
                    while perf_counter() < until:
                        next(steps)
                except StopIteration as end:
                    return cast(T, end.value)
                await asyncio.sleep(0)


class SingleFlight:
    """Merges simultaneous calls with the same key into one, whose result all of them get (as groupcache's singleflight)."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Future[Any]] = {}

    async def run(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The result of *make*, or its exception. If the caller that runs it is cancelled, the next caller runs its own."""
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight])
            if not flight.cancelled():
                return cast(T, flight.result())
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            result = await make()
            flight.set_result(result)
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # the exception is not an error if no other call waits for it
            raise
        finally:
            del self._flights[key]
            flight.cancel()  # has no effect on a flight that has ended
        return result


class WorkerThread:
    """Runs functions in a thread, one at a time: two that need the interpreter would make the event loop wait for both."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._calls, self._mean = 0, 0.0  # those that have not ended; how long one takes, in seconds

    async def run(self, function: Callable[[], T]) -> T:
        """The result of *function*."""
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, function)
        finally:
            self._calls -= 1

    def delay(self) -> float:
        """Seconds that another function would wait, from how many there are and how long the last ones took."""
        return self._calls * self._mean

    def _timed(self, function: Callable[[], T]) -> T:
        began = perf_counter()
        try:
            return function()
        finally:
            self._mean += (perf_counter() - began - self._mean) / 8  # half of it is due to the last five

    def close(self) -> None:
        """Cancel what has not begun, and wait for the thread to end."""
        self._executor.shutdown(cancel_futures=True)
