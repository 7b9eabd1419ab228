"""Answers of any width have the bytes that a naive writer gives them; what a client does not take is not made."""

import csv
import io

import msgspec
import pytest

from apidex.catalogue.diff import Change
from apidex.http import context
from apidex.http.content_encoding import STREAM_ABOVE_BYTES
from apidex.http.routes.search import ChangesView
from apidex.replication.snapshot import SnapshotHistory
from conftest import client_of, refreshed, running_app
from fakes import FakeUpstream, entry
from wire import FakeClient, VirtualLoop, server_of

ENTRIES = [
    entry(
        f'Wide "{number}", <é>',
        description="x" * (number % 300),
        https=number % 3 > 0,
        cors=("yes", "no")[number % 2],
        link=f"https://{number}.example/",
        provider="p" * (number % 4),
    )
    for number in range(3000)
]
CHANGES = [Change(msgspec.structs.replace(each, auth="OAuth"), each) for each in ENTRIES[10:12]]
BEFORE = [*(change.before for change in CHANGES), *ENTRIES[12:], entry("Gone", link="")]


@pytest.fixture
async def wide_app(clock):
    """A replica that has had BEFORE, and has ENTRIES now."""
    upstream = FakeUpstream(*BEFORE)
    async with running_app(upstream, clock) as app:
        upstream.has(*ENTRIES)
        await refreshed(app)
        yield app


def as_csv(entries) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow([field.encode_name for field in msgspec.structs.fields(type(entries[0]))])
    for each in entries:
        rows.writerow(str(cell).lower() if isinstance(cell, bool) else cell for cell in msgspec.structs.astuple(each))
    return text.getvalue().encode()


def as_entries_view(entries) -> bytes:
    listed = [msgspec.structs.replace(each, provider="") for each in entries]
    return msgspec.json.encode({"count": len(entries), "entries": listed})


NO = [each for each in ENTRIES if each.cors == "no"]
WITH_7 = [each for each in ENTRIES if "7" in each.name]


BODIES = {
    "/v1/entries": msgspec.json.encode(ENTRIES),
    "/v1/entries?format=ndjson": b"".join(msgspec.json.encode(each) + b"\n" for each in ENTRIES),
    "/v1/entries?format=csv": as_csv(ENTRIES),
    "/v1/entries?cors=no": msgspec.json.encode(NO),
    "/v1/entries?cors=no&format=csv": as_csv(NO),
    "/v1/entries?cors=unknown": b"[]",
    "/v1/entries?name=7": msgspec.json.encode(WITH_7),
    "/v1/entries.ndjson?name=7&cors=no": b"".join(msgspec.json.encode(each) + b"\n" for each in WITH_7 if each in NO),
    "/publicapis/entries": as_entries_view(ENTRIES),
    "/publicapis/entries?cors=no": as_entries_view(NO),
    "/publicapis/entries?title=7": as_entries_view(WITH_7),
    "/publicapis/entries?title=zebra": b'{"count":0,"entries":[]}',
    "/Wide": msgspec.json.encode(ENTRIES),
    "/7": msgspec.json.encode(WITH_7),
}


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
async def test_the_body_is_that_of_a_naive_writer(wide_app, encoding):
    async with client_of(wide_app.asgi) as client:
        for path, body in BODIES.items():
            headers = {"accept-encoding": encoding}
            answer = await client.get(path, headers=headers)
            head = await client.head(path, headers=headers)
            again = await client.get(path, headers=headers | {"if-none-match": answer.headers["etag"]})
            assert answer.content == body
            assert ("content-length" in answer.headers) is (len(body) <= STREAM_ABOVE_BYTES)
            if len(body) > STREAM_ABOVE_BYTES:
                assert answer.headers.get("content-encoding", "identity") == encoding
            assert head.content == b""
            assert {**head.headers} == {**answer.headers}
            assert (again.status_code, again.content) == (304, b"")


async def test_changes_are_those_of_a_naive_writer(wide_app):
    before, now = (
        wide_app.replica.refresher.activation.history._held[-1].version,
        wide_app.replica.refresher.current.version,
    )
    async with client_of(wide_app.asgi) as client:
        answer = await client.get(f"/v1/changes?since={before}")
        same = await client.get(f"/v1/changes?since={now}")
    assert answer.content == msgspec.json.encode(ChangesView(before, now, ENTRIES[:10], BEFORE[-1:], CHANGES))
    assert same.content == msgspec.json.encode(ChangesView(now, now, [], [], []))
    assert before < now


PATHS = ["/Wide", "/v1/entries?format=csv", "/publicapis/entries"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_does_not_read_costs_bounded_memory_and_gets_all_of_it_later(wide_app, path):
    client = FakeClient(*server_of(wide_app), VirtualLoop(), window=0)
    await client.sends(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert len(client.transport.unsent) < 200_000
    client.transport.takes(float("inf"))
    await client.settles()
    assert client.statuses() == [200]
    assert len(client.transport.taken) > 300_000


@pytest.mark.parametrize("path", PATHS)
async def test_a_slow_client_does_not_keep_an_old_catalogue_for_hours(wide_app, clock, path):
    client = FakeClient(*server_of(wide_app), VirtualLoop(), window=0)
    await client.sends(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    wide_app.replica.refresher.activation.history = SnapshotHistory(limit=0)
    wide_app.replica.refresher.upstream.has(*BEFORE)
    await refreshed(wide_app)
    client.transport.takes(200_000)
    await client.settles()
    assert not client.transport.is_closed
    clock.passes(context.REPLACED_SECONDS + 1)
    client.transport.takes(200_000)
    await client.settles()
    assert client.transport.is_closed
    assert wide_app.replica.metrics.connections.shed["replaced"] == 1
