"""The dead service's API, as its clients meet it: by its documented shapes, and without its faults."""

import json
import urllib.parse
import urllib.request

import pytest

from apidex.catalogue.entry import NAME_LIMIT
from fakes import entry
from processes import replica

BASE = "/publicapis"
ENTRIES = [
    entry("Cat Facts", auth="apiKey", cors="no", category="Animals"),
    entry("Cats", https=False, cors="unknown", category="Animals", provider='Oak "," \\ Ltd'),
    entry("NASA", description="Imagery of cats in space", auth="OAuth", category="Science & Math"),
    entry("Pokéapi", category="Games & Comics"),
]


@pytest.fixture
def upstream(upstream):
    upstream.has(*ENTRIES)
    return upstream


def names(response) -> list[str]:
    view = response.json()
    assert list(view) == ["count", "entries"]
    assert view["count"] == len(view["entries"])
    return [item["API"] for item in view["entries"]]


async def test_without_parameters_all_entries_come_in_order(client):
    response = await client.get(f"{BASE}/entries")
    assert response.headers["content-type"] == "application/json"
    assert names(response) == ["Cat Facts", "Cats", "NASA", "Pokéapi"]
    keys = ["API", "Description", "Auth", "HTTPS", "Cors", "Link", "Category"]
    assert [list(each) for each in response.json()["entries"]] == [keys] * len(ENTRIES)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("title=CAT", ["Cat Facts", "Cats"]),
        ("Title=cat", ["Cat Facts", "Cats"]),
        ("description=cat", ["Cat Facts", "Cats", "NASA"]),
        ("auth=null", ["Cats", "Pokéapi"]),
        ("auth=apikey&title=", ["Cat Facts"]),
        ("https=False&cors=", ["Cats"]),
        ("cors=No", ["Cat Facts"]),
        ("category=science", ["NASA"]),
        ("category=Science%20%26%20Math", ["NASA"]),
        ("category=Science+%26+Math", ["NASA"]),
        ("category=Science%20&%20Math", ["NASA"]),
        ("title=pok%C3%A9", ["Pokéapi"]),
        ("title=cat&https=true&auth=null", []),
        ("&&", ["Cat Facts", "Cats", "NASA", "Pokéapi"]),
    ],
)
async def test_parameters_are_understood_as_they_were(client, query, found):
    assert names(await client.get(f"{BASE}/entries?{query}")) == found


async def test_random_is_one_of_those_that_match_and_each_of_them_comes(client):
    drawn = set()
    while drawn != {"Cat Facts", "Cats"}:
        drawn.update(one := names(await client.get(f"{BASE}/random?title=cat")))
        assert len(one) == 1
        assert drawn <= {"Cat Facts", "Cats"}


async def test_random_is_kept_by_no_cache(client):
    headers = (await client.get(f"{BASE}/random")).headers
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers


async def test_random_without_a_match_is_not_found(client):
    response = await client.get(f"{BASE}/random?title=zebra")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.json()["detail"] == "No entry matches all parameters."


async def test_categories_come_once_each_in_the_order_of_the_catalogue(client):
    expected = {"count": 3, "categories": ["Animals", "Science & Math", "Games & Comics"]}
    assert (await client.get(f"{BASE}/categories")).json() == expected


async def test_health_answers_as_often_as_it_is_asked(client):
    for _ in range(50):
        response = await client.get(f"{BASE}/health")
        assert (response.status_code, response.json()) == (200, {"alive": True})


@pytest.mark.parametrize("path", ["/entries", "/random"])
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("name=cat", "There is no parameter 'name' here; allowed are title, description, auth, https, cors, category."),
        ("cat", "There is no parameter 'cat' here; allowed are title, description, auth, https, cors, category."),
        ("https=maybe", "https: 'maybe' is not allowed; allowed are true, false."),
        ("cors=maybe", "cors: 'maybe' is not allowed; allowed are yes, no, unknown."),
        ("title=%C3", "The query is not valid UTF-8."),
        ("title=a&title=b", "The parameter title is given 2 times; once is allowed."),
        (f"title={'x' * 10_000}", f"allowed is a text of up to {NAME_LIMIT} characters."),
        (f"{'x' * 10_000}=1", "allowed are title, description, auth, https, cors, category."),
    ],
)
async def test_what_is_not_allowed_is_told_what_is_whatever_the_client_holds(client, path, query, says):
    for held in ({}, {"if-none-match": "*"}):
        response = await client.get(f"{BASE}{path}?{query}", headers=held)
        assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
        assert response.json()["detail"].endswith(says)
        assert len(response.content) < 1000


async def test_categories_take_no_parameters(client):
    response = await client.get(f"{BASE}/categories?title=cat")
    assert response.status_code == 400
    assert response.json()["detail"] == "There is no parameter 'title' here; none is allowed."


class Tutorial:
    """A client of the old service, as tutorials wrote it; only its base URL is new."""

    def __init__(self, base: str) -> None:
        self.base = base

    def get(self, path: str, **parameters: object) -> dict:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.base}{path}?{query}" if query else f"{self.base}{path}") as response:
            return json.load(response)

    def entries(self, **parameters: object) -> list[dict]:
        document = self.get("/entries", **parameters)
        assert document["count"] == len(document["entries"])
        return document["entries"]


def test_a_client_of_the_old_service_needs_only_a_new_base_url(data, real_entries):
    with replica("--upstream", (data / "entries.json").as_uri()) as process:
        client = Tutorial(f"{process.url}{BASE}")
        assert client.get("/health") == {"alive": True}
        categories = client.get("/categories")
        assert categories["count"] == len(categories["categories"]) == 51
        assert client.entries() == real_entries
        for category in categories["categories"]:
            found = client.entries(category=category)
            assert category in {each["Category"] for each in found}
        keyless = client.entries(auth="null", https=True, cors="yes", category="science")
        assert [each["API"] for each in keyless] == [
            each["API"]
            for each in real_entries
            if each["Category"] == "Science & Math" and each["HTTPS"] and (each["Auth"], each["Cors"]) == ("", "yes")
        ]
        random = client.get("/random", title="cat", description="")
        assert random["count"] == 1
        assert set(random["entries"][0]) == {"API", "Description", "Auth", "HTTPS", "Cors", "Link", "Category"}
        assert set(client.get("/random")["entries"][0]) == set(real_entries[0])
