"""Replicas behind nginx: whatever one client sends, another gets the answers to its own requests; and under a path prefix."""

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from loadtest.system import free_port

from processes import HANG, Process, apidex, replica
from real.nginx import prefixed, running
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
    with running(tmp_path, port, server, http):
        yield port


def test_each_client_gets_the_answers_to_its_own_requests(nginx, replicas, real_entries):
    expected = expected_bodies(replicas[0].url, [entry["API"] for entry in real_entries])
    assert wrong_answers(nginx, expected) == []


@pytest.fixture
def under_a_prefix(replicas, tmp_path) -> Iterator[tuple[str, httpx.Client]]:
    """The URL of a replica behind TLS and a prefix that it does not know of, and a client that trusts the certificate."""
    with prefixed(tmp_path, replicas[0].port) as (url, certificate):
        context = ssl.create_default_context(cafile=certificate)
        with httpx.Client(verify=context, timeout=HANG, headers={"accept": "application/json"}) as client:
            yield url, client


def followed(client: httpx.Client, response: httpx.Response, reference: str) -> httpx.Response:
    """The answer at a *reference* of *response*, as RFC 3986, section 5 resolves it."""
    url = response.url.join(reference)
    assert url.path.startswith("/apis/"), f"{reference} leaves the prefix"
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer


def test_under_a_prefix_the_index_leads_to_everything(under_a_prefix):
    url, client = under_a_prefix
    index = client.get(f"{url}/")
    found = index.json()
    for member in ("catalogue", "example", "docs", "openapi"):
        followed(client, index, found[member])
    name = "Songlink%20%2F%20Odesli"
    assert followed(client, index, found["search"].format(name=name)).json()[0]["API"] == "Songlink / Odesli"


def test_under_a_prefix_pages_lead_to_each_other(under_a_prefix):
    url, client = under_a_prefix
    page = client.get(f"{url}/v1/search?q=weather&limit=3")
    names = [hit["entry"]["API"] for hit in page.json()["hits"]]
    while following := page.links.get("next"):
        page = followed(client, page, following["url"])
        names += [hit["entry"]["API"] for hit in page.json()["hits"]]
    everything = client.get(f"{url}/v1/search?q=weather&limit=100").json()
    assert names == [hit["entry"]["API"] for hit in everything["hits"]]
    assert len(names) == everything["total"] > 9


def test_under_a_prefix_the_documentation_leads_to_every_example(under_a_prefix):
    url, client = under_a_prefix
    docs = client.get(f"{url}/-/docs")
    examples = [each for each in re.findall(r"href='([^']+)'", docs.text) if not each.startswith("#")]
    for example in examples:
        followed(client, docs, example)
    document = followed(client, docs, "openapi.json")
    (server,) = document.json()["servers"]
    base = document.url.join(server["url"])
    assert str(base).rstrip("/") == url
    assert len(examples) == len(
        document.json()["paths"]
    )  # without /v1/changes, which needs a version, and with the document


def test_under_a_prefix_the_command_line_finds_what_it_finds_without(under_a_prefix, replicas, tmp_path):
    url, _ = under_a_prefix
    environ = os.environ | {"SSL_CERT_FILE": str(tmp_path / "server.crt")}
    search = ("search", "weather", "--format", "names", "--url")
    found = [apidex(*search, each, env=environ) for each in (url, f"{url}/", replicas[0].url)]
    assert {run.returncode for run in found} == {0}, found
    assert len({run.stdout for run in found}) == 1


@pytest.mark.parametrize("name", ["Cat Facts", "Songlink / Odesli", ".", "%2F", "Pok\u00e9"])
def test_a_proxy_that_decodes_paths_does_not_change_what_the_command_line_finds(replicas, tmp_path, name):
    """As nginx does with a URI in `proxy_pass`."""
    port, url = free_port(), replicas[0].url
    search = ("search", name, "--exact", "--json", "--url")
    with running(tmp_path, port, f"location /apis/ {{ proxy_pass {url}/; }}"):
        behind = apidex(*search, f"http://127.0.0.1:{port}/apis")
    direct = apidex(*search, url)
    assert direct.returncode in (0, 1), direct.stderr
    assert (behind.returncode, behind.stdout) == (direct.returncode, direct.stdout), behind.stderr


def test_under_a_prefix_an_answer_is_not_complete_if_its_replica_is_killed_meanwhile(tmp_path, real_entries):
    """Answers that nginx requests by HTTP/1.0 end with their connection, however it ends."""
    upstream = tmp_path / "long.json"
    long = [entry | {"API": f"{n} {entry['API']}"} for n in range(6) for entry in real_entries]
    upstream.write_text(json.dumps(long))
    with replica("--upstream", upstream.as_uri()) as one, prefixed(tmp_path, one.port) as (url, certificate):
        context = ssl.create_default_context(cafile=certificate)
        small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)]  # so that most of the answer is not sent yet
        transport = httpx.HTTPTransport(verify=context, socket_options=small)
        with (
            httpx.Client(transport=transport, timeout=HANG, headers={"accept-encoding": "identity"}) as client,
            client.stream("GET", f"{url}/v1/entries") as response,
        ):
            assert response.status_code == 200
            one.popen.kill()
            with pytest.raises(httpx.RemoteProtocolError):
                response.read()
