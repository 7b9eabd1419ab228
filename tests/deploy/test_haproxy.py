"""HAProxy 3.0 with our configuration, before two replicas that a test plays: what reaches them, how often, and what does not."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from loadtest.system import free_port

from deploy.rendering import needs
from loadtest import haproxy as front
from played_replica import PlayedReplica, played, respond
from processes import HANG, replica
from victims import expected_bodies, wrong_answers

pytestmark = pytest.mark.real


def close(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with suppress(OSError):  # HAProxy may have closed it
        handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)
    close(handler)


@contextmanager
def haproxy(folder: Path, *ports: int, **environ: str) -> Iterator[str]:
    """HAProxy 3.0 before replicas on *ports* of this machine, with *environ*; its URL."""
    needs("docker")
    with front.haproxy(folder, *ports, environ=environ) as port:
        yield f"http://127.0.0.1:{port}"


def seen(replicas: list[PlayedReplica]) -> int:
    return sum(len(one.heads) for one in replicas)


@pytest.mark.parametrize(
    ("behaviour", "method", "status"),
    [pytest.param(respond(503), "GET", 503, id="shed"), pytest.param(close, "POST", 502, id="unsafe")],
)
def test_what_may_have_been_seen_is_not_sent_again(tmp_path, behaviour, method, status):
    with (
        played(behaviour, behaviour) as replicas,
        haproxy(tmp_path, *(one.port for one in replicas), APIDEX_RESPONSE_TIMEOUT="1s") as url,
    ):
        assert httpx.request(method, f"{url}/Cat", timeout=HANG).status_code == status
        time.sleep(0.5)
        assert seen(replicas) == 1


def test_what_one_replica_did_not_answer_another_does(tmp_path):
    with played(close, respond(200)) as replicas, haproxy(tmp_path, *(one.port for one in replicas)) as url:
        assert [httpx.get(f"{url}/Cat", timeout=HANG).status_code for _ in range(10)] == [200] * 10
        assert len(replicas[0].heads) >= 4
        assert seen(replicas) == 10 + len(replicas[0].heads)


@pytest.mark.parametrize(("behaviour", "status"), [(close, 502), (hang, 504)], ids=["closed", "hanging"])
def test_a_request_that_is_never_answered_is_tried_thirteen_times(tmp_path, behaviour, status):
    with (
        played(behaviour, behaviour) as replicas,
        haproxy(tmp_path, *(one.port for one in replicas), APIDEX_RESPONSE_TIMEOUT="1s") as url,
    ):
        assert refused(httpx.get(f"{url}/Cat", timeout=HANG)) == status
        assert seen(replicas) == 13


def test_a_replica_that_is_gone_is_not_noticed(tmp_path):
    with played(respond(200)) as replicas, haproxy(tmp_path, replicas[0].port, free_port()) as url:
        assert [httpx.get(f"{url}/Cat", timeout=HANG).status_code for _ in range(10)] == [200] * 10


def test_where_none_is_there_a_request_is_held_until_one_is(tmp_path):
    ports = [free_port() for _ in range(4)]
    with haproxy(tmp_path, *ports) as url:
        late: list[PlayedReplica] = []
        timer = threading.Timer(4, lambda: late.append(PlayedReplica(respond(200), ports[2])))
        timer.start()
        began = time.monotonic()
        status = httpx.get(f"{url}/Cat", timeout=HANG).status_code
        print(f"\nheld for {time.monotonic() - began:.1f} s")
        timer.join()
        late[0].close()
    assert status == 200


def test_a_request_is_held_too_by_replicas_that_start_slowly(tmp_path):
    tries = iter(range(240))  # six for each request: the first ones may come before HAProxy knows that none is ready

    def hang_at_first(handler: BaseHTTPRequestHandler) -> None:
        (respond(200) if next(tries, None) is None else hang)(handler)

    with (
        played(hang_at_first, hang_at_first, ready=False) as replicas,
        haproxy(tmp_path, *(one.port for one in replicas), APIDEX_RESPONSE_TIMEOUT="1s") as url,
        ThreadPoolExecutor(40) as clients,
    ):
        statuses = Counter(clients.map(lambda _: httpx.get(f"{url}/Cat", timeout=HANG).status_code, range(40)))
    assert statuses == {200: 40}
    assert seen(replicas) == 280


def refused(response: httpx.Response) -> int:
    """The status of an error of HAProxy itself, which has the form of a replica's."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == "*"
    if response.request.method != "HEAD":
        problem = response.json()
        assert problem.keys() == {"title", "status", "detail"}
        assert problem["status"] == response.status_code
    return response.status_code


def test_upgrades_and_large_bodies_are_not_forwarded(tmp_path):
    with played(respond(200)) as replicas, haproxy(tmp_path, replicas[0].port) as url:
        upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}
        assert httpx.post(f"{url}/Cat", headers=upgrade, content=b"1234", timeout=HANG).status_code == 200
        assert "upgrade" not in replicas[0].heads[0]
        assert "http2-settings" not in replicas[0].heads[0]
        for method in ("GET", "HEAD", "POST"):
            assert httpx.request(method, f"{url}/Cat", content=b"x" * 65536, timeout=HANG).status_code == 200
            assert refused(httpx.request(method, f"{url}/Cat", content=b"x" * 65537, timeout=HANG)) == 413
            chunks = iter([b"x"])
            assert refused(httpx.request(method, f"{url}/Cat", content=chunks, timeout=HANG)) == 411
        assert seen(replicas) == 4


def test_a_client_may_be_limited(tmp_path):
    with played(respond(200)) as replicas, haproxy(tmp_path, replicas[0].port, APIDEX_CLIENT_RATE="5") as url:
        responses = [httpx.get(f"{url}/Cat", timeout=HANG) for _ in range(7)]
    assert [response.status_code for response in responses] == [200] * 5 + [429] * 2
    assert refused(responses[-1]) == 429
    assert responses[-1].headers["retry-after"] == "10"
    assert responses[-1].headers["access-control-expose-headers"] == "*"  # also to pages of other origins


def test_each_client_gets_the_answers_to_its_own_requests(tmp_path, data, real_entries):
    upstream = ("--upstream", (data / "entries.json").as_uri())
    with replica(*upstream) as one, replica(*upstream) as other, haproxy(tmp_path, one.port, other.port) as url:
        expected = expected_bodies(one.url, [entry["API"] for entry in real_entries])
        assert wrong_answers(httpx.URL(url).port, expected) == []
