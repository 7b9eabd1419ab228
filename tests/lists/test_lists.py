"""Lists as their publishers write them: each file here has what a person reads from it."""

import csv
import html
import io
from collections.abc import Callable
from pathlib import Path
from time import process_time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.catalogue.entry import TEXT_LIMIT, to_dict
from apidex.catalogue.formats import parse
from apidex.catalogue.formats.fields import NAMES_OF_FIELDS, rank_of
from apidex.catalogue.formats.markup import MARKUP_LIMIT, plain_text, read_inline
from apidex.errors import CatalogueError
from apidex.search.index import SearchIndex

LISTS = [
    path
    for path in sorted(Path(__file__).parent.iterdir())
    if path.suffix not in (".py", ".expected") and path.is_file()
]


def entries_of(body: str | bytes | object) -> list[dict]:
    data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else msgspec.json.encode(body)
    return [to_dict(entry) for entry in parse(data).catalogue]


def table(*lines: str) -> str:
    return "\n".join(["## Index", "### Plants", *lines])


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_is_read_as_a_person_reads_it(path):
    expected = msgspec.json.decode(path.with_name(f"{path.name}.expected").read_bytes())
    assert [[*each.values()] for each in entries_of(path.read_bytes())] == expected


@pytest.mark.parametrize(
    ("said", "auth"),
    [
        (None, ""),
        (False, ""),
        ("No", ""),
        ("없음", ""),
        ("-", ""),
        ("No auth", ""),
        ("Not required", ""),
        ("No API key required.", ""),
        ("Key", "Key"),
        (True, "yes"),
        (7, "7"),
        (["apiKey", "OAuth"], "apiKey, OAuth"),
        ({"type": "apiKey", "in": "header"}, "apiKey"),
        ({"required": True}, "unknown"),
        ([{"apiKey": []}], "unknown"),
        ({}, ""),
        ([], ""),
    ],
)
def test_authentication_of_any_type_keeps_the_entry(said, auth):
    assert [each["Auth"] for each in entries_of([{"API": "Oak", "Auth": said}])] == [auth]


@pytest.mark.parametrize(
    "said",
    [
        ["https://oak.example", "https://elm.example"],
        [{"href": "https://oak.example"}, {"href": "https://elm.example"}],
        {"type": "docs", "url": "https://oak.example"},
    ],
)
def test_the_link_is_the_first_of_several(said):
    assert [each["Link"] for each in entries_of([{"name": "Oak", "links": said}])] == ["https://oak.example"]


@pytest.mark.parametrize(
    "lists",
    [
        {"categories": ["Trees"], "contact": [{"FN": "Ann"}]},
        {"resources": [], "tags": []},
        {"apis": [], "endpoints": []},
    ],
)
def test_an_entry_whose_lists_hold_no_entries_is_one(lists):
    assert [each["API"] for each in entries_of([{"name": "Oak", "url": "https://oak.example", **lists}])] == ["Oak"]


def test_a_category_without_apis_is_no_rejected_row():
    groups = [{"name": "Trees", "apis": [{"name": "Oak"}]}, {"name": "Ferns", "apis": []}]
    report = parse(msgspec.json.encode({"categories": groups})).report
    assert (report.rows, report.rejected.total) == (1, 0)


def test_lists_beside_that_of_the_apis_are_reported_as_ignored():
    tree = {"tags": ["a", "b"], "apis": [{"name": "Oak"}], "maintainers": [{"name": "Ann"}]}
    report = parse(msgspec.json.encode(tree)).report
    assert [(issue.row, issue.name) for issue in report.ignored.first] == [(1, "tags"), (3, "maintainers")]


@pytest.mark.parametrize(
    ("said", "link", "https"),
    [
        ({"HTTPS": "Yes"}, "http://oak.example", True),
        ({"HTTPS": "예"}, "", True),
        ({"HTTPS": "✅"}, "", True),
        ({"HTTPS": 1}, "", True),
        ({"HTTPS": "não"}, "https://oak.example", False),
        ({"HTTPS": "❌"}, "https://oak.example", False),
        ({"HTTPS": None}, "https://oak.example", True),
        ({"HTTPS": "?"}, "https://oak.example", True),
        ({"HTTPS": ["x"]}, "https://oak.example", True),
        ({}, "https://oak.example", True),
        ({}, "http://oak.example", False),
        ({}, "", False),
    ],
)
def test_https_is_a_word_or_else_the_scheme_of_the_link(said, link, https):
    assert [each["HTTPS"] for each in entries_of([{"API": "Oak", "Link": link, **said}])] == [https]


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "-0.1", "[1, [2, {}]]", "[" * 500 + "]" * 500])
def test_no_number_and_no_nesting_costs_an_entry(number):
    [entry] = entries_of(f'[{{"API": "Oak", "Auth": {number}, "tags": {number}, "extra": {number}}}]')
    assert entry["API"] == "Oak"


@pytest.mark.parametrize(
    ("said", "cors"), [(True, "yes"), ("No", "no"), ("Sí", "yes"), ("不明", "unknown"), (None, "unknown")]
)
def test_cors_has_three_spellings(said, cors):
    assert [each["Cors"] for each in entries_of([{"API": "Oak", "Cors": said}])] == [cors]


def test_authentication_is_spelled_as_most_entries_spell_it_so_that_facet_and_filter_agree():
    said = ["apikey", "apiKey", "API Key", "`apiKey`", "OAuth", ""]
    parsed = parse(msgspec.json.encode([{"API": f"Oak {at}", "Auth": auth} for at, auth in enumerate(said)]))
    assert [entry.auth for entry in parsed.catalogue] == ["apiKey"] * 4 + ["OAuth", ""]
    assert "authentication 'apikey' became 'apiKey'" in parsed.report.repaired.first[0].reason
    search = SearchIndex.build(parsed.catalogue)
    assert sum(map(len, search.facets.batches(search.facets.parse({"auth": ["APIKEY"]})))) == 4
    assert search.facets.values("auth") == ["apiKey", "none", "OAuth"]


@pytest.mark.parametrize(
    ("cell", "name", "link"),
    [
        ('[Oak](https://oak.example/ "Trees")', "Oak", "https://oak.example/"),
        ("**[Oak](https://oak.example/)**", "Oak", "https://oak.example/"),
        ("[Oak] (https://oak.example/)", "Oak", "https://oak.example/"),
        ("[Oak](https://oak.example/ )", "Oak", "https://oak.example/"),
        ("[Oak](<https://oak.example/>) 🌳", "Oak", "https://oak.example/"),
        ("[Oak](https://oak.example/) (beta)", "Oak (beta)", "https://oak.example/"),
        ("[Oak & Elm](https://oak.example/?a=1&b=2)", "Oak & Elm", "https://oak.example/?a=1&b=2"),
        ("[`oak_api`](https://oak.example/a_b_c)", "oak_api", "https://oak.example/a_b_c"),
        ("![logo](https://oak.example/logo.png) [Oak](https://oak.example/)", "Oak", "https://oak.example/"),
        ("Oak <https://oak.example/>", "Oak https://oak.example/", "https://oak.example/"),
        ("R&amp;D <b>Oak</b>", "R&D Oak", ""),
        ("[Oak](javascript:alert)", "Oak", ""),
    ],
)
def test_a_cell_is_read_as_markdown(cell, name, link):
    [entry] = entries_of(table("API | Description | Auth", "|---|---|---|", f"| {cell} | Trees | **No** |"))
    assert (entry["API"], entry["Link"], entry["Auth"]) == (name, link, "")


def test_a_link_counts_wherever_it_stands_in_the_row():
    heads = "| API | Description | HTTPS | Link |", "|---|---|---|---|"
    rows = (
        "| Oak | Trees | Yes | [Go!](https://oak.example/) |",
        "| Elm | Trees | Yes | https://elm.example/ |",
        "| Ash | [Trees](https://ash.example/) | Yes | |",
        "| [Fir](https://fir.example/) | Trees | Yes | |",
        "| Yew | Trees | Yes | | https://yew.example/ |",
    )
    names = ("oak", "elm", "ash", "fir", "yew")
    assert [each["Link"] for each in entries_of(table(*heads, *rows))] == [f"https://{name}.example/" for name in names]


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("line", ["|", "||", "| |", "|---|---|", "|\\", "[|", "| [x](", "|" * 500])
def test_no_row_costs_more_than_itself(line, place):
    lines = ["# Plants", "", "Name | Auth", "---|---", "| Oak | No |", "| Elm | No |"]
    if place == 2:
        lines[2:2] = [line, ""]
    else:
        lines.insert(place, line)
    assert {"Oak", "Elm"} <= {each["API"] for each in entries_of("\n".join(lines))}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Tree | Height\n---|---\nOak | 30 m", "columns Tree, Height; missing is one for names, such as API or Name"),
        ("Name | Height\n---|---\nOak | 30 m", "columns Name, Height; missing is another one that is known"),
        ('[{"tree": "Oak"}]', "keys 'tree'; missing is one for names"),
        ('{"trees": 3}', "keys 'trees'; missing is a list of objects"),
    ],
)
def test_a_refusal_names_what_was_seen_and_what_is_missing(body, text):
    with pytest.raises(CatalogueError) as refusal:
        parse(body.encode())
    assert text in str(refusal.value)


@pytest.mark.parametrize("head", ["Nome", "Titre", "api_name", "**API**"])
def test_heads_of_more_spellings_than_the_lists_have_are_names(head):
    [entry] = entries_of(table(f"| Link | {head} |", "|---|---|", "| https://oak.example | Oak |"))
    assert entry["API"] == "Oak"


def test_no_name_stands_for_two_fields():
    assert {name: (rank_of(name) or ())[1:] for names in NAMES_OF_FIELDS.values() for name in names} == {
        name: (field,) for field, names in NAMES_OF_FIELDS.items() for name in names
    }


def guru(**apis: object) -> bytes:
    return msgspec.json.encode(apis)


def version(title: str, description: str) -> dict:
    return {"preferred": "1", "versions": {"1": {"info": {"title": title, "description": description}}}}


def test_one_odd_api_of_apis_guru_costs_only_itself():
    well = {name: version(name, "x") for name in ("Oak", "Fir", "Yew")}
    parsed = parse(guru(elm={"added": "2020"}, ash=7, **well, pine={"versions": {"1": {}}}))
    assert parsed.catalogue.names() == ["Oak", "Fir", "Yew"]
    assert [issue.name for issue in parsed.report.rejected.first] == ["elm", "ash", "pine"]


@pytest.mark.parametrize("length", [5_000, 50_000])
def test_a_long_description_is_cut_and_reported(length):
    parsed = parse(guru(oak=version("Oak", "x" * length)))
    assert len(parsed.catalogue[0].description) == TEXT_LIMIT
    assert f"{length} characters" in parsed.report.repaired.first[-1].reason


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("# Introduction\nTrees and *more*.\n\nSecond.", "Trees and more."),
        ("# Trees", "Trees"),
        ("<p>Trees &amp; <b>more</b></p>\n<p>Second</p>", "Trees & more Second"),
        ("<script>alert(1)</script>Trees", "Trees"),
        ("A set of <Oak> trees, a < b", "A set of <Oak> trees, a < b"),
        ("[Trees](https://oak.example) with C# & AT&T, snake_case", "Trees with C# & AT&T, snake_case"),
        ("Trees\nand more", "Trees and more"),
        ("---\n```\ntrees\n```", "trees"),
        ("", ""),
    ],
)
def test_a_description_becomes_plain_text(source, text):
    assert plain_text(source) == text


words = st.text("aZé木 &.-'!/()1\",;", max_size=12).map(lambda text: " ".join(f"Z{text}".split()))
facts = st.fixed_dictionaries(
    {
        "Auth": st.sampled_from(["", "apiKey", "OAuth"]),
        "HTTPS": st.booleans(),
        "Cors": st.sampled_from(["yes", "no", "unknown"]),
    }
)
columns = {
    "API": "API",
    "Description": "설명",
    "Auth": "Auth",
    "HTTPS": "HTTPS",
    "Cors": "CORS",
    "Link": "Enlace",
    "Category": "分类",
}


Written = list[list[str]]
"""The cells of a table, the heads first."""


def as_markdown(table: Written) -> str:
    heads, *rows = table
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])


def as_html(table: Written) -> str:
    cells = [[f"<td>{html.escape(cell)}</td>" for cell in row] for row in table]
    return "<table>\n" + "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells) + "\n</table>"


def as_delimited(delimiter: str) -> Callable[[Written], str]:
    def write(table: Written) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(table)
        return text.getvalue()

    return write


def as_json(table: Written) -> str:
    heads, *rows = table
    return msgspec.json.encode([dict(zip(heads, row, strict=True)) for row in rows]).decode()


WRITERS = {
    "markdown": as_markdown,
    "html": as_html,
    "csv": as_delimited(","),
    "semicolons": as_delimited(";"),
    "tsv": as_delimited("\t"),
    "json": as_json,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(
    st.lists(st.tuples(words, words, facts), min_size=1, max_size=5),
    st.permutations(list(columns)),
    st.sets(st.sampled_from(list(columns))),
)
def test_any_columns_in_any_order_give_what_was_put_in(write, rows, order, chosen):
    keys = [key for key in order if key in chosen | {"API"}]
    expected = [
        {"API": name, "Description": text, **fact, "Link": "https://oak.example/", "Category": text}
        for name, text, fact in rows
    ]
    said = {True: "Yes", False: "No", "": "No"}
    if len(keys) == 1:
        keys.append("Link")  # a single column is no CSV
    read = entries_of(
        write([[columns[key] for key in keys], *([said.get(row[key], row[key]) for key in keys] for row in expected)])
    )
    assert [{key: row[key] for key in keys} for row in read] == [{key: row[key] for key in keys} for row in expected]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.sampled_from([*columns][1:]), values), min_size=1, max_size=5))
def test_facts_of_any_type_lose_no_named_entry(items):
    named = [{"API": f"Oak {at}", **item} for at, item in enumerate(items)]
    assert [each["API"] for each in entries_of({"entries": named})] == [each["API"] for each in named]


@given(st.text("ab[]()`*_\\<>&;!~#: /.", max_size=30))
def test_what_needs_no_parser_reads_as_the_parser_reads_it(source):
    """A suffix with markup sends the text through the parser, which makes one space of several."""
    source = source.strip()
    assert " ".join(read_inline(source).text.split()) == read_inline(f"{source} \\*").text.removesuffix("*").strip()


@pytest.mark.parametrize(
    "piece", ["[", "![", "[a](", "`a", "*a ", "_a*", "<a ", "[[]](", "a<b ", "<!--", "**a", "~~a", "&#x;"]
)
def test_markup_takes_bounded_time(piece):
    start = process_time()
    plain_text(f"<p>{piece * MARKUP_LIMIT}\n\n{piece * MARKUP_LIMIT}")
    read_inline(piece * 10**6)
    assert process_time() - start < 10


@pytest.mark.parametrize(
    "crafted",
    [
        lambda n: "|\n" * n + table("Name | Auth", "---|---", "Oak | No"),
        lambda n: table("Name | Auth", "---|---", *["|---|---|"] * n, "Oak | No"),
        lambda n: table("Name | Auth", "---|---", *["| ![[[`*_<a | [No"] * (n // 20), "Oak | No"),
        lambda n: table("Name | Auth", "---|---", *[f"Oak {at} | key {at}" for at in range(n)]),
        lambda n: msgspec.json.encode({"apis": [{"name": "Oak", **{f"key {at}": [{}] for at in range(n)}}]}),
        lambda n: msgspec.json.encode({f"Trees {at}": [{"name": "Oak"}] for at in range(n)}),
        lambda n: msgspec.json.encode([{"name": "Oak", "extra": 1}]).replace(b"1", b"[" + b"1.2e-299," * n + b"1]"),
        lambda n: "```\n~~~x\n" * n + table("Name | Auth", "---|---", "Oak | No"),
        lambda n: (
            "\n".join(f"{'`' * (3 + n - at)}x" for at in range(n // 50)) + table("Name|Auth", "---|---", "Oak | No")
        ),
        lambda n: "<!--\n" * n + table("Name | Auth", "---|---", "Oak | No"),
        lambda n: "<table><tr><th>Name<th>Link<tr><td>Oak<td rowspan=99999>" + "*oak* " * n + "<tr><td>Elm" * n,
        lambda n: "<table><tr><th>Name<th>Link<tr><td>Oak<tr><td" + " a\n" * n + ">Elm</table>",
        lambda n: "<table><tr><td>" * n + "\n" + table("Name | Auth", "---|---", "Oak | No"),
        lambda n: table(
            *["<table>", "<tr><th>Name", "<h3>", "Oak", "==="] * (n // 10), "Name | Auth", "---|---", "Oak | No"
        ),
        lambda n: f"name,link{',column' * n}\n" + "Oak,http://oak.example\n" * n,
        lambda n: "name,link\n" + '"Oak,x\n' * n,
        lambda n: "name,link\n" + 'Oak,"x\n' * n,
        lambda n: "name,link\n" + 'Oak",x,"y\n' * n,
        lambda n: "name,link\n" + ',"' * n + '\nOak,"" ' + '"""' * n,
        lambda n: table("Name | Auth", "---|---", *["[a] | [b][a]"] * n, "Oak | No", "", f"[a]: http://{'x' * n}"),
        lambda n: "- [Oak](http://oak.example) [[\n  - [#](#a)\n" * (n // 10),
        lambda n: (
            '{"name": "Oak"}\n' * 2 * n + "\n".join('{"name": "Oak", "auth": ' + "[" * (at % 9) for at in range(n))
        ),
    ],
)
def test_reading_grows_as_the_list_grows(crafted):
    sizes, seconds = [], []
    for rows in (2_000, 16_000):
        body, start = crafted(rows), process_time()
        entries_of(body)
        seconds.append(process_time() - start)
        sizes.append(len(body))
    assert seconds[1] < 4 * sizes[1] / sizes[0] * seconds[0] + 0.5
