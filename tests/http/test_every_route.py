"""Whatever is requested among 200,000 entries, in whichever format and encoding, others are answered in between."""

import asyncio
import gc
import time

import pytest
from loadtest.bench.every_route import every_request, known_values
from loadtest.bench.synthetic_catalogue import entries

from apidex.replication.snapshot import SnapshotHistory
from apidex.server.exchange import scope_of
from conftest import client_of, refreshed, running_app
from fakes import FakeClock, FakeUpstream
from wire import FakeTransport

COUNT = 200_000

HOLD_SECONDS = 0.025
"""CPU that a turn of the event loop may take: more than the 10 ms of a quiet machine, and a small part of a scan."""


async def cpu_of_the_longest_turn(asgi, path: str, headers: dict[str, str]) -> float:
    """CPU seconds of the event loop's thread in its longest turn while *path* is answered."""
    statuses, longest, before = [], 0.0, 0.0

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive():
        await asyncio.Event().wait()

    sent = [(b"host", b"a"), *((name.encode(), value.encode()) for name, value in headers.items())]
    scope = scope_of(b"GET", "1.1", path.encode(), sent, FakeTransport(), 0.0)
    answering = asyncio.create_task(asgi(scope, receive, send))
    while not answering.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    await answering
    assert statuses in ([200], [404]), path
    return longest


@pytest.fixture
def no_garbage_collection():
    """Nothing but the requests: the objects of other tests cost more than they do."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.real
async def test_no_request_holds_the_event_loop(no_garbage_collection):
    items = list(entries(COUNT))
    upstream = FakeUpstream(*items[COUNT // 100 :])
    async with running_app(upstream, FakeClock()) as app, client_of(app.asgi) as client:
        app.replica.refresher.activation.history = SnapshotHistory(limit=2**30)
        since = app.replica.refresher.current.version
        upstream.has(*items)
        await refreshed(app)
        document = (await client.get("/-/openapi.json")).json()
        facets = (await client.get("/v1/search?limit=1")).json()["facets"]
        known = known_values(app.replica.refresher.current.version, facets) | {"since": since}
        longest = {}
        for route, path, headers in every_request(document, known):
            longest[f"{route}: {path} {headers}"] = await cpu_of_the_longest_turn(app.asgi, path, headers)
    assert {request: seconds for request, seconds in longest.items() if seconds > HOLD_SECONDS} == {}
