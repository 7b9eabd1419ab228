"""The timers of thousands of connections do not hold up the event loop."""

import asyncio
import gc
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
import uvicorn

from apidex.http.connection_stats import ConnectionStats
from apidex.server.lifecycle import Server


class Overdue:
    """A connection whose timer is looked at."""

    looks = 0

    def close_if_overdue(self, now: float) -> None:
        self.looks += 1


async def test_each_connection_is_looked_at_once_a_second_and_few_at_a_time(app, monkeypatch):
    server = Server(app.server_options)
    server.config.load()
    connections = [Overdue() for _ in range(1005)]
    server.server_state.connections.update(connections)
    planned = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, *call: planned.append((delay, *call)))
    for tick in range(20):
        await server.on_tick(tick)
        delays = [delay for delay, _, _ in planned]
        assert max(delays) < 0.1
        assert max(later - sooner for sooner, later in pairwise([*delays, 0.1])) < 0.017
        for _, look, looked_at in planned:
            assert len(looked_at) <= 16
            look(looked_at)
        planned.clear()
    assert {each.looks for each in connections} == {2}


async def test_a_connection_that_is_gone_is_not_looked_at(app):
    server = Server(app.server_options)
    server.config.load()
    gone, open_connection = Overdue(), Overdue()
    server.server_state.connections.update([gone, open_connection])
    for tick in range(10):
        await server.on_tick(tick)
    server.server_state.connections.discard(gone)
    await asyncio.sleep(0.1)  # both were planned
    assert (gone.looks, open_connection.looks) == (0, 1)


@pytest.mark.parametrize(
    ("connected", "accepted", "is_balanced", "is_unused"),
    [(0, 7, False, True), (1, 7, False, False), (0, 8, False, False), (0, 7, True, False)],
    ids=["unused", "connected", "came and went", "balanced"],
)
async def test_a_drain_of_a_replica_without_clients_or_a_balancer_is_cut_short(
    app, connected, accepted, is_balanced, is_unused
):
    drain = replace(app.server_options.limits, drain=timedelta(seconds=1.2))
    stats = ConnectionStats(accepted=7)
    options = replace(app.server_options, limits=drain, stats=stats, is_balanced=lambda: is_balanced)
    server, ticks = Server(options), []

    async def on_tick(tick: int) -> bool:
        ticks.append(tick)
        stats.accepted = accepted  # after the drain has begun
        return False

    server.on_tick = on_tick
    server.server_state.connections.update(range(connected))
    await server._drain()
    assert len(ticks) == (10 if is_unused else 12)


async def test_the_garbage_collector_does_not_look_through_what_is_loaded_at_the_start(app, monkeypatch):
    async def listens(*_) -> None: ...

    monkeypatch.setattr(uvicorn.Server, "startup", listens)
    try:
        await Server(app.server_options).startup()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
