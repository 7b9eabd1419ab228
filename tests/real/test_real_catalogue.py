"""A real process on the real catalogue answers what a plain loop over all entries finds."""

import socket
from urllib.parse import quote, unquote

import httpx
import pytest

from processes import replica
from upstream_server import http_server


@pytest.fixture(scope="module")
def service(data):
    with http_server((data / "README.md").read_bytes()) as url, replica("--upstream", url) as process:
        yield process


PATHS = [
    "Cat",
    "cat",
    "a",
    "Poké",
    "Songlink%20%2F%20Odesli",
    "health",
    "metrics",
    "docs",
    "%23",
    "not a name",
    "%E2%84%A2",
]


def test_every_name_every_character_and_some_other_paths_find_what_a_plain_loop_finds(service, real_entries):
    names = {item["API"] for item in real_entries}
    assert len(names) == 1675
    # clients take a plain . or .. for a folder
    paths = [*PATHS, *(quote(name, safe="").replace(".", "%2E") for name in names | set("".join(names)))]
    with httpx.Client(base_url=service.url) as client:
        for path in paths:
            expected = [item for item in real_entries if unquote(path) in item["API"]]
            assert client.get(f"/{path}").json() == expected, path


@pytest.mark.parametrize(
    "head", [b"GARBAGE\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"\0\1\r\n\r\n", "GET /é HTTP/1.1\r\n\r\n".encode()]
)
def test_a_malformed_request_gets_a_problem_document(service, head):
    with socket.create_connection(("127.0.0.1", service.port), 5) as connection:
        connection.sendall(head)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer
    assert b"percent-encoded" in answer
