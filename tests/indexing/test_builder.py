"""A catalogue that another process made ready is the same one, and so is what it raises."""

import os
import subprocess
import sys

import msgspec
import pytest

from apidex.catalogue import codec, formats
from apidex.errors import CatalogueError, CodecError
from apidex.indexing import builder
from conftest import client_of, running_app
from fakes import FakeClock, FakeUpstream, publicapis

NAMES = ["Cat Facts", "Cats", "Pokéapi", "İBB 🎉", "a" * 256, *(f"Filler {number}" for number in range(2000))]
LIMIT = 10**7


@pytest.fixture
def apart(monkeypatch):
    """Whatever is to be made ready is large."""
    monkeypatch.setattr(builder, "SUBPROCESS_THRESHOLD", 0)


def shape_of(prepared: builder.IndexedCatalogue) -> tuple:
    catalogue = prepared.parsed.catalogue
    return (bytes(catalogue.canonical), list(catalogue.bounds), catalogue.digest, catalogue.categories), (
        prepared.parsed.report,
        bytes(memoryview(prepared.index.text)),
        list(prepared.index.starts),
        *search_shape_of(prepared.search),
    )


def search_shape_of(search) -> tuple:
    names, facets = search.names, search.facets
    arrays = bytes(memoryview(names.text)), bytes(names.word_starts), list(names.starts), list(facets.key_numbers)
    return (*arrays, facets.keys, search.vocabulary)


BODIES = [
    pytest.param(publicapis(*NAMES), None, id="publicapis"),
    pytest.param(
        msgspec.json.encode({"entries": [{"API": "Cat"}, {"API": 7}, {"API": "Dog"}]}),
        None,
        id="repaired",
    ),
    pytest.param(b"\xef\xbb\xbf" + publicapis(*NAMES), "publicapis", id="format named"),
]


@pytest.mark.parametrize(("body", "format_name"), BODIES)
def test_an_upstreams_answer_is_read_the_same_way_here_and_apart(monkeypatch, body, format_name):
    here = builder.from_upstream(body, format_name)
    monkeypatch.setattr(builder, "SUBPROCESS_THRESHOLD", 0)
    there = builder.from_upstream(body, format_name)
    assert isinstance(there.parsed.catalogue.canonical, memoryview)
    assert shape_of(there) == shape_of(here)
    assert there.index.find("Cat") == here.index.find("Cat") != []
    assert there.search.search("cat", {}).hits == here.search.search("cat", {}).hits != []
    assert there.parsed.catalogue.names() == here.parsed.catalogue.names()
    assert list(there.parsed.catalogue) == list(here.parsed.catalogue)


def test_a_payload_is_read_the_same_way_here_and_apart(monkeypatch):
    payload = codec.to_bytes(formats.parse(publicapis(*NAMES)))
    here = builder.from_payload(payload, LIMIT)
    monkeypatch.setattr(builder, "SUBPROCESS_THRESHOLD", 0)
    there = builder.from_payload(payload, LIMIT)
    assert shape_of(there) == shape_of(here)
    assert codec.to_bytes(there.parsed) == payload


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (b"<html>", "format", "HTML"),
        (b'{"entries":[]}', "empty", "no entries"),
        (b'{"entries":[1,2]}', "unreadable", "row 1"),
    ],
)
def test_what_is_refused_apart_is_refused_here_in_the_same_words(apart, body, reason, text):
    with pytest.raises(CatalogueError, match=text) as refused:
        builder.from_upstream(body)
    assert refused.value.reason == reason


def test_a_payload_that_cannot_be_read_apart_says_why(apart):
    payload = codec.to_bytes(formats.parse(publicapis(*NAMES)))
    for damaged, limit, kind in ((payload[:-9], LIMIT, "damaged"), (payload, 1000, "too_large")):
        with pytest.raises(CodecError) as refused:
            builder.from_payload(damaged, limit)
        assert refused.value.kind == kind


def test_a_process_that_dies_makes_no_catalogue(apart, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with 1"):
        builder.from_upstream(publicapis("Cat"))


def test_whoever_prepares_goes_behind_requests_and_is_not_ended_by_a_key(apart, monkeypatch):
    seen = []

    class Watched(subprocess.Popen):
        def communicate(self, *given, **named):
            seen.append((os.getsid(self.pid), os.getpriority(os.PRIO_PROCESS, self.pid), os.getpgid(self.pid)))
            return super().communicate(*given, **named)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    builder.from_upstream(publicapis(*NAMES))
    [(session, nice, group)] = seen
    assert (session, nice) == (os.getsid(0), 19)
    assert group != os.getpgid(0)


async def test_a_replica_answers_from_what_was_made_apart_as_from_any(apart):
    async with running_app(FakeUpstream(*NAMES), FakeClock()) as app:
        assert isinstance(app.replica.refresher.current.catalogue.canonical, memoryview)
        for path in ("/Cat", "/Filler%201", "/no%20API", "/v1/catalogue"):
            async with client_of(app.asgi) as client, client_of(app.without_fast_path) as plain:
                assert (await client.get(path)).content == (await plain.get(path)).content
