"""Clients that are generated from docs/openapi.json, with defaults, call a running service: one in Python, one in TypeScript."""

import csv
import importlib
import io
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from conftest import ROOT
from fakes import entry, file_of
from processes import need, replica

pytestmark = pytest.mark.real

DOCUMENT = ROOT / "docs/openapi.json"

PACKAGES = ("openapi-typescript@7", "openapi-fetch@0.17", "typescript@5", "@types/node@20")

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./schema";

const client = createClient<paths>({ baseUrl: process.argv[2] });

async function main() {
  const found = await client.GET("/{name}", { params: { path: { name: "Cat" } } });
  const names: string[] = (found.data ?? []).map((entry) => entry.API);
  if (!names.includes("Cat Facts")) throw new Error(`not found: ${names}`);

  const etag = found.response.headers.get("ETag") ?? "";
  const held = await client.GET("/{name}", {
    params: { path: { name: "Cat" }, header: { "If-None-Match": etag } },
  });
  if (held.response.status !== 304) throw new Error(`not held: ${held.response.status}`);

  const page = await client.GET("/v1/search", { params: { query: { q: "cat", https: ["true"], sort: "name", limit: 1 } } });
  const total: number | undefined = page.data?.total;
  if (!total || page.data?.hits.length !== 1) throw new Error("no page");

  const entries = await client.GET("/v1/entries", { params: { query: { name: ".." } } });
  const dots: string[] = (entries.data ?? []).map((entry) => entry.API);
  const cors: "yes" | "no" | "unknown" | undefined = entries.data?.[0].Cors;
  if (dots.join() !== "..,a..b" || cors !== "no") throw new Error(`not the dots: ${dots} ${cors}`);

  const csv = await client.GET("/v1/entries.csv", { params: { query: { cors: ["no"] } }, parseAs: "text" });
  const rows: string[] = (csv.data ?? "").split("\\r\\n");
  if (rows[0] !== "API,Description,Auth,HTTPS,Cors,Link,Category,Provider") throw new Error(`no CSV: ${rows[0]}`);
  const lines = await client.GET("/v1/entries.ndjson", { parseAs: "text" });
  if (JSON.parse((lines.data ?? "").split("\\n")[0]).API !== "Cat Facts") throw new Error("no NDJSON");

  const wrong = await client.GET("/v1/search", { params: { query: { q: "a\\n" } } });
  const detail: string | undefined = wrong.error?.detail;
  if (wrong.response.status !== 400 || !detail) throw new Error("no problem");
  console.log("well");
}
main();
"""


def run(*command: object, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


ENTRIES = [entry("Cat Facts"), entry("Cats", auth="apiKey"), entry("..", cors="no"), entry("a..b", link="")]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with replica("--upstream", file_of(tmp_path_factory.mktemp("catalogue"), *ENTRIES)) as process:
        yield process


def test_a_python_client(service, tmp_path, monkeypatch):
    generate = Path(sysconfig.get_path("scripts")) / "openapi-python-client"
    said = run(generate, "generate", "--path", DOCUMENT, "--meta", "none", "--fail-on-warning", folder=tmp_path)
    assert "warning" not in said.lower()
    [example] = re.findall("```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = example.replace("http://127.0.0.1:8000", service.url)
    assert run(sys.executable, "-c", example, folder=tmp_path) == "['Cat Facts']\n"
    monkeypatch.syspath_prepend(tmp_path)
    module = lambda name: importlib.import_module(f"apidex_client.{name}")  # noqa: E731
    try:
        client = module("client").Client(service.url, raise_on_unexpected_status=True)
        with client:
            found = module("api.search.search_by_name").sync_detailed("Cat", client=client)
            assert "Cat Facts" in [entry.api for entry in found.parsed]
            held = module("api.search.search_by_name").sync_detailed(
                "Cat", client=client, if_none_match=found.headers["etag"]
            )
            assert held.status_code == 304
            https = module("models").SearchHttpsItem
            page = module("api.search.search").sync(client=client, q="cat", https=[https.TRUE], limit=1)
            assert (len(page.hits), page.total > 0) == (1, True)
            dots = module("api.catalogue.entries").sync(client=client, name="..")
            assert [(each.api, each.cors.value, each.link) for each in dots] == [
                ("..", "no", "https://example.org/"),
                ("a..b", "yes", ""),
            ]
            table = module("api.catalogue.entries_csv").sync(client=client, auth=["none"])
            assert [row["API"] for row in csv.DictReader(io.StringIO(table))] == ["Cat Facts", "..", "a..b"]
            lines = module("api.catalogue.entries_ndjson").sync(client=client, name="Cat")
            assert [json.loads(line)["API"] for line in lines.splitlines()] == ["Cat Facts", "Cats"]
            problem = module("api.search.search").sync(client=client, q="a\n")
            assert "control character" in problem.detail
            about = module("api.catalogue.catalogue").sync(client=client)
            assert about.checked_at.tzinfo
    finally:
        for name in [name for name in sys.modules if name.startswith("apidex_client")]:
            del sys.modules[name]


def test_a_typescript_client(service, tmp_path):
    run(need("npm"), "install", "--no-audit", "--no-fund", *PACKAGES, folder=tmp_path)
    run("npx", "openapi-typescript", DOCUMENT, "-o", "schema.ts", folder=tmp_path)
    (tmp_path / "use.ts").write_text(TYPESCRIPT)
    options = ("--strict", "--skipLibCheck", "--target", "es2022", "--module", "commonjs", "--types", "node")
    run("npx", "tsc", *options, "use.ts", folder=tmp_path)
    assert run("node", "use.js", service.url, folder=tmp_path).strip() == "well"
