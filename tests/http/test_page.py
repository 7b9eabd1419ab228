"""`/`: a page for browsers, an index for the rest, and a policy that names the page's own script and style alone."""

import base64
import hashlib
import re

import pytest

from apidex.http.routes.page import render_page

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        CHROMIUM,
        FIREFOX,
        "text/html",
        "text/*",
        "application/json;q=0, */*",
        "application/json;q=0.5, text/html",
        "*/*, text/html",
        "text/html; charset=utf-8,*/*;q=0.1",
        "text/html;q=0.9;level=1,*/*;q=0.1",
    ],
)
async def test_who_likes_html_best_gets_the_page(client, accept):
    response = await client.get("/", headers={"accept": accept})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "accept, accept-encoding"
    head = await client.head("/", headers={"accept": accept})
    assert (dict(head.headers), head.content) == (dict(response.headers), b"")


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/json, text/html",
        "text/html;q=0.1, application/json",
        "text/html;q=0, */*",
        "text/html;q=0",
        "text/html;q=0, application/xhtml+xml",
        "nonsense",
        "a/b;q=inf",
        pytest.param("text/html" + ",a/b" * 16_000, id="too long"),
        "",
    ],
)
async def test_the_rest_get_the_index(client, accept):
    response = await client.get("/", headers={"accept": accept})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["service"] == "apidex"
    assert response.headers["vary"] == "accept, accept-encoding"
    assert "content-security-policy" not in response.headers


async def test_each_of_the_two_is_validated_by_itself(client):
    tags = [(await client.get("/", headers={"accept": accept})).headers["etag"] for accept in ("text/html", "*/*")]
    assert len(set(tags)) == 2
    for accept, held, status in (("text/html", tags[0], 304), ("*/*", tags[1], 304), ("text/html", tags[1], 200)):
        response = await client.get("/", headers={"accept": accept, "if-none-match": held})
        assert response.status_code == status
        assert response.headers["vary"] == "accept, accept-encoding"


def test_the_policy_names_the_one_script_and_the_one_style_that_are_in_it():
    document = render_page().document.decode()
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", document, re.DOTALL)
        source = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{source}';" in render_page().policy
    assert "unsafe" not in render_page().policy


def test_the_page_loads_nothing_and_runs_nothing_by_its_attributes():
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", render_page().document.decode(), flags=re.DOTALL)
    assert re.findall(r"\s(?:src|on\w+|style|action|href)=[\"'](?!data:|[?#]|\./|-/docs|v1/)", markup) == []
