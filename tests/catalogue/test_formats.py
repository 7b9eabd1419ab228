"""Each format is recognised by content, read row by row, and reported on."""

import msgspec
import pytest

from apidex.catalogue.entry import to_dict
from apidex.catalogue.formats import FORMATS, parse
from apidex.errors import CatalogueError

HEAD = "## Index\n\n### Animals\nAPI | Description | Auth | HTTPS | CORS |\n|:---|:---|:---|:---|:---|\n"


README = HEAD.encode() + b"| [A](http://a) | d | No | Yes | No |\n"


def rows_of(*lines: str):
    return parse((HEAD + "\n".join(lines)).encode())


def test_the_real_readme_has_the_entries_that_the_old_service_had(data, real_entries):
    """But for the spaces around five texts, which the old service kept."""
    old = msgspec.json.decode((data / "entries.json").read_bytes())["entries"]
    differing = [(a[key], b[key]) for a, b in zip(old, real_entries, strict=True) for key in a if a[key] != b[key]]
    assert differing == [
        ("https://reqres.in/ ", "https://reqres.in/"),
        ("https://clockify.me/developers-api ", "https://clockify.me/developers-api"),
        ("PatentsView ", "PatentsView"),
        ("Premier League Standings ", "Premier League Standings"),
        ("https://digitransit.fi/en/developers/ ", "https://digitransit.fi/en/developers/"),
    ]
    parsed = parse((data / "README.md").read_bytes())
    assert [to_dict(item) for item in parsed.catalogue] == real_entries
    assert (len(parsed.catalogue), parsed.catalogue.categories) == (1695, 51)
    assert parse((data / "entries.json").read_bytes()).catalogue.digest == parsed.catalogue.digest
    report = parsed.report
    assert (report.format, report.rows) == ("markdown", 1695)
    assert (report.repaired.total, report.rejected.total) == (83, 0)
    assert [issue.name for issue in report.ignored.first] == [
        "IPstack", "Marketstack", "Weatherstack", "Numverify", "Fixer", "Aviationstack",
        "Zenserp", "Filestack", "Screenshotlayer", "Exchangerate Host", "Mailboxlayer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected", "issue"),
    [
        ("| [A](http://a) | d | `apiKey` | Yes | No |", ("A", "d", "apiKey", True, "no", "http://a"), None),
        ("| [A](http://a) | d | No | No | Unknown |", ("A", "d", "", False, "unknown", "http://a"), None),
        (
            "| [A](http://a) | d | `No` | Yes | Yes | |",
            ("A", "d", "", True, "yes", "http://a"),
            "its table 5 cells; the empty",
        ),
        (
            "| [A](http://a) | d | No | Yes | No | Yes",
            ("A", "d", "", True, "no", "http://a"),
            r"it has 6 cells, its table 5 cells; ignored: 'Yes'. Write \| for a | inside a cell",
        ),
        ("[A](http://a) | d | No | Yes | No", ("A", "d", "", True, "no", "http://a"), None),
        ("| [A](http://a) | d | No | Yes |", ("A", "d", "", True, "unknown", "http://a"), "no CORS cell"),
        ("| [A](http://a) | d | No | Maybe | Perhaps |", ("A", "d", "", False, "unknown", "http://a"), "HTTPS 'Maybe'"),
        (r"| [A \| B](http://a) | x \| y | No | Yes | No |", ("A | B", "x | y", "", True, "no", "http://a"), None),
        ("| [A (b)](http://a/(b)) | d | No | Yes | No |", ("A (b)", "d", "", True, "no", "http://a/(b)"), None),
        (
            "| [A](http://a) | d |",
            ("A", "d", "", False, "unknown", "http://a"),
            "no Auth and no HTTPS and no CORS cell",
        ),
        ("| %s | d | No | Yes | No |" % ("x" * 300), ("x" * 256, "d", "", True, "no", ""), "name has 300 characters"),
        ("| A | d | No | Yes | No |", ("A", "d", "", True, "no", ""), "no link"),
        ("| [A\tB](http://a) | d | No | Yes | No |", ("A B", "d", "", True, "no", "http://a"), "control characters"),
    ],
)
def test_a_row_of_markdown_is_read_and_repaired(line, expected, issue):
    parsed = rows_of(line)
    item = parsed.catalogue[0]
    assert (item.name, item.description, item.auth, item.https, item.cors, item.link) == expected
    assert item.category == "Animals"
    reasons = [found.reason for found in parsed.report.repaired.first]
    assert (issue is None and not reasons) or issue in reasons[0]


def old_service(item: object) -> bytes:
    return msgspec.json.encode({"entries": [{"API": "B", "HTTPS": True, "Link": "x"}, item]})


@pytest.mark.parametrize(
    ("body", "row", "reason"),
    [
        (README + b"| | d | No | Yes | No |", 7, "no name"),
        (README + b"|", 7, "no name"),
        (old_service(1), 2, "a number, not an object"),
        (old_service(None), 2, "null, not an object"),
        (old_service({"API": None}), 2, "no name"),
        (old_service({"API": True}), 2, "no name"),
        (b'{"API": "B"}\n{"API": "A"\n{"API": "C"}', 2, "malformed JSON"),
        (old_service({"API": ""}), 2, "no name"),
        (old_service({}), 2, "no name"),
    ],
)
def test_an_invalid_row_is_rejected_with_its_place_and_reason(body, row, reason):
    [issue] = parse(body).report.rejected.first
    assert issue.row == row
    assert reason in issue.reason


def test_rows_outside_the_tables_of_entries_are_ignored():
    before = "### Ads\nAPI | Description | Auth | HTTPS | CORS\n---|---|---|---|---\n| [Ad](http://a) | d | No | Yes | No |\n\n"
    other = "\n\n### More\n| API | Description | Call this API |\n|:---|:---|:---|\n| [Ad2](http://a) | d | [Run](http://b) |\n"
    parsed = parse((before + HEAD + "| [A](http://a) | d | No | Yes | No |" + other).encode())
    assert parsed.catalogue.names() == ["A"]
    assert [issue.name for issue in parsed.report.ignored.first] == ["Ad", "Ad2"]


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (b"", "format", "it is empty"),
        (b"<!DOCTYPE html><title>502</title>", "format", "an HTML page"),
        (b"hello", "format", "other text"),
        (b"# A project\n\n- [![Build](b.svg)](https://ci.example) status\n", "format", "other text"),
        (b"\xff\xfe\x00", "format", "not UTF-8"),
        (b'{"entries": [', "format", "malformed JSON"),
        (b"[" * 200_000, "format", "JSON"),
        (b'{"count": 0}', "format", "other JSON"),
        (b'{"entries": "none"}', "format", "other JSON"),
        (b'{"entries": []}', "empty", "no entries"),
        (b'{"count": 0, "entries": null}', "empty", "no entries"),
        (b'{"entries": [1, 2, {"API": "A", "Link": "x", "HTTPS": true}]}', "unreadable", "2 of 3 rows"),
        (b'{"a": {"versions": {}}}', "unreadable", "1 of 1 row cannot"),
        (b"[]", "empty", "no entries"),
        (HEAD.encode(), "empty", "no entries"),
    ],
)
def test_an_invalid_response_is_refused_with_its_reason(body, reason, text):
    with pytest.raises(CatalogueError, match=text) as refusal:
        parse(body)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("name", FORMATS)
def test_a_named_format_is_not_guessed(name):
    with pytest.raises(CatalogueError, match=f"format is not {name!r}"):
        parse(b"# nothing", name)


def test_a_byte_order_mark_is_ignored():
    assert parse(b'\xef\xbb\xbf{"entries": [{"API": "A", "HTTPS": true}]}').catalogue.names() == ["A"]


@pytest.mark.parametrize("character", "\u2028\u2029\x85\x0b\x0c\x1c")
def test_only_line_feeds_separate_rows(character):
    parsed = rows_of(
        f"| [Foo{character}Bar](http://x/) | d{character}e | No | Yes | No |\r", "| [B](http://b) | d | No | Yes | No |"
    )
    first, second = parsed.catalogue.names()
    assert first in (f"Foo{character}Bar", "Foo Bar")
    assert second == "B"


@pytest.mark.parametrize(
    "line",
    ["|-" + " " * 10**6 + "x", "| [" + "](x" * 300_000 + " |", "|" * 10**6, "[" * 10**6, "|\\" * 10**6, "|![" * 10**5],
)
def test_a_long_line_takes_linear_time(line):
    """Each of these took minutes or hours with a backtracking pattern."""
    assert "A" in rows_of("| [A](http://a) | d | No | Yes | No |", line).catalogue.names()


@pytest.mark.parametrize("preferred", [["x"], {}, None, 7])
def test_an_invalid_preferred_version_is_ignored(preferred):
    document = {"a": {"preferred": preferred, "versions": {"1": {"info": {"title": "A"}}}}}
    assert parse(msgspec.json.encode(document)).catalogue.names() == ["A"]


def test_issues_are_short_however_long_the_row_is():
    report = rows_of("| [A](http://a) | d | No | Yes | No | " + "x" * 10**6 + " |").report
    assert len(report.repaired.first[0].reason) < 300
