"""Long work lets other requests run, and equal requests at the same time share one result."""

import asyncio
import threading

import pytest

from apidex.http import concurrency
from apidex.http.concurrency import SingleFlight, TimeSlices, WorkerThread
from conftest import running_app
from fakes import entry


async def test_each_turn_of_the_event_loop_runs_one_slice_of_all_generators(monkeypatch):
    monkeypatch.setattr(concurrency, "SLICE_BYTES", 1)
    slices, turns, made = TimeSlices(), 0, []

    def pieces(label):
        for _ in range(20):
            made.append((turns, label))
            yield b"x"

    async def run(label):
        taking = pieces(label)
        while await slices.take(taking) is not None:
            pass

    running = asyncio.gather(*(run(label) for label in range(5)))
    while not running.done():
        turns += 1
        await asyncio.sleep(0)
    assert len({turn for turn, _ in made}) == len(made) == 100
    assert {label for _, label in made[:10]} == set(range(5)), "in order"


async def test_a_slice_ends_when_its_time_or_its_bytes_are_used_up(monkeypatch):
    now = 0.0

    def pieces(seconds, size, count):
        nonlocal now
        for _ in range(count):
            now += seconds
            yield bytes(size)

    monkeypatch.setattr(concurrency, "perf_counter", lambda: now)
    slices = TimeSlices()
    assert len(await slices.take(pieces(0.0004, 1, 99))) == 3
    assert len(await slices.take(pieces(0, 40_000, 99))) == 80_000
    assert await slices.take(pieces(0.0004, 0, 99)) == b"", "time has passed"
    assert await slices.take(pieces(0, 0, 0)) is None, "the end"


@pytest.mark.parametrize(("limit", "joined"), [(20, b"x" * 20), (19, None)])
async def test_pieces_are_joined_up_to_a_limit(limit, joined):
    assert await TimeSlices().join(iter([b"x"] * 20), limit) == joined


async def test_the_result_of_steps_comes_at_their_end():
    def steps():
        for _ in range(1000):
            yield
        return "done"

    assert await TimeSlices().result(steps()) == "done"


@pytest.fixture
def calls():
    return []


def make(calls, result):
    async def made():
        calls.append(result)
        await asyncio.sleep(0)
        if isinstance(result, Exception):
            raise result
        return result

    return made


async def test_calls_at_the_same_time_are_one_call(calls):
    flights = SingleFlight()
    results = await asyncio.gather(*(flights.run(key, make(calls, key)) for key in "ababab"))
    assert (results, calls) == (list("ababab"), ["a", "b"])
    assert await flights.run("a", make(calls, "later")) == "later", "a result is not kept"


async def test_all_callers_get_the_exception_of_the_call(calls):
    flights, fault = SingleFlight(), ValueError("no")
    results = await asyncio.gather(*(flights.run("a", make(calls, fault)) for _ in range(3)), return_exceptions=True)
    assert (results, calls) == ([fault] * 3, [fault])


async def test_if_the_first_caller_is_cancelled_the_next_one_calls(calls):
    flights = SingleFlight()
    first = asyncio.create_task(flights.run("a", make(calls, "first")))
    others = [asyncio.create_task(flights.run("a", make(calls, "second"))) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == ["second", "second"]
    assert calls == ["first", "second"]


async def test_the_delay_of_a_thread_is_what_its_calls_will_take(monkeypatch):
    seconds = iter(range(0, 10_000, 2))
    monkeypatch.setattr(concurrency, "perf_counter", lambda: next(seconds))
    thread, goes_on = WorkerThread(), threading.Event()
    for _ in range(50):
        await thread.run(lambda: None)
    assert thread.delay() == 0
    waiting = [asyncio.create_task(thread.run(lambda: goes_on.wait(60))) for _ in range(3)]
    await asyncio.sleep(0)
    assert 5 < thread.delay() < 6.1, "three calls, of two seconds each"
    goes_on.set()
    await asyncio.gather(*waiting)
    assert thread.delay() == 0
    thread.close()


async def test_a_thread_runs_a_function_and_gives_what_it_returns_or_raises():
    thread = WorkerThread()
    assert await thread.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    thread.close()


@pytest.mark.parametrize(
    ("entries", "description", "hits", "name"),
    [
        (20, "", 20, "MainThread"),
        (1100, "d" * 4000, 0, "search_0"),
        (5001, "", 0, "search_0"),
        (20, "d" * 4000, 4, "search_0"),
        (20, "d" * 4000, 3, "MainThread"),
    ],
    ids=["small", "long descriptions", "many entries", "a long page", "a short page"],
)
async def test_a_long_search_runs_in_a_thread(upstream, clock, entries, description, hits, name):
    upstream.has(*(entry(f"Cat {number}", description=description) for number in range(entries)))
    async with running_app(upstream, clock) as app:
        replica = app.replica
        assert await replica.compute(replica.refresher.current, lambda: threading.current_thread().name, hits) == name
