"""The fast path and Litestar's handler give the same bytes, and those of a naive scan."""

import asyncio
import gc
import gzip
import weakref
from dataclasses import replace
from itertools import cycle
from urllib.parse import quote, unquote

import httpx
import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from apidex.catalogue.catalogue import Catalogue
from apidex.http.content_encoding import STREAM_ABOVE_BYTES
from apidex.indexing.builder import from_upstream
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Snapshot, SnapshotHistory
from conftest import client_of, refreshed, running_app
from fakes import FakeClock, FakeUpstream, entry, publicapis
from processes import replica

NAMES = [
    "Cat Facts",
    "Cats",
    "Cats",
    "Songlink / Odesli",
    "What's on the menu?",
    "Pokéapi",
    "İBB 🎉",
    "100% & <b>",
    "a" * 256,
]
NAMES += [f"Filler {number} with a longer name" for number in range(40)]

cuts = st.tuples(st.integers(0, 255), st.integers(1, 12))
pieces = st.builds(lambda whole, cut: whole[cut[0] % len(whole) :][: cut[1]], st.sampled_from(NAMES), cuts)
name = pieces | st.text(min_size=1, max_size=300)
raw_byte = st.integers(1, 255).map(lambda byte: f"%{byte:02X}")
path = name.map(lambda text: "/" + "".join(f"%{b:02x}" for b in text.encode("utf-8", "replace"))) | st.lists(
    raw_byte, min_size=1, max_size=5
).map(lambda parts: "/" + "".join(parts))
headers = st.fixed_dictionaries(
    {},
    optional={
        "accept-encoding": st.sampled_from(["gzip", "zstd", "gzip, zstd;q=0.5", "identity", "*", "br", "zstd;q=0, *"]),
        "if-none-match": st.sampled_from(["*", '"x"', "ETAG", 'W/ETAG, "y"']),
        "if-match": st.sampled_from(["*", '"x"', "ETAG", 'W/ETAG, "y"', '"y", ETAG', "ETAG-gzip"]),
    },
)


async def responses(method: str, path: str, headers: dict) -> list:
    """From the fast path, from its cache, and from Litestar."""
    found = []
    async with running_app(FakeUpstream(*NAMES), FakeClock()) as app:
        for asgi in (app.asgi, app.asgi, app.without_fast_path):
            async with client_of(asgi) as client:
                unconditional = {name: value for name, value in headers.items() if not name.startswith("if-")}
                etag = (await client.get("/Cat", headers=unconditional)).headers["etag"]
                headers = {name: value.replace("ETAG", etag) for name, value in headers.items()}
                async with client.stream(method, path, headers=headers) as response:
                    raw = b"".join([chunk async for chunk in response.aiter_raw()])
                found.append((response.status_code, sorted(response.headers.multi_items()), raw))
    return found


@given(method=st.sampled_from(["GET", "GET", "HEAD"]), path=path, headers=headers)
def test_the_fast_path_litestar_and_a_naive_scan_agree(method, path, headers):
    first, again, litestar = asyncio.run(responses(method, path, dict(headers)))
    assert first == litestar
    assert again == litestar
    status, _, raw = litestar
    if status == 200 and method == "GET":
        found = [item["API"] for item in msgspec.json.decode(decoded(litestar))]
        assert found == [candidate for candidate in NAMES if unquote(path[1:]) in candidate]
    elif method == "HEAD":
        assert raw == b""


def test_a_process_with_the_real_catalogue_and_a_naive_scan_agree(data, real_entries):
    names = {entry["API"] for entry in real_entries}
    assert len(names) == 1675
    url = (data / "README.md").as_uri()
    with replica("--upstream", url) as process, httpx.Client(base_url=process.url) as client:
        for text in [*names, *{*"".join(names)}, "Cat", "cat", "Poké", "health", "metrics", "docs", "#", "not a name"]:
            path = quote(text, safe="").replace(".", "%2E")  # clients take a plain . or .. for a folder
            assert client.get(f"/{path}").json() == [entry for entry in real_entries if text in entry["API"]], text


def decoded(response) -> bytes:
    _, headers, raw = response
    encoding = dict(headers).get("content-encoding")
    if encoding == "gzip":
        return gzip.decompress(raw)
    return zstandard.ZstdDecompressor().decompress(raw) if encoding == "zstd" else raw


@pytest.mark.parametrize(("encoding", "is_used"), [("gzip", True), ("zstd", True), ("identity", False)])
async def test_a_long_response_is_compressed_and_has_its_own_etag(upstream, encoding, is_used):
    upstream.has(*NAMES)
    async with running_app(upstream, FakeClock()) as app, client_of(app.asgi) as client:
        plain = await client.get("/Filler", headers={"accept-encoding": "identity"})
        response = await client.get("/Filler", headers={"accept-encoding": encoding})
        assert (response.headers.get("content-encoding") == encoding) is is_used
        assert (response.headers["etag"] != plain.headers["etag"]) is is_used
        assert response.headers["vary"] == "accept-encoding"
        short = await client.get("/Cats", headers={"accept-encoding": encoding})
        assert "content-encoding" not in short.headers


async def test_a_wide_response_is_joined_only_piece_by_piece(upstream, monkeypatch):
    """Two thousand entries can have 200 MB, which are copied in more time than a request may hold the event loop."""
    upstream.has(*(entry(f"Wide {number}", description="d" * 4000) for number in range(300)), "Narrow")
    sizes, select = [], Catalogue.select
    monkeypatch.setattr(Catalogue, "select", lambda *given: [found := select(*given), sizes.append(len(found))][0])
    async with running_app(upstream, FakeClock()) as app, client_of(app.asgi) as client:
        for name, count in (("Wide", 300), ("Wide 1", 111), ("Narrow", 1)):
            assert len((await client.get(f"/{name}")).json()) == count
    assert max(sizes) <= STREAM_ABOVE_BYTES


async def test_the_etag_depends_on_the_catalogue_and_not_on_the_replica_or_the_time(upstream):
    etags = set()
    for seconds in (0, 1000):
        clock = FakeClock()
        clock.passes(seconds)
        async with running_app(upstream, clock, served_by=f"replica-{seconds}") as app, client_of(app.asgi) as client:
            etags.add((await client.get("/Cat")).headers["etag"])
    assert len(etags) == 1


async def test_a_new_catalogue_is_searched_at_once_and_invalidates_old_etags(client, upstream, app):
    before = await client.get("/Cat")
    upstream.has("Catamaran", "Dogs", "Birds")
    await refreshed(app)
    after = await client.get("/Cat", headers={"if-none-match": before.headers["etag"]})
    assert [item["API"] for item in after.json()] == ["Catamaran"]
    assert after.headers["catalogue-version"] > before.headers["catalogue-version"]
    assert after.headers["etag"] != before.headers["etag"]


async def test_a_replaced_catalogue_is_freed_without_another_search(client, upstream, app):
    await client.get("/Cat")
    activation = app.replica.refresher.activation
    activation.history = SnapshotHistory(0)
    before = weakref.ref(activation.current.search.facets)
    upstream.has("Catamaran", "Dogs", "Birds")
    await refreshed(app)
    gc.collect()
    assert before() is None


async def test_a_cached_response_has_the_present_age(client, clock):
    assert (await client.get("/Cat")).headers["age"] == "0"
    clock.passes(61.5)
    response = await client.get("/Cat")
    assert response.headers["age"] == "61"
    assert response.headers["cache-status"] == "apidex; hit; ttl=11699"
    assert (await client.get("/Cat", headers={"if-none-match": response.headers["etag"]})).headers["age"] == "61"


async def test_an_internal_error_is_a_problem_document_and_logged(client, app, capsys):
    activation = app.replica.refresher.activation
    activation.current = replace(activation.current, index=None)
    response = await client.get("/Cat")
    assert response.status_code == 500
    assert response.json()["detail"] == "Internal error in Apidex. Its log has the details."
    assert "request.broken" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/Cat", "/v1/search?q=cat", "/v1/catalogue"])
async def test_a_busy_event_loop_activates_in_time_without_its_timer(client, app, clock, path):
    activation, versions = app.replica.refresher.activation, []
    await client.get("/Cat")
    activation.accept(replace(activation.current, stamp=activation.current.stamp + 1), clock.steady() + 1.5)
    for seconds in (0, 1.4, 0.1):
        clock.passes(seconds)
        versions.append((await client.get(path)).headers["catalogue-version"])
    assert versions[0] == versions[1] != versions[2] == activation.current.version


FROM_THE_CATALOGUE = [
    "/Cat",
    "/v1/search?q=cat",
    "/v1/suggest?q=cat",
    "/v1/categories",
    "/v1/entries",
    "/v1/catalogue",
    "/publicapis/entries",
    "/publicapis/random",
    "/publicapis/categories",
]


@pytest.mark.parametrize("path", FROM_THE_CATALOGUE)
async def test_a_response_is_from_one_catalogue_though_another_is_activated_meanwhile(clock, monkeypatch, path):
    """A handler that reads the current snapshot twice may get two: whichever it reads, it gets the other one next."""
    async with running_app(FakeUpstream("Cat Facts"), clock) as app, client_of(app.without_fast_path) as client:
        refresher = app.replica.refresher
        built = from_upstream(publicapis(entry("Cat Pictures", category="Photography")))
        new = Snapshot.of(built, refresher.current.stamp + 1, "upstream", clock.steady() - 10**6)
        snapshots = [refresher.current, replace(new, shared=not refresher.current.shared)]
        bodies = {}
        for snapshot in snapshots:
            monkeypatch.setattr(Refresher, "current", snapshot)
            bodies[snapshot.version] = (await client.get(path)).content
        assert len({*bodies.values()}) == 2
        for order in (snapshots, snapshots[::-1]):
            app.replica.responses.clear()
            turns = cycle(order)
            monkeypatch.setattr(Refresher, "current", property(lambda _, turns=turns: next(turns)))
            response = await client.get(path)
            assert response.content == bodies[response.headers["catalogue-version"]]
