"""Requests that chance has damaged: whatever comes, no fault of ours, strict responses, and nothing that stays.

10,000 requests, or as many as TEST_APIDEX_FUZZ says; `--seed` plays another series.
"""

import gc
import logging
import os
from random import Random

from structlog.testing import capture_logs

from apidex.server.connection import Connection
from protocol_cases import FILES, cases
from wire import FakeClient, VirtualLoop, server_of

REQUESTS = int(os.environ.get("TEST_APIDEX_FUZZ", "10000"))
BATCH = 1000

MORE = [
    b"GET /v1/search?q=cat&limit=2&offset=1&category=Animals HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    b"GET /v1/entries?format=csv HTTP/1.1\r\nHost: a\r\nAccept: text/csv;q=0.5, */*\r\n\r\n",
    b'GET /publicapis/entries?title=cat&https=true HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x", W/"y"\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html;q=0.9, application/json\r\n\r\n",
    b"GET /-/metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n",
    b"GET /v1/suggest?q=%C3%A9&limit=3 HTTP/1.1\r\nHost: a\r\n\r\n",
]
INSERTED = [b"\r\n", b"\r\n\r\n", *(bytes([each]) for each in b"\r\n\0 \t:,%?#/;\x80\xff")]
SIZES = b"0 1 -1 65536 4294967296 9223372036854775807 18446744073709551616 1e9 inf nan".split()


def mutated(random: Random, data: bytes) -> bytes:
    """*data* with one change."""
    at, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    match random.randrange(7):
        case 0 if data:
            at = random.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:end] + data[at:]
        case 3:
            return data[:at] + random.choice(INSERTED) + data[at:]
        case 4:
            lines = data.split(b"\r\n")
            one, other = random.randrange(len(lines)), random.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            return b"\r\n".join(lines)
        case 5:
            words = data.split(b" ")
            words[random.randrange(len(words))] = random.choice(SIZES)
            return b" ".join(words)
        case _:
            return data[:at] + data[at:end] * random.choice([2, 3, 50]) + data[end:]


def pieces(random: Random, originals: list[bytes]) -> list[bytes]:
    """What one client sends: one to three requests, damaged, in one to four pieces."""
    data = b"".join(random.choices(originals, k=random.choice([1, 1, 2, 3])))
    for _ in range(random.choice([1, 1, 2, 4])):
        data = mutated(random, data)[:200_000]
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice([0, 0, 1, 3])))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def test_damaged_requests_do_no_damage(app, monkeypatch, caplog, request):
    begun = 0
    begin = Connection._begin

    def counted(connection: Connection) -> None:
        nonlocal begun
        begun += 1
        begin(connection)

    monkeypatch.setattr(Connection, "_begin", counted)
    random = Random(request.config.getoption("--seed") or 14)
    originals = [case.sent for path in FILES for case in cases(path) if len(case.sent) < 5000] + MORE
    config, state = server_of(app, keep_alive=1, request_timeout=1)
    loop, objects = VirtualLoop(), []
    for number in range(REQUESTS):
        begun = 0
        sent = pieces(random, originals)
        client = FakeClient(config, state, loop)
        with capture_logs() as logs:
            for piece in sent:
                await client.sends(piece)
            if random.random() < 0.3:
                await client.ends()
            await client.waits(6)
        statuses = client.statuses()
        assert client.transport.is_closed, sent
        assert not logs, (sent, logs)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING], sent
        assert len(statuses) <= begun, (sent, statuses)
        assert all(200 <= status < 600 and status != 500 for status in statuses), (sent, statuses)
        if number % BATCH == BATCH - 1:
            caplog.clear()
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert (config.stats.open, config.stats.in_flight, len(state.connections), len(state.tasks)) == (0, 0, 0, 0)
    assert config.slow_clients._held == 0
    assert objects[-1] - objects[0] < 20_000, "the response cache may have grown, and nothing else"
