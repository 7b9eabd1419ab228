"""Untrusted text never reaches a terminal unescaped, or a spreadsheet as a formula."""

import csv
import io
import json
import logging
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex import logs
from apidex.catalogue.formats import parse
from apidex.catalogue.spreadsheet import to_csv
from apidex.cli.main import main
from apidex.terminal import printable
from conftest import client_of, running_app
from upstream_server import http_server, raw_server

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egro.elpmaxe\u2066\u200b\ud800\u2028\r\n"
"""A title, a cleared screen, a C1 control, bidi controls, a hidden space, half a character, line breaks."""


def raw_characters(text: str) -> set[str]:
    """What a terminal would obey or hide."""
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
        "\n",
        "\u200d",
        "\u200c",
    }


@given(st.text(st.characters(codec=None)))
def test_printable_text_has_no_controls_and_no_hidden_characters(text):
    shown = printable(text)
    assert raw_characters(shown) == set()
    assert "\n" not in shown
    assert shown == printable(shown)
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_ordinary_text_is_not_changed():
    for text in ("Pokéapi 木 한국", "میخواهم\u200cها", "👩\u200d👩\u200d👧", "a\u00a0b", ""):
        assert printable(text) == text


def hostile_entry() -> dict:
    return dict.fromkeys(("API", "Description", "Auth", "Cors", "Link", "Category"), f"Cat {HOSTILE}") | {"HTTPS": True}


@pytest.fixture
def shown(capfd):
    """What a command prints, on both streams; each has none of the characters."""

    def run(*arguments: str) -> str:
        main(arguments)
        out, err = capfd.readouterr()
        assert raw_characters(out + err) <= {"\t"}, "tabs are between the cells of a row"
        assert {line.count("\t") for line in out.splitlines()} <= {0, 7}
        return out + err

    return run


@pytest.mark.parametrize("more", [[], ["--json"], ["--exact"], ["--exact", "--json"]])
def test_a_service_that_answers_with_controls(shown, more):
    hit = {"entry": hostile_entry() | {"API": "Cat \x1b[2J", "Cors": "no"}, "rank": "exact", "highlights": [[0, 3]]}
    page = {"total": 1, "hits": [hit], "did_you_mean": None}
    body = [hit["entry"]] if "--exact" in more else page
    text = json.dumps(body).replace("\\ud800", "").encode()  # which no JSON parser of ours takes
    with http_server(text) as url:
        assert "Cat \\u001b[2J" in shown("search", "cat", "--url", url, *more)


@pytest.mark.parametrize(
    "command", ["search cat --upstream", "catalogue", "doctor --port 0 --upstream", "search cat --url"]
)
def test_a_reason_phrase_and_a_url_with_controls(shown, command):
    head = b"HTTP/1.1 500 \x9b2J\xe2\x80\xae\x1b]0;t\x07\r\ncontent-length: 0\r\n\r\n"
    with raw_server(lambda: [head]) as (url, _):
        assert " 500" in shown(*command.split(), url)
        shown(*command.split(), url + HOSTILE[:-4])


def test_a_list_with_controls(shown, tmp_path):
    path = tmp_path / "list.json"
    entries = [hostile_entry(), hostile_entry() | {"API": None}, hostile_entry()]
    path.write_text(json.dumps({"entries": entries}).replace("\\ud800", ""))
    assert "Cat " in shown("catalogue", str(path))
    assert "Cat " in shown("catalogue", str(path), "--json")
    assert "Cat " in shown("search", "cat", "--upstream", path.as_uri())


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_log_has_none(tmp_path, log_format):
    path = tmp_path / "log"
    with path.open("w") as stream:
        logs.configure(log_format, "info", "replica-1", stream)
        logs.get_logger().warning("upstream.failed", detail=HOSTILE)
        logging.getLogger("stranger").warning(HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logs.get_logger().exception("refresh.broken")
        logs.sink.flush()
    text = path.read_text()
    assert text.count("\\u202e") == 3
    assert raw_characters(text) == set()
    if log_format == "json":
        assert json.loads(text.splitlines()[0])["detail"] == HOSTILE


FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "＝1+1"]


def cells_of(text: str) -> list[str]:
    return [row[0] for row in csv.reader(io.StringIO(text))][1:]


def test_a_formula_is_text_in_a_spreadsheet():
    rows = [[text, True] for text in [*FORMULAS, "Cat =1", 'a,b"c']]
    assert cells_of(to_csv([["API", "HTTPS"], *rows])) == [f"'{text}" for text in FORMULAS] + ["Cat =1", 'a,b"c']


async def test_the_service_answers_no_formulas(upstream, clock):
    upstream.has(*FORMULAS)
    async with running_app(upstream, clock) as app, client_of(app.asgi) as client:
        text = (await client.get("/v1/entries?format=csv")).text
    assert [cell[0] for cell in cells_of(text)] == ["'"] * len(FORMULAS)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\nscript:x",
        "\x01javascript:x",
        "vbscript:x",
        "data:text/html,x",
    ],
)
def test_a_link_that_runs_a_script_is_removed(link):
    [found] = parse(msgspec.json.encode([{"name": "Cat", "url": link}])).catalogue
    assert found.link == ""
