"""Two replicas behind nginx: whatever one client sends, another gets the answers to its own requests."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from loadtest.system import free_port

from processes import HANG, Process, replica, wait_until
from real.nginx import nginx_command
from victims import expected_bodies, wrong_answers

pytestmark = pytest.mark.real

HTTP = """
    proxy_cache_path {folder}/cache keys_zone=shared:1m;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream replicas {{ {servers} keepalive 4; }}
"""
SERVER = """
    location / {{
        proxy_pass http://replicas;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        {more}
    }}
"""
"""As nginx's own documentation has it for websockets, with connections to the replicas that are shared and kept."""


@pytest.fixture(scope="module")
def replicas(data) -> Iterator[list[Process]]:
    upstream = ("--upstream", (data / "entries.json").as_uri())
    with replica(*upstream) as one, replica(*upstream) as other:
        for process in (one, other):
            process.until(lambda catalogue: catalogue["state"] == "fresh")
        yield [one, other]


STREAMED = "proxy_request_buffering off; "


@pytest.fixture(
    params=["", STREAMED, STREAMED + "proxy_cache shared; proxy_cache_valid 200 1h;"],
    ids=["whole bodies", "streamed bodies", "a shared cache"],
)
def nginx(replicas, tmp_path, request) -> Iterator[int]:
    """Its port."""
    port, servers = free_port(), " ".join(f"server 127.0.0.1:{process.port};" for process in replicas)
    http, server = HTTP.format(folder=tmp_path, servers=servers), SERVER.format(more=request.param)
    with subprocess.Popen(nginx_command(tmp_path, port, server, http=http)) as process:
        try:
            wait_until(lambda: answers(port), "nginx answers")
            yield port
        finally:
            process.terminate()
            process.wait(HANG)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/readyz", timeout=HANG).is_success
    except httpx.TransportError:
        return False


def test_each_client_gets_the_answers_to_its_own_requests(nginx, replicas, real_entries):
    expected = expected_bodies(replicas[0].url, [entry["API"] for entry in real_entries])
    assert wrong_answers(nginx, expected) == []
