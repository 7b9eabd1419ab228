"""Metrics count requests and refreshes, and never contain what was searched."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apidex.server.timers import ConnectionState
from conftest import refreshed


async def scraped(client) -> dict[tuple, float]:
    text = (await client.get("/-/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


async def test_requests_are_counted_by_route_and_status_and_not_by_what_was_searched(client):
    for path in ("/Cat", "/Secret%20wish", "/Cat", "/" + "x" * 300, "/v1/catalogue", "/a/b/c", "/-/nothing"):
        await client.get(path)
    await client.post("/Cat")
    tag = (await client.get("/Cat")).headers["etag"]
    await client.get("/Cat", headers={"if-none-match": tag})
    metrics = await scraped(client)
    requests = {key[1:]: value for key, value in metrics.items() if key[0] == "apidex_requests_total" and value}
    assert requests == {
        ("/{name}", "200"): 4,
        ("/{name}", "304"): 1,
        ("/{name}", "400"): 1,
        ("/v1/catalogue", "200"): 1,
        ("none", "404"): 2,
        ("none", "405"): 1,
    }
    assert metrics["apidex_request_seconds_count", "/{name}"] == 6
    assert metrics["apidex_response_cache_lookups_total", "hit"] == 2
    assert metrics["apidex_response_cache_lookups_total", "miss"] == 3
    assert "Secret" not in (await client.get("/-/metrics")).text


async def test_every_route_has_series_before_its_first_request(client):
    documented = (await client.get("/-/openapi.json")).json()["paths"]
    metrics = await scraped(client)
    for route in (*documented, "none"):
        for status in ("200", "500", "503"):
            count = int((route, status) == ("/-/openapi.json", "200"))
            assert metrics["apidex_requests_total", route, status] == count
        assert ("apidex_request_seconds_count", route) in metrics


async def test_connections_timers_and_load_shedding_have_series_before_anything_happens(client):
    metrics = await scraped(client)
    timers = {state.name.lower() for state in ConnectionState} - {"answer"} | {"send", "age"}
    expected = {("apidex_connections_timed_out_total", timer) for timer in timers}
    expected |= {("apidex_shed_total", reason) for reason in ("overload", "connections", "unsent", "replaced")}
    expected |= {
        ("apidex_connections",),
        ("apidex_connections_accepted_total",),
        ("apidex_requests_in_flight",),
        ("apidex_event_loop_lag_seconds",),
    }
    found = {key: value for key, value in metrics.items() if key[0] in {name for name, *_ in expected}}
    assert found == dict.fromkeys(expected, 0)


async def test_age_and_state_are_the_same_everywhere(client, clock):
    for seconds in (0, 1234.5, 20_000):
        clock.passes(seconds)
        headers = (await client.get("/Cat")).headers
        view = (await client.get("/v1/catalogue")).json()
        metrics = await scraped(client)
        assert metrics[("apidex_catalogue_age_seconds",)] == view["age"]
        assert int(headers["age"]) == int(view["age"])
        assert metrics["apidex_catalogue_state", view["state"]] == 1
        assert sum(value for key, value in metrics.items() if key[0] == "apidex_catalogue_state") == 1
        ttl = int(headers["cache-status"].rpartition("ttl=")[2])
        assert (ttl >= 0) is (view["state"] == "fresh")
        assert metrics[("apidex_catalogue_stamp_seconds",)] * 1000 == pytest.approx(view["stamp"], abs=0.5)
        assert metrics[("apidex_catalogue_entries",)] == view["entries"]


async def test_refreshes_are_counted_by_outcome(client, app, upstream):
    upstream.sends(b"<html>")
    await refreshed(app)
    metrics = await scraped(client)
    assert metrics["apidex_refreshes_total", "changed"] == 1
    assert metrics["apidex_refreshes_total", "refused"] == 1
    assert metrics["apidex_refreshes_total", "failed"] == 0
    assert metrics["apidex_refresh_failures_total", "format"] == 1
    assert metrics["apidex_leases_total", "taken"] == 2
    assert metrics["apidex_publications_total", "published"] == 1
    assert metrics[("apidex_redis_reachable",)] == 1
    assert any(key[0] == "apidex_build_info" for key in metrics)


@pytest.mark.parametrize("version", ["x", "1", "1.0.0.0", "1.0.x", "", "=", "\xff", "1.0.0 x", "99999.0.0"])
async def test_an_odd_version_of_the_format_is_answered_in_the_plain_one(client, version):
    for media_type in ("application/openmetrics-text", "text/plain"):
        response = await client.get(
            "/-/metrics", headers={"accept": f"{media_type}; version={version}".encode("latin-1")}
        )
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
