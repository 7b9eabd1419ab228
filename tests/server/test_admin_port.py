"""APIDEX_ADMIN_PORT: probes and metrics on a port of their own, which answers while the other one drains or is overloaded."""

import signal
import socket
from collections.abc import Iterator

import httpx
import pytest
from loadtest.system import listens

from fakes import file_of
from processes import HANG, Process, wait_until
from server.test_server import connect, receive_all, rush, statuses

ADMIN_PATHS = ("/-/livez", "/-/readyz", "/-/metrics")


def get(url: str, path: str = "") -> httpx.Response:
    return httpx.get(f"{url}{path}", timeout=HANG)


@pytest.fixture
def process(tmp_path) -> Iterator[Process]:
    upstream = file_of(tmp_path, "Cat Facts")
    settings = {"APIDEX_ADMIN_PORT": "0", "APIDEX_DRAIN_SECONDS": "600", "APIDEX_MAX_CONNECTIONS": "16"}
    settings["APIDEX_REQUEST_TIMEOUT_SECONDS"] = "600"
    process = Process("--upstream", upstream, **settings, APIDEX_MAX_IN_FLIGHT="1")
    yield process
    process.is_killed()


def test_each_port_answers_its_own_paths_and_no_others(process):
    for path in ADMIN_PATHS:
        for asked in (path, f"{path}?", f"{path}?a=b"):
            assert get(process.admin_url, asked).status_code == 200, asked
            elsewhere = get(process.url, asked)
            assert (elsewhere.status_code, "The admin port does." in elsewhere.json()["detail"]) == (404, True), asked
        assert httpx.head(process.url + path, timeout=HANG).status_code == 404
    for path in ("/", "/Cat", "/v1/catalogue", "/publicapis/health", "/-/docs", "/-/openapi.json"):
        assert get(process.admin_url, path).status_code == 404, path
        assert get(process.url, path).status_code == 200, path
    assert not {*ADMIN_PATHS} & get(process.url, "/-/openapi.json").json()["paths"].keys()
    assert "This port answers /-/livez" in get(process.admin_url, "/Cat").json()["detail"]


def test_its_requests_are_counted_but_not_as_connections_of_clients(process):
    with httpx.Client(base_url=process.admin_url, timeout=HANG) as client:
        client.get("/-/readyz")
        text = client.get("/-/metrics").text
    assert 'apidex_requests_total{route="/-/readyz",status="200"} 1.0' in text
    assert 'apidex_requests_total{route="/-/livez",status="503"} 0.0' in text, "series exist before the first request"
    assert "apidex_connections 0.0" in text


def test_it_answers_while_the_other_one_has_more_than_it_can(process):
    found = statuses(rush(process, [f"/Cat?{number}" for number in range(16)]))
    assert set(found) == {200, 503}
    connections = [connect(process) for _ in range(16)]
    assert probed(process) == [200] * 3
    for connection in connections:
        connection.close()


def probed(process: Process) -> list[int]:
    return [get(process.admin_url, path).status_code for path in ADMIN_PATHS]


def test_it_answers_while_the_other_one_drains(process):
    assert probed(process) == [200] * 3
    process.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: probed(process) == [200, 503, 200], "the replica is ready")
    assert get(process.url, "/Cat").headers["connection"] == "close"


def test_it_answers_until_the_last_request_is_answered(process):
    with connect(process) as slow:
        slow.sendall(b"GET /Cat HTTP/1.1\r\n")
        process.popen.send_signal(signal.SIGINT)  # closes the listener without a drain
        wait_until(lambda: not listens(process.port), "the listener is open")
        assert probed(process) == [200, 503, 200]
        slow.sendall(b"Host: a\r\n\r\n")
        assert receive_all(slow).startswith(b"HTTP/1.1 200 ")
    assert process.popen.wait(HANG) == 0


def test_no_client_of_it_delays_the_end(process):
    """A connection without a request, and one with an incomplete one, would stay for the request time-out."""
    address = httpx.URL(process.admin_url)
    with socket.create_connection((address.host, address.port), HANG) as silent, connect(process):
        silent.sendall(b"GET /-/livez HTTP/1.1\r\n")
        silent_too = socket.create_connection((address.host, address.port), HANG)
        get(process.admin_url, "/-/livez")
        assert process.ends(signal.SIGINT) == 0
        assert receive_all(silent) == receive_all(silent_too) == b""
        silent_too.close()


def test_a_port_that_is_taken_is_named_by_its_variable(process, tmp_path):
    port = process.admin_url.rpartition(":")[2]
    with pytest.raises(AssertionError, match=f"APIDEX_ADMIN_PORT={port}: address already in use; allowed is"):
        Process("--upstream", file_of(tmp_path, "Cat"), APIDEX_ADMIN_PORT=port)
