"""APIDEX_ACCESS_LOG: one event for each request, whoever answers it."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from apidex.server.access_log import PATH_LIMIT, trace_id
from fakes import file_of
from processes import HANG, Process, replica, wait_until
from server.test_server import connect, receive_all, request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def process(tmp_path) -> Iterator[Process]:
    names = ["Cat Facts", *(f"Wide {number}" for number in range(60_000))]
    with replica("--upstream", file_of(tmp_path, *names), APIDEX_ACCESS_LOG="on", APIDEX_ADMIN_PORT="0") as process:
        yield process


def logged(process: Process, count: int) -> list[dict]:
    wait_until(lambda: len(process.events("request.ended")) >= count, f"{count} requests are logged")
    return process.events("request.ended")


EXCHANGES = [
    (request("/Cat", "Connection: close"), "GET", "/Cat", 200),
    (request("/Cat?", "Connection: close"), "GET", "/Cat", 200),
    (request("/v1/search?q=cat", "Connection: close"), "GET", "/v1/search", 200),
    (b"HEAD /v1/catalogue HTTP/1.0\r\n\r\n", "HEAD", "/v1/catalogue", 200),
    (request("/" + "x" * 300, "Connection: close"), "GET", "/" + "x" * (PATH_LIMIT - 1), 400),
    (b"POST /Cat HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "POST", "/Cat", 405),
    (b"GET /Cat HTTP/1.1\r\n\r\n", "GET", "/Cat", 400),
    (b"GET /a HTTP/1.1\r\nbad header\r\n\r\n", None, "/a", 400),
    (b"nonsense\r\n\r\n", None, "", 400),
]


def test_every_request_is_one_event(process):
    for number, (sent, method, path, status) in enumerate(EXCHANGES, start=1):
        with connect(process) as connection:
            connection.sendall(sent)
            body = receive_all(connection).partition(b"\r\n\r\n")[2]
        events = logged(process, number)
        assert len(events) == number, sent[:40]
        event = events[-1]
        assert (event["method"], event["path"], event["status"]) == (method, path, status), sent[:40]
        assert event["bytes"] == len(body)
        assert 0 <= event["seconds"] < HANG
        assert (event["complete"], event["trace_id"], event["level"]) == (True, None, "info")
    httpx.get(f"{process.admin_url}/-/readyz", timeout=HANG)
    pipelined = [
        request("/Cat", f"traceparent: 00-{TRACE}-{PARENT}-01"),
        request("/v1/categories"),
        request("/nothing"),
    ]
    with connect(process) as connection:
        connection.sendall(b"".join(pipelined))
        last = logged(process, len(EXCHANGES) + 3)[len(EXCHANGES) :]
    assert [(event["path"], event["trace_id"]) for event in last] == [
        ("/Cat", TRACE),
        ("/v1/categories", None),
        ("/nothing", None),
    ]


def test_a_client_that_leaves_is_logged_with_what_it_was_sent(process):
    with socket.create_connection(("127.0.0.1", process.port), HANG) as connection:
        connection.sendall(request("/v1/entries"))
        connection.recv(1024)
    (event,) = logged(process, 1)
    assert (event["path"], event["status"], event["complete"]) == ("/v1/entries", 200, False)
    assert event["bytes"] > 0


class Unread(Process):
    reads_log = False


def test_a_reader_that_stalls_delays_no_answer(tmp_path):
    process = Unread("--upstream", file_of(tmp_path, "Cat"), APIDEX_ACCESS_LOG="on")
    try:
        with httpx.Client(base_url=process.url, timeout=HANG) as client:
            for _ in range(3000):
                assert client.get("/Cat").status_code == 200
            assert "\napidex_log_lines_lost_total 0.0" not in client.get("/-/metrics").text
        assert process.ends() == 0
    finally:
        process.is_killed()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-00", TRACE),
        (f"01-{TRACE}-{PARENT}-01-more", TRACE),
        (f"cc-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"01-{TRACE}-{PARENT}-01more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}", None),
        (f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01", None),
        ("", None),
    ],
)
def test_the_trace_id_is_that_of_a_valid_traceparent(value, expected):
    assert trace_id([(b"host", b"a"), (b"traceparent", value.encode())]) == expected
