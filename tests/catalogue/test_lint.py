"""What is suspicious in a list that can be read, with the rows that whoever maintains it looks for."""

import msgspec
import pytest

from apidex.catalogue.formats import parse
from apidex.catalogue.formats.lint import LintReport, suspicions

README = """\
# List
<a id="top"></a>
## Index
* [Animals](#animals) [Odd](#odd--even-) [Again](#animals-1) [Top](#TOP) [Under](#under-lined)
* [Gone](#gone) <a href="#away">Away</a> [한국](#%ED%95%9C%EA%B5%AD)

### Animals
| API | Description | Auth | HTTPS | CORS |
|---|---|---|---|---|
| [Cats](https://cats.example/) | Cats | `apiKey` | Yes | Yes |
| [cats](https://dogs.example/a) | Dogs | `apiKey` | Yes | Yes |
| [Bees](http://CATS.example) | Bees | `apikey` | Yes | perhaps |

### Odd & "Even"!
### Animals
### 한국
Under _lined_
---
"""


def linted(body: str | object) -> tuple[LintReport, list[tuple]]:
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    report = LintReport()
    parse(text.encode(), report=report)
    found = suspicions(report, text if report.format == "markdown" else "")
    return report, [(each.kind, each.rows, each.text) for each in found]


def test_duplicates_and_dead_anchors_of_a_readme_are_found_with_their_lines():
    report, found = linted(README)
    assert found == [
        ("duplicate name", [10, 11], "Cats, cats"),
        ("duplicate link", [10, 12], "https://cats.example/, http://CATS.example"),
        ("dead anchor", [4], "#odd--even-"),
        ("dead anchor", [5], "#gone"),
        ("dead anchor", [5], "#away"),
    ]
    repairs = [
        (issue.row, each.column, each.before, each.after) for issue in report.repaired.first for each in issue.repairs
    ]
    assert repairs == [(12, "auth", "apikey", "apiKey"), (12, "cors", "perhaps", "unknown")]


@pytest.mark.parametrize("column", ["Category", "Provider"])
def test_a_value_that_is_spelled_in_two_ways_is_suspicious(column):
    spelled = ["Open Data", "open data", "Open-Data", "Open Data", "Other"]
    _, found = linted(
        [{"name": f"API {at}", "url": f"https://{at}.example/", column: text} for at, text in enumerate(spelled)]
    )
    assert found == [(f"mixed spelling of {column.lower()}", [2, 3], "open data, Open-Data; mostly Open Data")]


def test_a_link_that_is_no_web_address_is_suspicious():
    links = ["https://a.example/", "HTTP://b.example/", "", "htp:/c", "www.d.example", "ftp://e.example/", "/f"]
    _, found = linted([{"name": f"API {at}", "url": link} for at, link in enumerate(links, start=1)])
    assert [(kind, rows, text.split(";")[0]) for kind, rows, text in found] == [
        ("unusable link", [row], links[row - 1]) for row in (4, 5, 6, 7)
    ]


def test_every_issue_is_kept():
    report, _ = linted([{"name": f"API {at}", "url": ""} for at in range(300)])
    assert len(report.repaired.first) == 300
    assert len(parse(msgspec.json.encode([{"name": f"API {at}"} for at in range(300)])).report.repaired.first) == 200
