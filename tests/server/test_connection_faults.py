"""What a connection once did wrong: each test is named by what is right."""

import asyncio
import gc
import time
import weakref
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from apidex.server import connection
from apidex.server.connection_limit import ConnectionLimit
from apidex.server.exchange import Exchange
from conftest import running_app
from fakes import FakeUpstream
from wire import FakeClient, FakeTransport, VirtualLoop, server_of

ROUTED = b"GET /v1/categories HTTP/1.1\r\nHost: a\r\n\r\n"
HOT = b"GET /Cat HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_client_that_is_gone_before_its_request_is_read_leaves_nothing_in_flight(app, monkeypatch):
    monkeypatch.setattr(FakeTransport, "get_extra_info", lambda *_: None)
    client = FakeClient(*server_of(app), VirtualLoop())
    await client.sends(ROUTED)
    assert client.statuses() == [200]
    assert client.config.stats.in_flight == 0


async def test_shedding_a_head_sends_no_body(app, monkeypatch):
    client = FakeClient(*server_of(app), VirtualLoop())
    monkeypatch.setattr(client.config, "is_overloaded", lambda _: True)
    await client.sends(b"HEAD /v1/categories HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.transport.taken.endswith(b"\r\n\r\n")
    assert client.statuses() == [503]


async def test_a_request_that_waited_too_long_for_its_turn_is_shed_and_a_probe_is_not(app):
    config, state = server_of(app, queue_delay_target=0.05)
    loop = VirtualLoop()
    paths = [b"/v1/categories", b"/v1/categories", b"/v1/categories", b"/-/metrics"]
    clients = [FakeClient(config, state, loop) for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.connection.data_received(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    await asyncio.sleep(0)
    assert len(config.exchange_queue._waiting) == 3
    loop.now += 0.6
    for client in clients:
        await client.settles()
    assert [client.statuses() for client in clients] == [[200], [503], [503], [200]]
    assert config.stats.in_flight == 0


@pytest.mark.parametrize(
    ("request_line", "late", "route"),
    [
        (b"GET /v1/categories", 0, "/v1/categories"),
        (b"HEAD /Cat", 0, "/{name}"),
        (b"GET /Wide", 0, "/{name}"),
        (b"GET /v1/categories", 0.6, "none"),
    ],
    ids=["route", "name", "wide answer", "shed"],
)
async def test_the_measured_time_of_a_request_includes_the_wait_for_its_turn(
    clock, monkeypatch, request_line, late, route
):
    monkeypatch.setattr(connection, "perf_counter", lambda: time.perf_counter() - 600)
    async with running_app(FakeUpstream(*(f"Wide {number}" for number in range(2001))), clock) as app:
        config, state = server_of(app, queue_delay_target=0.05)
        loop, metrics = VirtualLoop(), app.replica.metrics.route(route)
        clients = [FakeClient(config, state, loop) for _ in range(2)]
        for client, line in zip(clients, [b"GET /v1/catalogue", request_line], strict=True):
            client.connection.data_received(b"%b HTTP/1.1\r\nHost: a\r\n\r\n" % line)
        await asyncio.sleep(0)
        assert metrics.seconds == 0
        loop.now += late
        for client in clients:
            await client.settles()
        assert sum(metrics.by_status.values()) == 1
        assert metrics.seconds >= 600


@pytest.mark.parametrize(("delay", "statuses"), [(0.4, [200, 200, 200]), (0.6, [503, 200, 200])])
async def test_a_request_that_would_wait_too_long_for_the_thread_is_shed(app, delay, statuses):
    options = replace(app.server_options, delay=lambda: delay)
    client = FakeClient(*server_of(replace(app, server_options=options), queue_delay_target=0.05), VirtualLoop())
    await client.sends(ROUTED + b"GET /-/metrics HTTP/1.1\r\nHost: a\r\n\r\n" + HOT)
    assert client.statuses() == statuses


@pytest.mark.parametrize(
    ("path", "is_answered"),
    [(b"/-/metrics", True), (b"/-/livez?a=b", True), (b"/-/docs", False), (b"/-/openapi.json", False)],
)
async def test_probes_and_metrics_are_not_shed_and_documents_are(app, monkeypatch, path, is_answered):
    client = FakeClient(*server_of(app), VirtualLoop())
    monkeypatch.setattr(client.config, "is_overloaded", lambda _: True)
    await client.sends(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    assert client.statuses() == [200 if is_answered else 503]


@pytest.mark.parametrize("rest", [b"\r\n", b"Host: a\r\nHost: b\r\n\r\n", b"Host: a\r\nX\r\n\r\n"])
async def test_refusing_a_head_sends_no_body_and_is_counted(app, rest):
    client = FakeClient(*server_of(app), VirtualLoop())
    await client.sends(b"HEAD /v1/categories HTTP/1.1\r\n" + rest)
    assert client.transport.taken.endswith(b"\r\n\r\n")
    assert client.statuses() == [400]
    assert app.replica.metrics.route("none").by_status[400] == 1


@pytest.mark.parametrize(
    "head", [b"GARBAGE\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"\0\1\r\n\r\n", "GET /é HTTP/1.1\r\n\r\n".encode()]
)
async def test_a_malformed_request_gets_a_problem_document(app, head):
    client = FakeClient(*server_of(app), VirtualLoop())
    await client.sends(head)
    assert client.statuses() == [400]
    assert b"content-type: application/problem+json\r\n" in client.transport.taken
    assert b"percent-encoded" in client.transport.taken


async def test_a_replica_that_ends_answers_what_it_has_read(app):
    client = FakeClient(*server_of(app), VirtualLoop())
    client.connection.data_received(HOT * 100)  # more than are answered in one turn
    assert not client.connection.is_idle
    client.connection.shutdown()
    await client.settles()
    client.connection.close_if_waiting()
    assert client.statuses() == [200] * 100
    assert client.transport.is_closing()


async def test_a_replica_that_ends_closes_a_connection_as_soon_as_it_is_idle(app):
    client = FakeClient(*server_of(app), VirtualLoop())
    await client.sends(b"POST /Cat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    client.connection.shutdown()
    await client.sends(b"12345")
    assert not client.transport.is_closing()
    client.connection.close_if_waiting()
    assert client.transport.is_closing()


async def test_a_client_that_has_just_connected_has_one_request_when_a_replica_ends(app):
    client = FakeClient(*server_of(app), VirtualLoop())
    client.connection.shutdown()
    client.connection.close_if_waiting()
    assert not client.transport.is_closing()
    client.loop.now += 3
    client.connection.close_if_waiting()
    assert client.transport.is_closing()


async def test_a_fault_of_ours_is_logged_and_is_not_the_clients(app, monkeypatch):
    monkeypatch.setattr("apidex.server.connection.scope_of", lambda *_: 1 / 0)
    client = FakeClient(*server_of(app), VirtualLoop())
    with capture_logs() as logs:
        await client.sends(ROUTED)
    assert client.statuses() == [500]
    assert client.config.stats.in_flight == 0
    assert [entry["event"] for entry in logs] == ["request.broken"]


async def test_the_absolute_form_overrides_host(app):
    hosts = []

    async def asgi(scope, receive, send) -> None:
        hosts.extend(value for name, value in scope["headers"] if name == b"host")
        await app.asgi(scope, receive, send)

    watched = replace(app, server_options=replace(app.server_options, asgi=asgi))
    client = FakeClient(*server_of(watched), VirtualLoop())
    await client.sends(b"GET http://right.example/ HTTP/1.1\r\nHost: wrong.example\r\n\r\n")
    assert (client.statuses(), hosts) == ([200], [b"right.example"])


async def test_a_connection_that_has_ended_waits_for_no_garbage_collector(app):
    client = FakeClient(*server_of(app), VirtualLoop())
    await client.sends(HOT + ROUTED)
    connection = weakref.ref(client.connection)
    gc.disable()
    try:
        client.transport.abort()
        await client.settles()
        client.transport.protocol = None  # as asyncio and uvloop do
        del client
        assert connection() is None
    finally:
        gc.enable()


async def test_nothing_is_written_behind_a_complete_response():
    class Wire:
        def __init__(self) -> None:
            self.calls = []

        def write(self, head: bytes, body: bytes) -> None:
            self.calls.append(head + body)

        async def drained(self, pending) -> None: ...

        def finish(self, *, is_last: bool) -> None:
            self.calls.append(is_last)

    async def app(_scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.body", "body": b"y"})

    wire = Wire()
    await Exchange(wire, {"method": "GET", "http_version": "1.1", "path": "/"}, b"", is_last=False).run(app)
    assert wire.calls == [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", False]


async def test_a_connection_that_only_waits_for_its_end_makes_room_for_another(app):
    config, state = server_of(app)
    config.connection_limit, loop = ConnectionLimit(1), VirtualLoop()
    refused = FakeClient(config, state, loop)
    await refused.sends(b"\x00")
    assert refused.transport.is_eof_sent
    assert FakeClient(config, state, loop).transport.is_closing(), "its client may be reading the answer"
    loop.now += 1
    assert not FakeClient(config, state, loop).transport.is_closing()
    assert refused.transport.is_closing()


HEAD = b"GET /Cat HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 10_000


async def test_heads_that_do_not_end_are_bounded_for_all_connections_together(app):
    config, state = server_of(app, slow_client_bytes=20 * 2**20)
    clients = [FakeClient(config, state, VirtualLoop()) for _ in range(40)]
    for client in clients:
        await client.sends(HEAD)
    still_open = [client for client in clients if not client.transport.is_closed]
    assert still_open == clients[-len(still_open) :], "who has waited longest goes first"
    assert 5 < len(still_open) < 20, "10,000 headers of four bytes are 1.5 MB"
    await still_open[0].sends(b"\r\n")
    assert still_open[0].statuses() == [200]
    for client in still_open:
        await client.waits(60)
    assert config.slow_clients._held == 0


async def test_a_byte_more_does_not_make_a_head_younger(app):
    config, state = server_of(app, slow_client_bytes=5 * 2**20)
    clients = [FakeClient(config, state, VirtualLoop()) for _ in range(2)]
    for client in clients:
        await client.sends(HEAD)
    await clients[0].sends(b"c")
    for _ in range(2):
        await FakeClient(config, state, VirtualLoop()).sends(HEAD)
    assert [client.transport.is_closed for client in clients] == [True, False]


async def test_answers_too_small_to_pause_are_counted_within_a_second(app):
    client = FakeClient(*server_of(app), VirtualLoop(), window=0)
    await client.sends(HOT * 3)
    await client.waits(1)
    assert client.config.slow_clients._held >= len(client.transport.unsent) > 0
    client.transport.takes(float("inf"))
    await client.waits(1)
    assert client.config.slow_clients._held == 0


async def test_what_is_held_behind_a_request_is_counted_until_it_is_parsed(app):
    client = FakeClient(*server_of(app), VirtualLoop())
    client.connection.data_received(ROUTED + HOT * 500)
    assert client.config.slow_clients._held >= len(HOT) * 500
    await client.settles()
    assert client.statuses() == [200] * 501
    assert client.config.slow_clients._held == 0
