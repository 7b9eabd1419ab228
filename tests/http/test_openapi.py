"""A running service keeps what its OpenAPI document promises: Schemathesis asks all that is allowed there, and what is not.

All checks are on: no 5xx, no status, content type or body that is not documented, all that is allowed accepted, all else refused
with a 4xx, other methods with a 405 that lists the right ones. Those about signing in find nothing to do here. Whatever is in the
document is asked, so that a new path needs no line here.
"""

import os
import subprocess
import sysconfig
from pathlib import Path

import httpx
import msgspec

from apidex.catalogue.entry import NAME_LIMIT
from apidex.search.filters import FILTERS
from apidex.search.publicapis import PublicApisQuery
from conftest import ROOT
from fakes import entry, file_of
from processes import replica

EXAMPLES = 20
"""Requests for each operation and phase, at most: a count, so that a busy machine takes longer but tests the same."""

SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


NAMES = ["Cat Facts", "Songlink / Odesli", "Pokéapi", "<script>alert(1)</script>", "100% & more?#", "İBB 🎉"]
ENTRIES = [
    entry(name, category=category, auth=auth, provider="Oak Ltd")
    for name in NAMES
    for category in ("Animals", "Science & Math")
    for auth in ("", "apiKey")
]
"""Names that hold what breaks links, pages and queries, and values for every filter."""

VALUES = {
    name: sorted({declared.read(getattr(each, declared.attribute)) for each in ENTRIES})
    for name, declared in FILTERS.items()
    if not declared.values
}
"""What filters may say is known where the catalogue is, as its version is; the document cannot know it, and is told here."""


CONFIGURATION = """
[checks]
negative_data_rejection.expected-statuses = ["400", "404", "405", "410"]
positive_data_acceptance.expected-statuses = ["2xx", "304", "404", "412", "503"]
"""
"""A version that is none of this catalogue is gone, as far as a replica can tell; any tag is allowed, though it may not match."""


def of_this_catalogue(document: dict, version: str) -> dict:
    known = VALUES | {"version": [version], "since": [version]}
    for item in document["paths"].values():
        for parameter in item["get"].get("parameters", ()):
            schema = parameter["schema"].get("items", parameter["schema"])
            is_text = "maxLength" in schema  # of which anything may be a part, as under /publicapis
            if parameter["name"] in known and not is_text:
                schema["enum"] = known[parameter["name"]]
    return document


async def test_the_committed_document_is_the_one_that_is_served(client):
    served = (await client.get("/-/openapi.json")).json()
    committed = msgspec.json.decode((ROOT / "docs/openapi.json").read_bytes())
    assert served == committed, "rewrite it: python -m apidex.http.routes > docs/openapi.json"


async def test_the_document_lists_every_path(client):
    paths = (await client.get("/-/openapi.json")).json()["paths"]
    lists = ("categories", "entries", "entries.csv", "entries.ndjson")
    v1 = {f"/v1/{what}" for what in ("search", "suggest", *lists, "changes", "catalogue")}
    expected = {"/{name}", "/", *v1, "/-/livez", "/-/readyz", "/-/metrics", "/-/docs", "/-/openapi.json"}
    expected |= {f"/publicapis/{path}" for path in ("entries", "random", "categories", "health")}
    assert expected == set(paths)
    assert paths["/{name}"]["get"]["parameters"][0]["schema"]["maxLength"] == NAME_LIMIT


async def test_every_parameter_and_response_is_described(client):
    paths = (await client.get("/-/openapi.json")).json()["paths"]
    for path, item in paths.items():
        for parameter in item["get"].get("parameters", ()):
            assert parameter["description"], (path, parameter["name"])
        for status, answer in item["get"]["responses"].items():
            assert answer["description"], (path, status)
    of_search = ["q", *FILTERS, "in", "sort", "limit", "offset", "version"]
    for path, names in (
        ("/v1/search", of_search),
        ("/publicapis/entries", [*PublicApisQuery.__slots__]),
        ("/publicapis/random", [*PublicApisQuery.__slots__]),
    ):
        assert [each["name"] for each in paths[path]["get"]["parameters"] if each["in"] == "query"] == names


async def test_metrics_are_described_in_both_formats_and_sent_in_the_accepted_one(client):
    answers = (await client.get("/-/openapi.json")).json()["paths"]["/-/metrics"]["get"]["responses"]
    for accept in ("", "text/plain; version=1.0.0", "application/openmetrics-text; version=1.0.0"):
        response = await client.get("/-/metrics", headers={"accept": accept})
        media_type = accept.partition(";")[0] or "text/plain"
        assert response.headers["content-type"].startswith(media_type)
        assert media_type in answers["200"]["content"]


async def test_retry_after_is_described_where_it_is_sent(client, app):
    paths = (await client.get("/-/openapi.json")).json()["paths"]
    app.replica.draining = True
    unready = await client.get("/-/readyz")
    assert (unready.status_code, "retry-after" in unready.headers) == (503, False)
    assert "Retry-After" not in paths["/-/readyz"]["get"]["responses"]["503"]["headers"]
    assert "Retry-After" in paths["/v1/search"]["get"]["responses"]["503"]["headers"]


def test_schemathesis_finds_nothing(tmp_path):
    with replica("--upstream", file_of(tmp_path, *ENTRIES)) as process:
        document = httpx.get(f"{process.url}/-/openapi.json").json()
        document = of_this_catalogue(document, process.catalogue()["version"])
        (tmp_path / "openapi.json").write_bytes(msgspec.json.encode(document))
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
        command = [SCHEMATHESIS, "run", "openapi.json", "--url", process.url, "--checks", "all"]
        command += ["--max-examples", str(EXAMPLES), "--continue-on-failure"]
        command += ["--report", "json", "--report-json-path", "report.json"]
        environ = os.environ | {"NO_COLOR": "1", "COLUMNS": "120"}
        run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert report["operations"]["tested"] == len(operations)
    assert {name: warnings for name, warnings in report["warnings"].items() if warnings} == {}
    never_accepted = [
        name
        for name in operations
        if not sum(phase["accepted"] for phase in report["valid_rates"].get(name, {}).values())
    ]
    assert never_accepted == []


async def test_the_document_is_made_once(client, monkeypatch):
    paths = ("/-/docs", "/-/openapi.json")
    made = [(await client.get(path)).content for path in paths]
    monkeypatch.setattr("apidex.http.routes.document.docs_page", None)
    monkeypatch.setattr("apidex.http.routes.document.JsonRenderPlugin.render_json", None)
    assert [(await client.get(path)).content for path in paths] == made
