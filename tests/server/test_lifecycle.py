"""The timers of thousands of connections do not hold up the event loop."""

import gc
from dataclasses import replace
from datetime import timedelta

import pytest
import uvicorn

from apidex.http.connection_stats import ConnectionStats
from apidex.server.lifecycle import Server


class Overdue:
    """A connection whose timer is looked at."""

    looks = 0

    def close_if_overdue(self, now: float) -> None:
        self.looks += 1


async def test_each_connection_is_looked_at_once_a_second_and_a_tenth_of_them_in_each_tick(app):
    server = Server(app.server_options)
    server.config.load()
    connections = [Overdue() for _ in range(1005)]
    server.server_state.connections.update(connections)
    for tick in range(20):
        before = sum(each.looks for each in connections)
        await server.on_tick(tick)
        assert sum(each.looks for each in connections) - before in (100, 101)
    assert {each.looks for each in connections} == {2}


async def test_a_connection_that_is_gone_is_not_looked_at(app):
    server = Server(app.server_options)
    server.config.load()
    gone, open_connection = Overdue(), Overdue()
    server.server_state.connections.update([gone, open_connection])
    await server.on_tick(0)
    server.server_state.connections.discard(gone)
    looks = gone.looks
    for tick in range(1, 10):
        await server.on_tick(tick)
    assert (gone.looks, open_connection.looks) == (looks, 1)


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
