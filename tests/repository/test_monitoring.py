"""The alerts and the dashboard of the component `monitoring` query metrics that exist, and the alerts fire when they should."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml
from loadtest.system import free_port
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from conftest import ROOT, client_of, running_app
from deploy.rendering import output_of
from fakes import FakeClock, FakeUpstream
from processes import need, replica, wait_until

COMPONENT = ROOT / "deploy/k8s/components/monitoring"
ALERTS = ROOT / "tests/repository/alerts.yaml"

DASHBOARD = json.loads((COMPONENT / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = next(
    item["spec"]
    for item in yaml.safe_load_all((COMPONENT / "monitoring.yaml").read_text())
    if item["kind"] == "PrometheusRule"
)

QUERIES = {
    **{rule["alert"]: rule["expr"] for rule in RULES["groups"][0]["rules"]},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{item["name"]: item["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"},
    **{item["name"]: item["expr"] for item in DASHBOARD["annotations"]["list"]},
}

OF_THE_TARGET = {"namespace", "pod"}
"""Labels that Prometheus adds to every series; `status` and `route` have the values that requests gave them."""


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """What a replica exposes after one search."""

    async def exposed() -> str:
        async with running_app(FakeUpstream(), FakeClock()) as app, client_of(app.asgi) as client:
            await client.get("/Cat")
            return (await client.get("/-/metrics")).text

    return [sample for family in text_string_to_metric_families(asyncio.run(exposed())) for sample in family.samples]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_names_only_series_that_a_new_replica_exposes(query, samples):
    """With all values of a label from the start: `increase` does not count the first value of a series that appears later."""
    selected = re.findall(r"(\w+)\{(.*?)\}", query) or re.findall(r"\((\w+), (namespace)\)", query)
    assert selected
    assert {name for name, _ in selected} >= set(re.findall(r"apidex_\w+", query)), "a selector without a namespace"
    for name, matchers in selected:
        series = [sample.labels for sample in samples if sample.name == name]
        assert series, f"no metric {name}"
        for label, text in re.findall(r'(\w+)[!=~]+"(.*?)"', matchers):
            if label not in {*OF_THE_TARGET, "status", "route"}:
                assert {labels.get(label) for labels in series} >= set(text.split("|")), f"{name} by {label}"
    grouped = {label.strip() for labels in re.findall(r"by \((.*?)\)", query) for label in labels.split(",")}
    known = {label for name, _ in selected for sample in samples if sample.name == name for label in sample.labels}
    assert grouped <= known | OF_THE_TARGET


def test_panels_say_what_they_show_and_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not():
    tests = [test for group in yaml.safe_load(ALERTS.read_text())["tests"] for test in group["alert_rule_test"]]
    declared = {rule["alert"] for rule in RULES["groups"][0]["rules"]}
    for fires in (True, False):
        assert {test["alertname"] for test in tests if bool(test.get("exp_alerts")) is fires} == declared


@pytest.fixture
def rules(tmp_path) -> Path:
    """The rules of the component, as a file that Prometheus reads, beside their tests."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(RULES))
    shutil.copy(ALERTS, tmp_path)
    return path


@pytest.mark.real
def test_the_alerts_fire_when_they_should(rules):
    need("prometheus")  # the package that has both programs
    output_of("promtool", "test", "rules", ALERTS.name, cwd=rules.parent)


@contextmanager
def prometheus(rules: Path, target: str) -> Iterator[httpx.Client]:
    """A client of a Prometheus that scrapes *target* every second, as the pod `a` of the namespace `apidex`."""
    jobs = [{
        "job_name": "metrics",
        "metrics_path": "/-/metrics",
        "static_configs": [{"targets": [target], "labels": {"namespace": "apidex", "pod": "a"}}],
    }]  # fmt: skip
    config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "scrape_configs": jobs}
    (rules.parent / "prometheus.yaml").write_text(yaml.safe_dump(config | {"rule_files": [rules.name]}))
    address = f"127.0.0.1:{free_port()}"
    options = ("--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    process = subprocess.Popen([need("prometheus"), *options], cwd=rules.parent, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.real
def test_a_prometheus_that_scrapes_a_replica_has_data_for_every_panel(rules):
    with replica() as process, prometheus(rules, process.url.removeprefix("http://")) as client:
        httpx.get(f"{process.url}/Cat")

        def data(query: str) -> list:
            for variable, value in (("$namespace", "apidex"), ("$pod", ".*"), ("$__rate_interval", "1m")):
                query = query.replace(variable, value)
            return client.get("/query", params={"query": query}).raise_for_status().json()["data"]["result"]

        def is_ready() -> bool:
            with suppress(httpx.HTTPError):
                return bool(data("rate(apidex_requests_total[1m])"))
            return False

        wait_until(is_ready, "Prometheus has no two scrapes")
        empty = [
            f"{panel['title']}: {target['expr']}"
            for panel in PANELS
            for target in panel["targets"]
            if not data(target["expr"])
        ]
        assert empty == []
        (group,) = client.get("/rules").json()["data"]["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == {
            rule["alert"]: "ok" for rule in RULES["groups"][0]["rules"]
        }
