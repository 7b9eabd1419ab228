"""A real process on the real catalogue answers what the few lines of a student would, for every name there is."""

import socket
from urllib.parse import quote, unquote

import httpx
import pytest

from processes import http_server, replica


def student(entries: list[dict], name: str) -> list[dict]:
    found = []
    for item in entries:
        if item["API"].find(name) != -1:
            found.append(item)  # noqa: PERF401 - as a student writes it
    return found


@pytest.fixture(scope="module")
def service(data):
    with http_server((data / "README.md").read_bytes()) as url, replica("--upstream", url) as process:
        yield process


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "Cat",
        "cat",
        "a",
        "Poké",
        "Songlink%20%2F%20Odesli",
        "health",
        "metrics",
        "docs",
        "%23",
        "nothing has this",
        "%E2%84%A2",
    ],
)
def test_a_path_answers_what_a_student_would(http, real_entries, path):
    assert http.get(f"/{path}").json() == student(real_entries, unquote(path))


def test_every_name_there_is_and_every_character_of_them(http, real_entries):
    names = {item["API"] for item in real_entries}
    assert len(names) == 1675
    for name in names | set("".join(names)):
        path = quote(name, safe="").replace(".", "%2E")  # clients take a plain . or .. for a folder
        assert http.get(f"/{path}").json() == student(real_entries, name), name


@pytest.mark.parametrize(
    "head", [b"GARBAGE\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"\0\1\r\n\r\n", "GET /é HTTP/1.1\r\n\r\n".encode()]
)
def test_what_is_no_request_gets_a_problem_document(service, head):
    with socket.create_connection(("127.0.0.1", service.port), 5) as connection:
        connection.sendall(head)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer
    assert b"percent-encoded" in answer
