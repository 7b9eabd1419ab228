"""Connections retire, and a queue before the event loop is noticed. On a clock that the tests move."""

import asyncio
from itertools import pairwise

import pytest

from apidex.http.connection_stats import ConnectionStats
from apidex.server.overload import LoopLagDetector, TurnQueue
from wire import FakeClient, VirtualLoop, server_of

GET = b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_old_connections_are_retired_with_a_response_and_not_all_at_once(app):
    ages = []
    for _ in range(8):
        client = FakeClient(*server_of(app, max_age=1, keep_alive=60), loop := VirtualLoop())
        began = loop.now
        await client.sends(GET)
        while client.is_open:
            assert b"connection: close" not in client.transport.taken
            loop.now += 0.02
            await client.sends(GET)
        assert client.transport.taken.count(b"connection: close") == 1
        ages.append(loop.now - began)
    assert all(0.5 < age < 1.6 for age in ages)
    assert max(ages) - min(ages) > 0.05


class Loop:
    """An event loop whose clock and iterations the test moves."""

    def __init__(self) -> None:
        self.now, self.next = 100.0, []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback, *arguments) -> None:
        self.next.append((callback, arguments))


def test_a_loop_is_overloaded_when_one_long_iteration_follows_another():
    loop = Loop()
    detector = LoopLagDetector(0.05, ConnectionStats(), clock=loop.time)

    def iteration(seconds: float) -> bool:
        loop.now += 0.02
        detector.is_overloaded(loop)
        loop.now += seconds
        is_overloaded = detector.is_overloaded(loop)
        callback, arguments = loop.next.pop()
        callback(*arguments)
        return is_overloaded

    assert not iteration(0.3), "one iteration that was held up"
    found = [iteration(0.15) for _ in range(5)]
    assert found == sorted(found), "the queue stays"
    assert (found[0], found[-1]) == (False, True)
    assert not iteration(0.05)
    assert not iteration(0.3), "a short iteration has ended it"
    loop.now += 3600
    assert not iteration(0.3), "there was no request for an hour"


async def test_one_exchange_starts_in_each_turn_of_the_loop_in_order():
    loop, queue, started = asyncio.get_running_loop(), TurnQueue(0.05), []

    async def exchange(number: int) -> None:
        await queue.turn(loop)
        started.append(number)

    tasks = [asyncio.create_task(exchange(number)) for number in range(5)]
    counts = []
    for _ in range(12):
        await asyncio.sleep(0)
        counts.append(len(started))
        if counts[-1] == 1:
            tasks[2].cancel()
    assert started == [0, 1, 3, 4]
    assert all(later - earlier <= 1 for earlier, later in pairwise(counts))


async def test_who_is_gone_takes_no_turn():
    loop, queue = asyncio.get_running_loop(), TurnQueue(0.05)
    *gone, last = [asyncio.create_task(queue.turn(loop)) for _ in range(1000)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert last.done()


async def test_the_queue_of_exchanges_is_overloaded_when_its_first_one_waits_too_long_for_ten_times_that():
    loop, queue = VirtualLoop(), TurnQueue(0.05)
    assert not queue.is_overloaded(loop.now)
    tasks = [asyncio.create_task(queue.turn(loop)) for _ in range(2)]
    await asyncio.sleep(0)
    loop.now += 0.4
    assert not queue.is_overloaded(loop.now)
    loop.now += 0.2
    assert queue.is_overloaded(loop.now)
    await asyncio.gather(*tasks)
    assert not queue.is_overloaded(loop.now)


@pytest.mark.parametrize(("seconds", "is_overloaded"), [(1, True), (6, False)], ids=["soon after", "later"])
async def test_a_queue_that_was_overloaded_is_so_again_at_once(seconds, is_overloaded):
    loop, queue = VirtualLoop(), TurnQueue(0.05)

    async def waiting(for_seconds: float) -> bool:
        queue.is_overloaded(loop.now)
        tasks = [asyncio.create_task(queue.turn(loop)) for _ in range(2)]
        await asyncio.sleep(0)
        loop.now += for_seconds
        found = queue.is_overloaded(loop.now)
        await asyncio.gather(*tasks)
        return found

    assert not await waiting(0.06)
    assert await waiting(0.6)
    loop.now += seconds
    assert not queue.is_overloaded(loop.now), "it is empty"
    assert await waiting(0.06) is is_overloaded
