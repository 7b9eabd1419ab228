"""A catalogue that a subprocess builds is the same one, and so are the errors that it raises."""

import errno
import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from apidex.catalogue import codec, formats
from apidex.errors import CatalogueError, CodecError
from apidex.indexing import builder
from apidex.indexing.worker import size_of as size_of_data
from apidex.replication.snapshot import Snapshot
from apidex.replication.snapshot import _size as size_of
from apidex.search import filters, sorted_names
from apidex.search.names import NameIndex
from conftest import client_of, running_app
from fakes import FakeClock, FakeUpstream, publicapis
from processes import wait_until

NAMES = ["Cat Facts", "Cats", "Pokéapi", "İBB 🎉", "a" * 256, *(f"Filler {number}" for number in range(2000))]
LIMIT = 10**7
PAYLOAD = codec.to_bytes(formats.parse(publicapis(*NAMES)))


@pytest.fixture
def in_subprocess(monkeypatch):
    """A subprocess builds every catalogue, however small."""
    monkeypatch.setattr(builder, "SUBPROCESS_THRESHOLD", 0)


def contents_of(built: builder.IndexedCatalogue) -> list:
    catalogue, names, facets = built.parsed.catalogue, built.search.names, built.search.facets
    texts = (catalogue.canonical, built.index.text, names.text)
    numbers = (catalogue.bounds, built.index.starts, names.starts, facets.key_numbers)
    word_starts = [bool(names.word_starts[place]) for place in range(names.starts[-1])]
    others = [catalogue.digest, catalogue.categories, built.parsed.report, facets.keys]
    return [*(bytes(memoryview(text)) for text in texts), *map(list, numbers), word_starts, *others]


@pytest.mark.parametrize(
    ("build", "data", "option"),
    [
        pytest.param(builder.from_upstream, publicapis(*NAMES), None, id="upstream"),
        pytest.param(
            builder.from_upstream,
            msgspec.json.encode({"entries": [{"API": "Cat"}, {"API": ""}, {"API": "Dog"}]}),
            None,
            id="repaired",
        ),
        pytest.param(builder.from_upstream, b"\xef\xbb\xbf" + publicapis(*NAMES), "publicapis", id="format named"),
        pytest.param(builder.from_payload, PAYLOAD, LIMIT, id="payload"),
    ],
)
def test_a_subprocess_builds_the_same_as_this_process(request, build, data, option):
    here = build(data, option)
    request.getfixturevalue("in_subprocess")
    there = build(data, option)
    assert isinstance(there.parsed.catalogue.canonical, memoryview)
    assert contents_of(there) == contents_of(here)
    assert there.index.find("Cat") == here.index.find("Cat") != []
    assert there.search.search("cat", {}) == here.search.search("cat", {})
    assert there.search.search("cat", {}).hits
    assert there.parsed.catalogue.names() == here.parsed.catalogue.names()
    assert list(there.parsed.catalogue) == list(here.parsed.catalogue)
    assert codec.to_bytes(there.parsed) == codec.to_bytes(here.parsed)


def test_a_response_is_not_held_twice_while_a_subprocess_reads_it(in_subprocess):
    body = bytearray(publicapis(*NAMES))
    assert builder.from_upstream(body).parsed.catalogue.names() == NAMES
    assert not body


def test_exact_names_are_scanned_if_they_are_short_together(in_subprocess, monkeypatch):
    scanned = builder.from_upstream(publicapis(*NAMES)).index
    monkeypatch.setattr(sorted_names, "MAX_SCANNED", len(scanned.text) - 1)
    verified = builder.from_upstream(publicapis(*NAMES)).index
    assert (type(scanned), type(verified)) == (NameIndex, sorted_names.VerifiedNames)
    assert verified.find("Cat") == scanned.find("Cat") != []


def test_the_values_of_filters_are_sorted_before_the_first_request_that_has_one(in_subprocess, monkeypatch):
    """The event loop checks them, and there may be 20,000 categories."""
    facets = builder.from_upstream(publicapis(*NAMES)).search.facets
    monkeypatch.setattr(filters, "_alphabetical", None)
    assert facets.parse({"category": ["things"]}) == {"category": {"Things"}}


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (b"<html>", "format", "HTML"),
        (b'{"entries":[]}', "empty", "no entries"),
        (b'{"entries":[1,2]}', "unreadable", "row 1"),
    ],
)
def test_a_subprocess_refuses_an_upstream_response_in_the_same_words(in_subprocess, body, reason, text):
    with pytest.raises(CatalogueError, match=text) as refused:
        builder.from_upstream(body)
    assert refused.value.reason == reason


@pytest.mark.parametrize(("payload", "limit", "kind"), [(PAYLOAD[:-9], LIMIT, "damaged"), (PAYLOAD, 1000, "too_large")])
def test_a_subprocess_says_why_a_payload_is_invalid(in_subprocess, payload, limit, kind):
    with pytest.raises(CodecError) as refused:
        builder.from_payload(payload, limit)
    assert refused.value.reason == kind


def test_a_subprocess_that_dies_builds_no_catalogue(in_subprocess, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with exit status 1"):
        builder.from_upstream(publicapis("Cat"))


def test_the_subprocess_yields_to_requests_and_does_not_receive_ctrl_c(in_subprocess, monkeypatch):
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


def test_a_replica_with_a_small_catalogue_does_not_import_numpy():
    program = (
        "import sys; from apidex.app import *; from apidex.http.routes import litestar_app; from apidex.indexing import builder;"
        f"builder.from_upstream({publicapis('Cat')!r}).search.search('cat', {{}}); sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_subprocess_runs_no_code_of_a_folder_and_gets_no_secret(in_subprocess, monkeypatch, tmp_path):
    environment, ran = [], tmp_path / "ran"

    class Watched(subprocess.Popen):
        def communicate(self, *given, **named):
            environment.append(Path(f"/proc/{self.pid}/environ").read_bytes())
            return super().communicate(*given, **named)

    (tmp_path / "apidex").mkdir()
    for name in ("sitecustomize", "usercustomize", "msgspec", "mmap", "apidex/__init__"):
        (tmp_path / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "APIDEX_REDIS_PASSWORD", "HTTPS_PROXY"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", Watched)
    assert builder.from_upstream(publicapis("Cat")).parsed.catalogue.names() == ["Cat"]
    assert not ran.exists()
    assert [str(tmp_path).encode() in text for text in environment] == [False]


def test_a_subprocess_that_does_not_end_is_ended(in_subprocess, monkeypatch):
    monkeypatch.setattr(builder, "_PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(builder, "_TIMEOUT", 0.2)
    with pytest.raises(RuntimeError, match=r"did not end within 0\.2 s"):
        builder.from_upstream(publicapis("Cat"))


def test_the_subprocess_ends_with_a_replica_that_is_killed(tmp_path):
    pid = tmp_path / "pid"
    worker = (
        f"import os, pathlib, time; import apidex.indexing.worker as worker; pid = pathlib.Path({str(pid)!r})",
        "def build(*_): pid.write_text(str(os.getpid())); time.sleep(600)",
        "worker.build = build",
        "main()",
    )
    replica = (
        "from apidex.indexing import builder",
        "builder.SUBPROCESS_THRESHOLD = 0",
        f"builder._PROGRAM = builder._PROGRAM.removesuffix('main()') + {chr(10).join(worker)!r}",
        f"builder.from_upstream({publicapis('Cat')!r})",
    )
    with subprocess.Popen([sys.executable, "-c", "\n".join(replica)]) as process:
        wait_until(lambda: pid.exists() and pid.read_text(), "the subprocess builds")
        process.kill()
    status = Path(f"/proc/{pid.read_text()}/stat")
    wait_until(lambda: not status.exists() or ") Z " in status.read_text(), "the subprocess has ended")


@pytest.mark.parametrize(
    ("does", "cost", "of_payload"),
    [
        ("sum(iter(int, 1))", "21 seconds of CPU time", "too_large"),
        ("bytearray(2**40)", "128 MiB of memory", "too_large"),
        ("SharedBuffer().write(bytes(2**26) * 3)", "128 MiB of memory", "too_large"),
        ("os.kill(os.getpid(), 9)", "the memory that there is, 128 MiB at most", "resources"),
    ],
)
def test_a_list_that_takes_too_much_of_a_subprocess_is_refused(in_subprocess, monkeypatch, does, cost, of_payload):
    """The limit of CPU time is one second here, as the test takes as long."""
    lines = (
        "import os, apidex.indexing.worker as worker",
        "from apidex.indexing.shared_buffer import SharedBuffer",
        "worker.cpu_limit = lambda size: 1",
        f"def build(*_): {does}",
        "worker.build = build",
        "main()",
    )
    monkeypatch.setattr(builder, "_PROGRAM", "\n".join([builder._PROGRAM.removesuffix("; main()"), *lines]))
    monkeypatch.setattr(builder, "cpu_limit", lambda size: 21)
    with pytest.raises(CatalogueError, match=f"reading it takes more than {cost}") as refused:
        builder.from_upstream(publicapis("Cat"))
    assert refused.value.reason == "too_costly"
    with pytest.raises(CodecError, match=cost) as damaged:
        builder.from_payload(codec.to_bytes(formats.parse(publicapis("Cat"))), LIMIT)
    assert damaged.value.reason == of_payload


def test_a_machine_that_can_start_no_process_is_no_defect(in_subprocess, monkeypatch):
    def no_process(*_given, **_named):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    cost = "reading it takes more than this machine has: Resource temporarily unavailable"
    with pytest.raises(CatalogueError, match=cost) as refused:
        builder.from_upstream(publicapis("Cat"))
    assert refused.value.reason == "too_costly"
    with pytest.raises(CodecError, match=cost) as unreadable:
        builder.from_payload(PAYLOAD, LIMIT)
    assert unreadable.value.reason == "resources"


@pytest.mark.parametrize("word", ["Weather", "a b c d e f g h", "天気", "\ufdfa" * 20])
def test_the_memory_of_a_catalogue_is_counted(word):
    """So that as many are kept as there is room for. What is not counted does not grow with the entries."""
    body = publicapis(*(f"{word} {number}" for number in range(1500)))
    builder.from_upstream(body)  # what is cached once
    gc.collect()
    tracemalloc.start()
    built = builder.from_upstream(body)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    snapshot = Snapshot.of(built, 1, "source", 0.0)
    assert taken < 1.25 * size_of(snapshot) + 100_000


@pytest.mark.parametrize("names", [100, 100_000])
def test_a_list_of_names_alone_stays_below_the_limits(in_subprocess, names):
    """No list takes more memory for each byte."""
    body = msgspec.json.encode([{"name": f"{number}"} for number in range(names)])
    assert len(builder.from_upstream(body).parsed.catalogue) == names


def test_a_payload_whose_catalogue_is_larger_than_its_list_stays_below_the_limits():
    body = msgspec.json.encode([{"name": f"{number:024}"} for number in range(100_000)])
    limit = codec.size_limit(len(body))
    parsed = builder.from_upstream(body).parsed
    assert 3 * len(body) < len(parsed.catalogue.canonical) < limit
    assert len(builder.from_payload(codec.to_bytes(parsed), limit).parsed.catalogue) == 100_000


def test_a_forged_payload_gets_no_more_memory_than_two_lists():
    forged = msgspec.structs.replace(codec._decode(PAYLOAD), size=2**40)
    assert size_of_data("payload", codec.size_limit(2**23), codec._encode(forged)) == 2 * 2**23 + 2**19


def test_a_small_payload_of_a_large_catalogue_is_read_in_a_subprocess(monkeypatch):
    payload = codec.to_bytes(formats.parse(publicapis(*(f"Cat {number}" for number in range(5000)))))
    assert len(payload) < builder.SUBPROCESS_THRESHOLD
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="exit status 1"):
        builder.from_payload(payload, LIMIT)


async def test_a_replica_answers_from_a_catalogue_built_by_a_subprocess(in_subprocess):
    async with running_app(FakeUpstream(*NAMES), FakeClock()) as app:
        assert isinstance(app.replica.refresher.current.catalogue.canonical, memoryview)
        for path in ("/Cat", "/Filler%201", "/no%20API", "/v1/catalogue"):
            async with client_of(app.asgi) as client, client_of(app.without_fast_path) as plain:
                assert (await client.get(path)).content == (await plain.get(path)).content
