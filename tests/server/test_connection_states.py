"""Whatever a client does, and however slowly: as many answers as requests, in order, and an end within the timers."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apidex.server.connection import BURST
from apidex.server.timers import LINGER_SECONDS
from conftest import running_app
from fakes import FakeUpstream
from wire import FakeClient, VirtualLoop, server_of


@pytest.fixture
async def wide_app(clock):
    """A replica whose `/v1/entries` is 300 kB."""
    async with running_app(FakeUpstream(*(f"Wide {number} {'x' * 100}" for number in range(1900))), clock) as app:
        yield app


REQUESTS = {
    b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n": 200,
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n": 200,
    b"HEAD /Cat HTTP/1.1\r\nHost: a\r\n\r\n": 200,
    b"GET /v1/categories HTTP/1.1\r\nHost: a\r\n\r\n": 200,
    b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n": 404,
    b"GET /v1/entries HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n": 304,
    b"POST /Cat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\r\n\r\nx": 405,
    b"GET /-/livez HTTP/1.1\r\nHost: a\r\n\r\n": 200,
    b"\r\n\r\nGET /Cat HTTP/1.1\r\nHost: a\r\n\r\n": 200,
}
LAST = {
    b"": None,
    b"GET /Cat HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": 200,
    b"GET /Cat HTTP/1.0\r\n\r\n": 200,
    b"GET /Cat HTTP/1.1\r\n\r\n": 400,
    b"\x16\x03\x01": 400,
    b"POST /Cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n": 405,
    b"GET /Cat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n": 200,
}
PARTIAL = [b"", b"\r\n", b"GET /Cat HTTP/1.1\r\nHost"]


@st.composite
def conversations(draw):
    """What a client sends, where it is cut, how long it pauses before each piece, and how much it reads meanwhile."""
    requests = draw(st.lists(st.sampled_from(sorted(REQUESTS)), max_size=12))
    last = draw(st.sampled_from(sorted(LAST)))
    data = b"".join(requests) + (last or draw(st.sampled_from(PARTIAL)))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    pauses = draw(st.lists(st.sampled_from([0, 0, 1]), min_size=len(pieces), max_size=len(pieces)))
    reads = draw(st.lists(st.sampled_from([0, 1, 100, 10_000]), min_size=len(pieces), max_size=len(pieces)))
    expected = [REQUESTS[request] for request in requests] + ([LAST[last]] if LAST[last] else [])
    return list(zip(pieces, pauses, reads, strict=True)), expected


@given(conversation=conversations(), half_close=st.booleans(), window=st.sampled_from([0, 1000, float("inf")]))
@settings(max_examples=300)
async def test_every_request_is_answered_in_order_and_every_connection_ends(app, conversation, half_close, window):
    pieces, expected = conversation
    server = server_of(app, keep_alive=10, request_timeout=10, send_timeout=30)
    client = FakeClient(*server, VirtualLoop(), window=window)
    for piece, pause, read in pieces:
        await client.waits(pause)
        await client.sends(piece)
        client.transport.takes(read)
        await client.settles()
    if half_close:
        await client.ends()
    client.transport.takes(float("inf"))
    await client.settles()
    answered = client.statuses()
    assert answered == expected
    await client.waits(10 + LINGER_SECONDS + 2)
    assert client.transport.is_closed
    assert client.statuses()[len(expected) :] in ([], [408])


@pytest.mark.parametrize(
    ("sent", "seconds", "said"),
    [
        (b"", 10, []),
        (b"\r\n", 10, []),
        (b"GET /Cat HTTP/1.1\r\n", 10, [408]),
        (b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n", 5, [200]),
        (b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n\r\n", 5, [200]),
        (b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\nGET", 10, [200, 408]),
        (b"POST /Cat HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 10, [405]),
        (b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n\n\n", 5, [200]),
    ],
    ids=["nothing", "an empty line", "a part of a head", "idle", "idle after an empty line", "a part of the second head",
         "a body that does not come", "idle after empty lines behind an exchange"],
)  # fmt: skip
async def test_each_state_has_its_timer(app, sent, seconds, said):
    client = FakeClient(*server_of(app, keep_alive=5, request_timeout=10), VirtualLoop())
    await client.sends(sent)
    for _ in range(seconds - 1):
        await client.waits(1)
        await client.sends(b"\r\n" if sent.endswith(b"\r\n\r\n\r\n") else b"")
    assert not client.transport.is_closed
    await client.waits(1 + LINGER_SECONDS + 1)
    assert client.transport.is_closed
    assert client.statuses() == said


async def test_a_client_that_takes_nothing_is_closed_and_one_that_is_slow_is_not(wide_app):
    for read, is_closed in ((0, True), (1, True), (5_000, False)):
        client = FakeClient(*server_of(wide_app, send_timeout=10), VirtualLoop(), window=1000)
        await client.sends(b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        for _ in range(25):
            client.transport.takes(read)
            await client.waits(1)
        assert client.transport.is_closed is is_closed, read
        for _ in range(5):  # until the answer has noticed
            await asyncio.sleep(0)
        assert len(client.state.tasks) == 0 or not is_closed


async def test_what_a_client_does_not_read_is_not_made(wide_app):
    client = FakeClient(*server_of(wide_app), VirtualLoop(), window=0)
    await client.sends(b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
    one = len(client.transport.unsent)
    await client.sends(b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
    assert len(client.transport.unsent) == one, "one answer is held"
    assert len(client.connection._held) <= 2 * 65_536, "and one read"
    client.transport.takes(float("inf"))
    await client.settles()
    assert client.statuses()[:50] == [200] * 50


async def test_all_slow_clients_together_are_bounded(wide_app):
    config, state = server_of(wide_app, slow_client_bytes=2 * 2**20)
    clients = [FakeClient(config, state, VirtualLoop(), window=0) for _ in range(40)]
    for client in clients:
        await client.sends(b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n")
    held = sum(len(client.transport.unsent) for client in clients)
    assert held <= 2 * 2**20
    assert clients[0].transport.is_closed, "who has waited longest goes first"
    assert not clients[-1].transport.is_closed


async def test_requests_that_clients_send_ahead_are_bounded_too(wide_app):
    config, state = server_of(wide_app, slow_client_bytes=2 * 2**20)
    clients = [FakeClient(config, state, VirtualLoop(), window=0) for _ in range(64)]
    for client in clients:
        await client.sends(b"GET /v1/entries HTTP/1.1\r\nHost: a\r\n\r\n" * 1500)
    held = sum(len(client.transport.unsent) + len(client.connection._held) for client in clients if client.is_open)
    assert held <= 2 * 2**20
    assert config.stats.shed["unsent"] > 0


async def test_who_sends_one_request_is_answered_before_the_pipelines_of_others(app):
    config, state = server_of(app)
    loop = VirtualLoop()
    pipelines = [FakeClient(config, state, loop) for _ in range(50)]
    for client in pipelines:
        client.connection.data_received(b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
    before = sum(client.transport.taken.count(b"HTTP/1.1 200") for client in pipelines)
    for _ in range(10):
        await asyncio.sleep(0)
    answered = sum(client.transport.taken.count(b"HTTP/1.1 200") for client in pipelines) - before
    assert 0 < answered <= 10 * BURST
    for client in pipelines:
        await client.settles()
    while any(client.transport.taken.count(b"HTTP/1.1 200") < 200 for client in pipelines):
        await asyncio.sleep(0)
