"""Searching over HTTP: `/v1/search`, `suggest`, `categories`, `entries` and `changes`, as a client meets them."""

import asyncio
import csv
import io

import httpx
import msgspec
import pytest

from apidex.catalogue.diff import compare
from apidex.http.routes import search
from apidex.replication.snapshot import HISTORY_COUNT
from apidex.search.filters import FILTERS
from conftest import client_of, refreshed, running_app
from fakes import FakeClock, FakeRedis, FakeUpstream, entry

ENTRIES = [
    entry("Pokéapi", category="Games", description='"Gotta", catch\nthem <script>alert(1)</script>'),
    entry("OpenWeatherMap", category="Weather", auth="apiKey", cors="unknown"),
    entry("weather-api", category="Weather", cors="no", https=False),
    entry("Weatherbit", category="Weather", auth="apiKey"),
    entry("GitHub", category="Development", auth="OAuth", cors="no"),
    entry("<b>Bold</b>", category="Games"),
]


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream(*ENTRIES)


def names_of(answer) -> list[str]:
    return [hit["entry"]["API"] for hit in answer.json()["hits"]]


@pytest.mark.parametrize("path", ["/v1/search?q=weather", "/v1/suggest?q=wea", "/publicapis/entries?title=a"])
async def test_a_request_among_few_entries_needs_no_thread_and_no_further_task(client, monkeypatch, path):
    """Litestar runs functions that are not async in threads, and dependencies that do not depend on each other in tasks."""
    loop, started = asyncio.get_running_loop(), []
    with monkeypatch.context() as patch:
        for name in ("run_in_executor", "create_task"):
            start = getattr(loop, name)
            patch.setattr(loop, name, lambda *call, start=start, **more: started.append(call) or start(*call, **more))
        assert (await client.get(path)).status_code == 200
    assert started == []


async def test_a_search_answers_all_that_it_promises(client):
    response = await client.get("/v1/search", params={"q": "weather", "auth": "APIKEY", "limit": 1})
    answer = response.json()
    facets = answer.pop("facets")
    assert response.headers["content-type"] == "application/json"
    assert answer["version"] == response.headers["catalogue-version"]
    assert answer == {
        "query": "weather",
        "understood": {},
        "searched": "weather",
        "in": "all",
        "version": answer["version"],
        "total": 2,
        "limit": 1,
        "offset": 0,
        "sort": "relevance",
        "hits": [
            {
                "entry": msgspec.to_builtins(ENTRIES[3]),
                "rank": "prefix",
                "highlights": [[0, 7]],
                "description_highlights": [],
            }
        ],
        "did_you_mean": None,
    }
    assert list(facets) == list(FILTERS)
    assert {name: [(each["value"], each["count"]) for each in facets[name]] for name in FACETS} == FACETS


FACETS = {
    "category": [("Weather", 2)],
    "auth": [("apiKey", 2), ("none", 1)],
    "https": [("true", 2)],
    "cors": [("unknown", 1), ("yes", 1)],
    "provider": [],
}


async def test_hits_in_descriptions_come_after_hits_in_names(client):
    answer = (await client.get("/v1/search?q=about+github")).json()
    hit = next(hit for hit in answer["hits"] if hit["entry"]["API"] == "GitHub")
    assert (hit["rank"], hit["highlights"], hit["description_highlights"]) == ("about", [[0, 6]], [[0, 5], [6, 12]])
    assert answer["facets"]["auth"] == [{"value": "OAuth", "count": 1}]
    assert (await client.get("/v1/search?q=about+github&in=name")).json()["total"] == 0


async def test_words_that_become_filters_are_reported(client):
    answer = (await client.get("/v1/search?q=free+weather+api")).json()
    assert (answer["understood"], answer["searched"]) == ({"auth": "none"}, "weather api")
    assert [hit["entry"]["API"] for hit in answer["hits"]] == ["weather-api"]
    literal = (await client.get("/v1/search?q=free+weather+api&auth=apiKey")).json()
    assert literal["understood"] == {}


async def test_fewer_words_are_offered_as_such(client):
    meant = (await client.get("/v1/search?q=weather+qqqq")).json()["did_you_mean"]
    assert (meant["kind"], meant["query"], meant["total"]) == ("fewer_words", "weather", 3)


async def test_a_correction_stands_beside_the_answer_and_not_in_it(client):
    answer = (await client.get("/v1/search?q=githb")).json()
    assert (answer["total"], answer["hits"]) == (0, [])
    assert (answer["did_you_mean"]["query"], answer["did_you_mean"]["total"]) == ("github", 1)
    assert answer["did_you_mean"]["hits"][0]["entry"]["API"] == "GitHub"
    assert (await client.get("/v1/search?q=githb&cors=yes")).json()["did_you_mean"] is None


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20"])
async def test_nothing_asked_for_is_everything_in_the_catalogues_order(client, query):
    answer = await client.get(f"/v1/search{query}")
    assert names_of(answer) == [each.name for each in ENTRIES]
    assert {hit["rank"] for hit in answer.json()["hits"]} == {None}


async def test_sorting(client):
    assert names_of(await client.get("/v1/search?q=weather&sort=catalogue")) == [each.name for each in ENTRIES[1:4]]
    by_name = ["<b>Bold</b>", "GitHub", "OpenWeatherMap", "Pokéapi", "weather-api", "Weatherbit"]
    assert names_of(await client.get("/v1/search?sort=name")) == by_name


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("search?q=" + "x" * 10_000, "a value of 10000 characters is not allowed; allowed is up to 256 characters"),
        ("search?q=a%00b", "none of them a control character"),
        ("search?q=%C3", "not valid UTF-8"),
        ("search?q=a&q=b", "is given 2 times; once is allowed"),
        ("search?limit=-1", "limit: '-1' is not allowed; allowed is a whole number from 1 to 100"),
        ("search?limit=0", "from 1 to 100"),
        ("search?limit=101", "from 1 to 100"),
        ("search?limit=1e9", "limit: '1e9' is not allowed"),
        ("search?limit=", "limit: '' is not allowed"),
        ("search?limit=%C2%B2", "from 1 to 100"),
        ("search?limit=" + "9" * 5000, "a value of 5000 characters is not allowed"),
        ("search?offset=-1", "offset: '-1' is not allowed; allowed is a whole number from 0"),
        ("search?cors=maybe", "cors: 'maybe' is not allowed; allowed are yes, no, unknown"),
        ("search?https=1", "allowed are true, false"),
        ("search?in=names", "in: 'names' is not allowed; allowed is one of name, about, all"),
        ("search?sort=best", "one of relevance, name, catalogue"),
        ("search?category=games&category=X", "category: 'X' is not allowed; allowed are Development, Games, Weather"),
        ("search?category=", "category: '' is not allowed"),
        ("search?auth=key", "auth: 'key' is not allowed; allowed are apiKey, none, OAuth"),
        ("search?version=1", "allowed is a version as the header Catalogue-Version names it"),
        ("search?version=1800000000000-64bd81190d7b%0A", "allowed is a version as the header"),
        ("search?q=a%0A", "none of them a control character"),
        ("entries?format=null", "format: 'null' is not allowed"),
        ("search?query=cat", "There is no parameter 'query' here; allowed are q, category, auth"),
        ("search?" + "&".join(["cors=yes"] * 101), "too many parameters; at most 100"),
        ("search?" + "&".join(["cors=yes"] * 21), "cors is given 21 times; at most 20 times are allowed"),
        ("suggest?limit=21", "from 1 to 20"),
        ("suggest?cors=yes", "There is no parameter 'cors' here; allowed are q, limit"),
        ("categories?q=a", "There is no parameter 'q' here; none is allowed"),
        ("entries?format=xml", "one of json, ndjson, csv"),
        ("entries?limit=5", "There is no parameter 'limit' here"),
        ("changes", "The parameter since is missing"),
        ("changes?since=yesterday", "since: 'yesterday' is not allowed"),
    ],
)
async def test_what_is_asked_wrongly_is_told_what_is_allowed_whatever_the_client_holds(client, question, said):
    for held in ({}, {"if-none-match": "*"}):
        response = await client.get(f"/v1/{question}", headers=held)
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"
        assert said in response.json()["detail"]
        assert len(response.content) < 1000


async def test_an_offset_past_the_end_is_an_empty_page_with_the_true_total(client):
    answer = await client.get("/v1/search?q=weather&offset=1000000000")
    assert (answer.json()["total"], answer.json()["hits"]) == (3, [])
    assert set(answer.links) == {"first", "prev", "last"}


# --- pages


def linked(answer: httpx.Response, relation: str) -> httpx.URL:
    """The URL of another page. The reference is relative to that of the request (RFC 8288, section 3.2)."""
    return answer.url.join(answer.links[relation]["url"])


async def pages(client, url: str) -> tuple[list[str], int]:
    """Follow the links to the end; the names on all pages, and how many pages there were."""
    names, count = [], 0
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        names += names_of(answer)
        count += 1
        url = linked(answer, "next") if "next" in answer.links else ""
    return names, count


async def test_links_lead_through_all_pages(client):
    everything = names_of(await client.get("/v1/search?sort=name&limit=100"))
    assert await pages(client, "/v1/search?sort=name&limit=4") == (everything, 2)
    last = linked(await client.get("/v1/search?limit=4"), "last")
    answer = await client.get(last)
    assert (answer.json()["offset"], len(answer.json()["hits"])) == (4, 2)
    assert answer.links["prev"]["url"] == answer.links["first"]["url"]
    assert not (await client.get("/v1/search?limit=6")).links


async def test_links_keep_what_was_asked(client):
    answer = await client.get("/v1/search?q=Weather%20%26&auth=apikey&auth=none&limit=2")
    assert (await client.get(linked(answer, "next"))).json()["total"] == answer.json()["total"] == 3


@pytest.mark.parametrize(
    ("filler", "links"),
    [("", {"first", "prev", "next", "last"}), (" " * 256, {"first", "prev", "next", "last"}),
     ("\N{IDEOGRAPHIC SPACE}" * 140, {"prev", "next"}), ("\N{IDEOGRAPHIC SPACE}" * 200, {"next"}),
     ("\N{MUSICAL SYMBOL NULL NOTEHEAD}" * 256, set())],
)  # fmt: skip
async def test_every_head_fits_into_a_proxys_buffer(client, filler, links):
    query = {"q": filler, "limit": 1, "offset": 2}
    response = await client.get("/v1/search", params=query)
    assert response.status_code == 200
    assert set(response.links) == links
    assert sum(len(name) + len(value) + 4 for name, value in response.headers.raw) < 4000


async def test_pages_go_on_across_a_refresh(client, upstream, app):
    first = await client.get("/v1/search?limit=4")
    upstream.has(entry("Newcomer"), *ENTRIES[:4])
    await refreshed(app)
    second = await client.get(linked(first, "next"))
    assert names_of(first) + names_of(second) == [each.name for each in ENTRIES]
    assert second.json()["version"] == second.headers["catalogue-version"] == first.json()["version"]
    assert names_of(await client.get("/v1/search?limit=1")) == ["Newcomer"]


async def test_only_the_last_few_versions_are_held_and_the_others_are_gone(client, upstream, app):
    versions = []
    for number in range(HISTORY_COUNT + 2):
        upstream.has(*ENTRIES, entry(f"Newcomer {number}"))
        await refreshed(app)
        versions.append((await client.get("/v1/search")).json()["version"])
    for version in versions[1:]:
        assert (await client.get(f"/v1/search?version={version}")).json()["version"] == version
    gone = await client.get(f"/v1/search?version={versions[0]}")
    assert gone.status_code == 410
    assert gone.headers["content-type"] == "application/problem+json"
    assert gone.json()["version"] == versions[-1]
    assert gone.json()["detail"].endswith(f"(current: {versions[-1]}). Restart from the first page.")
    gone = await client.get(f"/v1/changes?since={versions[0]}")
    assert (gone.status_code, gone.json()["detail"].endswith("). Read /v1/entries again.")) == (410, True)


async def test_the_same_content_under_another_stamp_is_served(client):
    version = (await client.get("/v1/search")).json()["version"]
    answer = await client.get(f"/v1/search?version=1-{version.partition('-')[2]}")
    assert answer.json()["version"] == version


@pytest.mark.parametrize("goes_first", [0, 1])
async def test_replicas_of_which_one_has_refreshed_give_every_entry_once_or_say_that_they_cannot(upstream, goes_first):
    clock = FakeClock()
    redis = FakeRedis(clock)
    async with (
        running_app(upstream, clock, redis, served_by="one") as one,
        running_app(upstream, clock, redis, served_by="two") as two,
        client_of(one.asgi) as client_one,
        client_of(two.asgi) as client_two,
    ):
        upstream.has(*reversed(ENTRIES), entry("Newcomer"))
        await refreshed(one)
        clock.passes(1000)  # past the moment of activation, but the other has not looked at Redis yet
        clients = [client_one, client_two][:: 1 if goes_first == 0 else -1]
        first = await clients[0].get("/v1/search?limit=4")
        second = await clients[1].get(linked(first, "next"))
        if goes_first == 0:  # the other one does not have this version until it has looked
            assert second.status_code == 410
            await two.replica.refresher.turn()
            second = await clients[1].get(linked(first, "next"))
        names = names_of(first) + names_of(second)
        assert len(names) == len(set(names)) == first.json()["total"]


# --- conditional requests


REVALIDATED = [
    f"/v1/{path}" for path in ("search?q=weather", "suggest?q=po", "categories", "entries?format=csv", "entries")
]
REVALIDATED += ["/publicapis/entries?title=po", "/publicapis/categories"]


@pytest.mark.parametrize("path", REVALIDATED)
async def test_what_the_client_holds_already_is_not_sent_again_until_it_changes(client, upstream, app, path):
    first = await client.get(path)
    held = {"if-none-match": first.headers["etag"]}
    again = await client.get(path, headers=held)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    upstream.has(*ENTRIES[1:])
    await refreshed(app)
    changed = await client.get(path, headers=held)
    assert changed.status_code == 200
    assert changed.content != first.content


# --- the others


async def test_suggestions(client):
    answer = (await client.get("/v1/suggest?q=WEA&limit=2")).json()
    assert answer["suggestions"] == [
        {"name": "weather-api", "highlights": [[0, 3]]},
        {"name": "Weatherbit", "highlights": [[0, 3]]},
    ]
    assert (await client.get("/v1/suggest")).json()["suggestions"] == []


async def test_categories(client):
    answer = (await client.get("/v1/categories")).json()
    assert answer["count"] == 3
    assert answer["categories"][1:] == [{"name": "Games", "entries": 2}, {"name": "Weather", "entries": 3}]


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", "*/*", "application/json"),
        ("", "text/html", "application/json"),
        ("", "text/csv", "text/csv; charset=utf-8"),
        ("", "text/csv;q=inf", "application/json"),
        ("", "application/x-ndjson, application/json;q=0.5", "application/x-ndjson"),
        ("", "application/x-ndjson;q=0.5, application/json", "application/json"),
        ("?format=csv", "application/json", "text/csv; charset=utf-8"),
        ("?format=NDJSON", "text/csv", "application/x-ndjson"),
    ],
)
async def test_all_entries_come_in_the_format_that_was_asked_for(client, query, accept, content_type):
    response = await client.get(f"/v1/entries{query}", headers={"accept": accept})
    assert response.headers["content-type"] == content_type
    assert response.headers["vary"] == "accept, accept-encoding"
    assert rows_of(response) == [each.name for each in ENTRIES]


def rows_of(response) -> list[str]:
    if response.headers["content-type"].startswith("text/csv"):
        return [row["API"] for row in csv.DictReader(io.StringIO(response.text, newline=""))]
    if response.headers["content-type"] == "application/x-ndjson":
        return [msgspec.json.decode(line)["API"] for line in response.content.splitlines()]
    return [each["API"] for each in response.json()]


async def test_entries_are_filtered_like_a_search(client):
    response = await client.get("/v1/entries?category=weather&auth=none&auth=OAuth")
    assert rows_of(response) == ["weather-api"]


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        ("entries.csv", "application/json", "text/csv; charset=utf-8"),
        ("entries.ndjson", "*/*", "application/x-ndjson"),
        ("entries.ndjson", "text/plain", "text/plain; charset=utf-8"),
    ],
)
async def test_a_format_has_a_path_of_its_own(client, path, accept, content_type):
    response = await client.get(f"/v1/{path}?category=weather", headers={"accept": accept})
    of_format = await client.get("/v1/entries", params={"category": "weather", "format": path.partition(".")[2]})
    assert response.headers["content-type"] == content_type
    assert response.content == of_format.content


NAMES = [".", "..", "a..b", "Cat", "Cat & Mouse", "100% a+b", "Cafe\u0301", "Café", "a/b", "?#", "ß"]


async def test_entries_by_name_are_the_answer_of_a_path(clock):
    upstream = FakeUpstream(*[entry(name, cors=cors) for name in NAMES for cors in ("yes", "no")])
    async with running_app(upstream, clock) as app, client_of(app.asgi) as client:
        for name in [*NAMES, "a", "cat", "nothing"]:
            path = "/" + "".join(f"%{byte:02X}" for byte in name.encode())
            by_path, by_query = await client.get(path), await client.get("/v1/entries", params={"name": name})
            assert by_query.content == by_path.content
        filtered = await client.get("/v1/entries.csv", params={"name": "..", "cors": "no"})
        assert [line.split(",")[0] for line in filtered.text.splitlines()] == ["API", "..", "a..b"]
        assert (await client.get("/v1/entries?name=a%00")).json()["detail"].startswith("name: 'a\\x00' is not allowed")


async def test_formats_of_one_url_have_tags_of_their_own(client):
    tags = {(await client.get("/v1/entries", headers={"accept": kind})).headers["etag"] for kind in ("*/*", "text/csv")}
    assert len(tags) == 2


async def test_two_versions_are_compared_once_for_all_urls(client, upstream, app, monkeypatch):
    compared = []
    monkeypatch.setattr(search, "compare", lambda *pair: compared.append(pair) or compare(*pair))
    since = app.replica.refresher.current.version
    upstream.has(*ENTRIES[1:])
    await refreshed(app)
    answers = [(await client.get(f"/v1/changes?since={since}{more}")).json() for more in ("", "&", "&&")]
    assert len(answers[0]["removed"]) == 1
    assert answers == answers[:1] * 3
    assert len(compared) == 1
