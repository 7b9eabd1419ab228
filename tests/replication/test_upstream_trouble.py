"""The upstream is broken, in every way that one can be. Searches are answered, and the failure is reported."""

import asyncio
import gzip
import tracemalloc
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import structlog

import fakes
from apidex.replication.upstream import open_upstream
from conftest import client_of, refreshed, running_app
from fakes import FakeRedis, answers, bomb, publicapis, wire_server

GOOD = publicapis("Cat Facts", "Cats", "Dogs", "Birds", "Fish")

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
    "wrong types": (answers(b'{"entries": [{"API": ""}, {"API": []}]}'), "unreadable"),
    "60 % fewer entries": (answers(publicapis("Cats", "Dogs")), "shrunk"),
    "a catalogue cut in the middle": (answers(GOOD[:-40]), "format"),
    "compressed, and good": (
        answers(gzip.compress(publicapis("Cats", "Cat 2", "Dogs")), content_encoding="gzip"),
        None,
    ),
}


@asynccontextmanager
async def replica(clock, behaves):
    """A replica whose upstream *behaves* at the start; and how to make it behave in another way."""
    async with wire_server() as wire, open_upstream(wire.url, timedelta(minutes=1), 2**20) as upstream:

        def becomes(behaves) -> None:
            wire.behaves = behaves
            # an upstream that answers is waited for however busy this machine is; one that hangs is not
            upstream._timeout = timedelta(seconds=0.05) if behaves is fakes.hangs else timedelta(minutes=1)

        becomes(behaves)
        async with running_app(upstream, clock, FakeRedis(clock)) as app, client_of(app.asgi) as client:
            yield app, client, becomes


@pytest.mark.parametrize("case", TROUBLE)
async def test_searches_are_answered_meanwhile_and_the_failure_is_reported(case, clock):
    behaves, reason = TROUBLE[case]
    async with replica(clock, answers(GOOD)) as (app, client, becomes):
        before = await client.get("/Cat")
        assert len(before.json()) == 2
        becomes(behaves)
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
async def test_a_replica_that_starts_then_answers_from_the_starter_catalogue_and_recovers(case, clock):
    async with replica(clock, TROUBLE[case][0]) as (app, client, becomes):
        assert (await client.get("/v1/catalogue")).json()["state"] == "bundled"
        assert (await client.get("/GitHub")).json()
        becomes(answers(GOOD))
        await refreshed(app)
        assert (await client.get("/v1/catalogue")).json()["state"] == "fresh"
        assert len((await client.get("/Cat")).json()) == 2


async def test_a_bomb_is_refused_before_it_fills_the_memory(clock):
    async with replica(clock, answers(bomb(), content_encoding="gzip")) as (app, _, _):
        tracemalloc.start()
        await refreshed(app)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**23


TARGETS = {
    "status": answers(b"", "418 Internal Secret", retry_after="7000"),
    "reset": fakes.resets,
    "encoding": answers(b"x", content_encoding="internal-secret"),
}


@pytest.mark.parametrize("behaves", TARGETS.values(), ids=TARGETS)
async def test_what_a_redirect_leads_to_is_told_to_operators_only(clock, behaves):
    """Or an upstream could look into our network through /v1/catalogue, by redirecting there."""
    async with wire_server() as internal, replica(clock, answers(GOOD)) as (app, client, becomes):
        internal.behaves = behaves
        becomes(answers(b"", "302 Found", location=internal.url))
        with structlog.testing.capture_logs() as logs:
            await refreshed(app)
        upstream = (await client.get("/v1/catalogue")).json()["upstream"]
    failure = upstream["last_failure"]
    assert (failure["reason"], upstream["failures"]) == ("redirect", {"redirect": 1})
    assert failure["detail"] == "the upstream redirected, and the target gave no usable answer"
    [event] = [event for event in logs if event["event"] == "upstream.failed"]
    assert internal.url in event["detail"]
    assert any(text in event["detail"] for text in ("418 Internal Secret", "broke off", "'internal-secret'"))
