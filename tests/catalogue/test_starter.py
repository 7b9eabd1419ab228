"""The starter catalogue is large enough, and its texts are our own."""

import difflib
import subprocess
import sys

from apidex.catalogue import starter


def test_it_has_enough_entries_and_categories():
    parsed, as_of = starter.load()
    assert len(parsed.catalogue) >= 200
    assert parsed.catalogue.categories >= 20
    assert parsed.report.repaired.total == parsed.report.rejected.total == 0
    assert as_of > 1_700_000_000


def test_it_is_read_without_the_markdown_parser():
    """Each replica reads it at its start, and would keep the parser in memory."""
    program = "import sys; from apidex.catalogue import starter; starter.load(); sys.exit('markdown_it' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_entries_are_distinct_and_have_links():
    entries = list(starter.load()[0].catalogue)
    assert len({(item.name, item.link) for item in entries}) == len(entries)
    assert all(item.link.startswith(("https://", "http://")) and item.description for item in entries)


def test_its_descriptions_are_our_own(real_entries):
    theirs = {item["Description"].casefold() for item in real_entries}
    by_name = {item["API"]: item["Description"] for item in real_entries}
    for item in starter.load()[0].catalogue:
        assert item.description.casefold() not in theirs, item
        likeness = difflib.SequenceMatcher(None, item.description, by_name.get(item.name, "")).ratio()
        assert likeness < 0.8, item
