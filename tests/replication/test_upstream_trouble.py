"""Situation: the upstream is broken, in every way that one can be. Searches are answered, and it is said what happened."""

import asyncio
import gzip
from datetime import timedelta

import pytest

import fakes
from apidex.app import create_app
from apidex.settings import Settings
from conftest import client_of, refreshed
from fakes import FakeRedis, FakeStore, answers, bomb, publicapis, wire_server

GOOD = publicapis("Cat Facts", "Cats", "Dogs", "Birds", "Fish")
SETTINGS = {
    "served_by": "replica-1",
    "upstream_limit": 2**20,
    "upstream_timeout": timedelta(seconds=0.3),
    "poll": timedelta(hours=1),
}

TROUBLE = {
    "not JSON": (answers(b"{oops"), "format"),
    "no entries": (answers(b'{"count": 0, "entries": null}'), "empty"),
    "an HTML page with status 200": (answers(b"<html>Bad gateway</html>"), "format"),
    "5xx": (answers(b"", "503 Service Unavailable"), "status"),
    "time-out": (fakes.hangs, "timeout"),
    "reset": (fakes.resets, "broken"),
    "endless body": (fakes.never_ends, "too_large"),
    "gzip bomb": (answers(bomb(), content_encoding="gzip"), "too_large"),
    "a gzip stream that is none": (answers(b"no gzip at all", content_encoding="gzip"), "encoding"),
    "wrong types": (answers(b'{"entries": [{"API": 1}, {"API": []}]}'), "unreadable"),
    "60 % fewer entries": (answers(publicapis("Cats", "Dogs")), "shrunk"),
    "a catalogue cut in the middle": (answers(GOOD[:-40]), "format"),
    "compressed, and good": (
        answers(gzip.compress(publicapis("Cats", "Cat 2", "Dogs")), content_encoding="gzip"),
        None,
    ),
}


@pytest.mark.parametrize("case", TROUBLE)
async def test_searches_go_on_and_it_is_said_what_happened(case, clock):
    behave, reason = TROUBLE[case]
    async with wire_server() as wire:
        wire.behaves = answers(GOOD)
        async with (
            create_app(Settings(upstream=wire.url, **SETTINGS), clock=clock, store=FakeStore(FakeRedis(clock))) as app,
            client_of(app.asgi) as client,
        ):
            before = await client.get("/Cat")
            assert len(before.json()) == 2
            wire.behaves = behave
            turn = asyncio.create_task(refreshed(app))
            while not turn.done():
                assert (await client.get("/Cat")).status_code == 200
                await asyncio.sleep(0.01)
            after = await client.get("/Cat")
            view = (await client.get("/v1/catalogue")).json()
    if reason is None:
        assert view["upstream"]["refreshes"] == {"changed": 2}
        return
    assert after.json() == before.json()
    assert view["upstream"]["failures"] == {reason: 1}
    assert view["upstream"]["last_failure"]["reason"] == reason
    assert view["version"] == before.headers["catalogue-version"]


@pytest.mark.parametrize("case", [case for case, (_, reason) in TROUBLE.items() if reason not in (None, "shrunk")])
async def test_a_replica_that_starts_into_it_answers_from_the_starter_catalogue_and_recovers(case, clock):
    async with wire_server() as wire:
        wire.behaves, _ = TROUBLE[case]
        async with (
            create_app(Settings(upstream=wire.url, **SETTINGS), clock=clock, store=FakeStore(FakeRedis(clock))) as app,
            client_of(app.asgi) as client,
        ):
            assert (await client.get("/v1/catalogue")).json()["state"] == "bundled"
            assert (await client.get("/GitHub")).json()
            wire.behaves = answers(GOOD)
            await refreshed(app)
            assert (await client.get("/v1/catalogue")).json()["state"] == "fresh"
            assert len((await client.get("/Cat")).json()) == 2


async def test_a_bomb_is_refused_before_it_fills_the_memory(clock):
    import tracemalloc

    body = bomb(2**28)
    async with wire_server() as wire:
        wire.behaves = answers(body, content_encoding="gzip")
        async with create_app(
            Settings(upstream=wire.url, **SETTINGS), clock=clock, store=FakeStore(FakeRedis(clock))
        ) as app:
            tracemalloc.start()
            await refreshed(app)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 2**23
