"""The HTTP interface as a client meets it."""

import re
from datetime import datetime

import pytest

from apidex import __version__
from apidex.catalogue.entry import NAME_LIMIT
from apidex.http.probes import Probes
from conftest import client_of, refreshed, running_app
from fakes import FakeRedis, entry

EVERYWHERE = {
    "x-served-by": "replica-1",
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "*",
    "x-content-type-options": "nosniff",
}
V1 = [
    "/v1/search?q=cat",
    "/v1/suggest?q=cat",
    "/v1/categories",
    "/v1/entries",
    "/v1/entries?format=csv",
    "/v1/entries.csv",
]
READABLE = ["/Cat", "/", "/v1/catalogue", *V1, "/-/livez", "/-/readyz", "/-/docs", "/-/openapi.json"]
READABLE += ["/publicapis/entries", "/publicapis/categories", "/publicapis/health"]


async def test_a_search_answers_the_entries_whose_name_contains_it(client):
    response = await client.get("/Cat")
    assert response.headers["content-type"] == "application/json"
    assert [item["API"] for item in response.json()] == ["Cat Facts", "Cats"]
    assert list(response.json()[0]) == ["API", "Description", "Auth", "HTTPS", "Cors", "Link", "Category"]
    assert (await client.get("/cat")).json() == []


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/Songlink%20%2F%20Odesli", ["Songlink / Odesli"]),
        ("/%2F", ["Songlink / Odesli"]),
        ("/What's%20on%20the%20menu%3F", ["What's on the menu?"]),
        ("/Pok%C3%A9", ["Pokéapi"]),
        *((f"/{word}", []) for word in ("health", "metrics", "docs", "v1", "-", "openapi.json", "favicon.ico", "%23")),
    ],
)
async def test_nothing_hides_a_search(client, path, names):
    response = await client.get(path)
    assert response.status_code == 200
    assert [item["API"] for item in response.json()] == names


async def test_a_search_has_all_headers(client, clock):
    clock.passes(5)
    headers = (await client.get("/Cat")).headers
    assert EVERYWHERE.items() <= dict(headers).items()
    assert re.fullmatch(r'"[0-9a-f]{32}-[0-9.]+"', headers["etag"])
    assert headers["age"] == "5"
    assert headers["cache-control"] == "public, max-age=11760, stale-while-revalidate=300, stale-if-error=604800"
    assert headers["cache-status"] == "apidex; hit; ttl=11755"
    assert re.fullmatch(r"\d{13}-[0-9a-f]{12}", headers["catalogue-version"])


@pytest.mark.parametrize("is_embedded", [True, False])
async def test_redis_is_named_only_if_other_replicas_can_read_it(upstream, clock, is_embedded):
    """A replica without APIDEX_REDIS_URL has an embedded Redis, of which its user need not know."""
    redis = None if is_embedded else FakeRedis(clock)
    async with running_app(upstream, clock, redis) as app, client_of(app.asgi) as client:
        described, metrics = await client.get("/v1/catalogue"), (await client.get("/-/metrics")).text
    own = "apidex; hit; ttl=11760"
    assert described.headers["cache-status"] == (own if is_embedded else f"redis; hit; ttl=11760, {own}")
    assert described.json()["redis"]["shared"] is not is_embedded
    assert f"apidex_catalogue_shared {float(not is_embedded)}\n" in metrics


async def test_a_matching_etag_gets_a_304(client):
    first = await client.get("/Cat")
    again = await client.get("/Cat", headers={"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary", "catalogue-version", "x-served-by"):
        assert again.headers[name] == first.headers[name]


@pytest.mark.parametrize("path", READABLE)
async def test_head_has_the_headers_of_get(client, path):
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert dict(head.headers) == dict(got.headers)


@pytest.mark.parametrize("path", READABLE)
async def test_every_origin_may_read(client, path):
    response = await client.options(
        path, headers={"origin": "https://a.example", "access-control-request-method": "GET"}
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/" + "x" * (NAME_LIMIT + 1), 400),
        ("GET", "/a%00", 400),
        ("HEAD", "/a%1F", 400),
        ("GET", "/%C3", 400),
        ("POST", "/x", 405),
        ("DELETE", "/v1/catalogue", 405),
        ("PUT", "/", 405),
        ("GET", "/a/b", 404),
        ("GET", "/Cat/", 404),
        ("GET", "/v1/", 404),
        ("GET", "/-/nothing", 404),
        ("GET", "/-/docs/", 404),
        ("GET", "/-/openapi.json/", 404),
        ("POST", "/a/b", 404),
        ("OPTIONS", "/a/b", 404),
        ("GET", "/a%2Fb/c", 404),
    ],
)
async def test_a_wrong_request_gets_a_problem_document(client, method, path, status):
    response = await client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert EVERYWHERE.items() <= dict(response.headers).items()
    assert ("allow" in response.headers) is (status == 405)
    if method != "HEAD":
        assert response.json()["status"] == status
        assert response.json()["detail"].endswith(".")


async def test_a_name_that_is_too_long_gets_the_limit(client):
    assert (await client.get("/" + "x" * 300)).json()["limit"] == NAME_LIMIT


async def test_an_internal_error_is_a_problem_document_without_details(client, app, monkeypatch):
    monkeypatch.setattr(type(app.replica.refresher), "next_refresh_in", lambda self: 1 / 0)
    response = await client.get("/v1/catalogue")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "Zero" not in response.text


async def test_the_catalogue_is_described(client, upstream, clock):
    clock.passes(2)
    view = (await client.get("/v1/catalogue")).json()
    assert view["version"] == f"{view['stamp']}-{view['digest'][:12]}"
    assert (view["state"], view["age"], view["max_age"]) == ("fresh", 2.0, 11760.0)
    assert (view["entries"], view["categories"], view["rows"]) == (6, 1, 6)
    assert view["source"] == view["upstream"]["url"] == upstream.source
    assert view["upstream"]["refreshes"] == {"changed": 1}
    assert view["redis"]["publications"] == {"published": 1}
    assert (view["redis"]["reachable"], view["redis"]["shared"]) == (True, False)
    assert view["checked_at"].endswith("Z")


async def test_an_issue_of_many_rows_is_described_once(upstream, clock):
    upstream.has(*(entry(f"Cat {number}", cors="maybe" if number % 4 else "perhaps") for number in range(300)))
    async with running_app(upstream, clock) as app, client_of(app.asgi) as client:
        repaired = (await client.get("/v1/catalogue")).json()["repaired"]
    assert repaired["total"] == 300
    assert [(each["row"], each["name"], each["reason"], each["count"]) for each in repaired["first"]] == [
        (1, "Cat 0", "CORS 'perhaps' became 'unknown'", 50),
        (2, "Cat 1", "CORS 'maybe' became 'unknown'", 150),
    ]


async def test_a_rejected_catalogue_is_described(client, upstream, app):
    upstream.sends(b"<!doctype html>Bad gateway")
    await refreshed(app)
    view = (await client.get("/v1/catalogue")).json()["upstream"]
    assert view["failures"] == {"format": 1}
    assert view["failed_in_a_row"] == 1
    assert view["last_failure"]["reason"] == "format"
    assert "HTML page" in view["last_failure"]["detail"]


async def test_the_starter_catalogue_is_reported_as_bundled(upstream, clock):
    upstream.goes_down()
    async with running_app(upstream, clock) as app, client_of(app.asgi) as client:
        assert (await client.get("/v1/catalogue")).json()["state"] == "bundled"
        response = await client.get("/GitHub")
        assert response.json()
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["cache-status"] == "apidex; hit; detail=bundled"
        found = (await client.get("/publicapis/entries?title=github")).json()["entries"]
        assert "GitHub" in [item["API"] for item in found]


async def test_a_draining_replica_is_alive_but_not_ready_whatever_its_upstream_does(client, app, upstream):
    upstream.goes_down()
    asked = len(upstream.asked)
    assert (await client.get("/-/readyz")).status_code == 200
    app.replica.draining = True
    response = await client.get("/-/readyz")
    assert (response.status_code, response.json()["status"]) == (503, 503)
    assert (await client.get("/-/livez")).status_code == 200
    assert (await client.get("/Cat")).status_code == 200
    assert len(upstream.asked) == asked, "probes do not fetch"


@pytest.mark.parametrize("redis_is_there", [True, False])
async def test_a_replica_that_was_held_up_is_unready_until_it_has_polled(upstream, clock, redis_is_there):
    redis = FakeRedis(clock)
    async with running_app(upstream, clock, redis) as app, client_of(app.asgi) as client:
        probe, refresher = Probes(app.replica), app.replica.refresher
        refresher.supervision.poll_scheduled(5)
        for passed, status in ((5, 200), (1.5, 503)):
            clock.passes(passed)
            ready = await client.get("/-/readyz")
            fast_status, _, body = probe.respond_sync(b"/-/readyz")
            assert (ready.status_code, ready.content) == (fast_status, body) == (status, ready.content)
            assert (await client.get("/-/livez")).status_code == 200
        if not redis_is_there:
            redis.goes_down()
        await refresher.turn()
        assert (await client.get("/-/readyz")).status_code == 200


async def test_a_replica_whose_refresh_task_has_stopped_shows_it_and_is_not_alive(client, app, clock):
    probe, stopped_at = Probes(app.replica), (await client.get("/v1/catalogue")).json()["last_turn_at"]
    for hours, status in ((1, 200), (39, 503), (40, 503)):  # a poll takes an hour here
        clock.passes(hours * 3600)
        live = await client.get("/-/livez")
        fast_status, headers, body = probe.respond_sync(b"/-/livez")
        assert (live.status_code, live.content) == (fast_status, body) == (status, live.content)
        assert f"content-type: {live.headers['content-type']}\r\n".encode() in headers
        assert (await client.get("/-/readyz")).status_code == 200
        assert (await client.get("/v1/catalogue")).json()["last_turn_at"] == stopped_at
    metric = r"^apidex_refresh_last_turn_timestamp_seconds (\S+)$"
    shown = re.search(metric, (await client.get("/-/metrics")).text, re.MULTILINE)[1]
    assert float(shown) == datetime.fromisoformat(stopped_at).timestamp()
    await app.replica.refresher.turn()
    assert (await client.get("/-/livez")).status_code == 200


async def test_the_docs_page_loads_nothing(client):
    response = await client.get("/-/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert not re.findall(r"<(?:script|link|img|iframe|object)\b|@import|url\(|\bsrc=", response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    for path in ("/{name}", "/v1/catalogue", "/-/readyz"):
        assert path in response.text
    assert "<a href='../v1/search?q=open+weather'>/v1/search?q=open+weather</a>" in response.text
    assert "href='../v1/changes'" not in response.text  # an error without a version
    assert "<td>integer, 1 to 100; 20 if left out<td>" in response.text
    assert "<td>yes, no, unknown; may be repeated<td>" in response.text
    assert "<code>since</code><td>query<td>string; required<td>" in response.text
    assert "<code>Cors</code><td>yes, no, unknown<td>" in response.text
    assert "<code>highlights</code><td>list of [integer, integer]<td>" in response.text


@pytest.mark.parametrize("path", ["/", "/-/docs", "/-/openapi.json", "/v1/search?limit=1"])
async def test_no_response_depends_on_the_host_that_a_client_sends(client, path):
    responses = [await client.get(path, headers={"host": host}) for host in ("apidex", "evil.example", "x:99999999")]
    assert len({response.content for response in responses}) == 1
    assert len({response.headers.get("link") for response in responses}) == 1


@pytest.mark.parametrize("path", ["/Cat", "/v1/search?q=cat", "/v1/entries", "/v1/catalogue", "/publicapis/entries"])
async def test_releases_never_share_an_etag(client, path):
    """The same catalogue may be answered with other bytes by another release."""
    assert f"-{__version__}" in (await client.get(path)).headers["etag"]


async def test_several_lines_of_a_header_are_one_list(client):
    for path in ("/Cat", "/v1/catalogue"):
        tag = (await client.get(path)).headers["etag"]
        headers = [("if-none-match", '"x"'), ("if-none-match", tag)]
        assert (await client.get(path, headers=headers)).status_code == 304
