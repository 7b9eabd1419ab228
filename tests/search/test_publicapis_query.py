"""The filters of the old service find what the slow way finds, and its parameters are read as it read them."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.errors import QueryError
from apidex.search.publicapis import CORS, NO, YES, PublicApisQuery, normalize_query
from fakes import entry

WORDS = ["Cat", "cat", "Straße", "STRASSE", "Science & Math", "null", "İstanbul", "apiKey", "OAuth", "no", "100%", ""]
text = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join) | st.text(max_size=6)
entries = st.lists(
    st.builds(
        entry,
        text,
        description=text,
        auth=st.sampled_from(["", "apiKey", "OAuth", "X-Mashape-Key", "null"]),
        https=st.booleans(),
        cors=st.sampled_from(CORS),
        category=text,
    ),
    max_size=12,
)
any_case = st.sampled_from([str.lower, str.upper, str.title, str])
word = st.builds(lambda word, change: change(word), st.sampled_from(["", *CORS]), any_case)
asked = st.fixed_dictionaries(
    {},
    optional={
        "title": text | st.text(max_size=1),
        "description": text,
        "auth": text | st.sampled_from(["NULL", "null", "key", "nul"]),
        "https": st.sampled_from(["", *YES, *NO]),
        "cors": word,
        "category": text | st.just("science"),
    },
)


class Entries(list):
    """What is read of a catalogue, two entries at a time."""

    def batches(self):
        return (self[start : start + 2] for start in range(0, len(self), 2))


def found(entries, asked) -> list[int]:
    return [*chain(*PublicApisQuery(**asked).select(Entries(entries)))]


def has(entry, asked) -> bool:
    """The documentation of the old service, sentence by sentence."""
    texts = {"title": entry.name, "description": entry.description, "category": entry.category, "auth": entry.auth}
    for name, text in texts.items():
        wanted = asked.get(name, "")
        none_wanted = name == "auth" and wanted.casefold() == "null" and text == ""
        if wanted.casefold() not in text.casefold() and not none_wanted:
            return False
    https = asked.get("https", "")
    if https and entry.https is not (https[0] in "1tT"):
        return False
    return asked.get("cors", "").lower() in ("", entry.cors)


@given(entries, asked)
def test_what_is_found_has_all_that_was_asked_for(entries, asked):
    assert found(entries, asked) == [position for position, entry in enumerate(entries) if has(entry, asked)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("https", value) for value in ("maybe", "yes", "tRUE", " true")),
        *(("cors", value) for value in ("maybe", "unk", "yes,no", " yes")),
    ],
)
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(QueryError, match=f"{name}: '{value}' is not allowed"):
        PublicApisQuery(**{name: value})


@pytest.mark.parametrize(
    ("query", "read"),
    [
        (b"", b""),
        (b"Title=Cat&CORS=No", b"title=Cat&cors=No"),
        (b"category=Science%20&%20Math&title=NASA", b"category=Science%20%26%20Math&title=NASA"),
        (b"title=A=B&&=C&D", b"title=A=B&&=C&d"),
    ],
)
def test_a_query_is_read_as_it_was(query, read):
    assert normalize_query(query) == read
