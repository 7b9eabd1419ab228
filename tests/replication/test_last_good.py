"""The last good copy on disk survives restarts and is replaced by Redis and the upstream; faults of the disk have no other
effect."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from apidex.catalogue.formats import parse
from apidex.errors import StateError
from apidex.replication import last_good
from apidex.replication.freshness import State
from apidex.replication.last_good import CopyLabels, LastGoodCopy, open_copy
from apidex.replication.validators import Validators
from conftest import client_of, running_app
from fakes import FakeRedis, FakeUpstream, publicapis
from processes import HANG, replica, wait_until
from refreshers import HOUR, refresher_of
from upstream_server import http_server

LABELS = CopyLabels(1_700_000_000_000, 1_700_000_000.0, True, Validators('"1"', "yesterday"))
PARSED = parse(publicapis("Cat", "Dog"))


@pytest.fixture
def copy(tmp_path) -> LastGoodCopy:
    return open_copy(tmp_path / "state", "https://upstream.example/", "auto", 2**20)


async def written(refresher) -> None:
    """Wait until the copy is written, or could not be."""
    await refresher._last_good._writing


async def lived(upstream, clock, redis, copy):
    """A replica that has fetched, and left its copy."""
    refresher = refresher_of(upstream, clock, redis, last_good=copy)
    await refresher.turn()
    await written(refresher)
    return refresher


async def restarted(upstream, clock, redis, copy):
    refresher = refresher_of(upstream, clock, redis, last_good=copy)
    await refresher.restore()
    return refresher


def test_a_copy_is_read_as_it_was_written(copy):
    assert copy.read() is None
    copy.write(PARSED, LABELS)
    labels, built = copy.read()
    assert (labels, built.parsed.report) == (LABELS, PARSED.report)
    assert list(built.parsed.catalogue) == list(PARSED.catalogue)
    assert (copy.path.stat().st_mode & 0o777, copy.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_catalogue_that_is_larger_than_its_list_is_shared_and_restored(upstream, clock, tmp_path):
    """Every entry of the JSON names every field, a row of CSV names none."""
    body = b"API,Link\n" + b"".join(b"%d,https://a.example\n" % number for number in range(10_000, 30_000))
    upstream.sends(body)
    settings = {"state_dir": tmp_path, "upstream_limit": len(body)}
    redis = FakeRedis(clock)
    async with running_app(upstream, clock, redis, **settings) as app:
        first = app.replica.refresher
        await written(first)
        assert (first.current.origin, len(first.current.catalogue)) == ("upstream", 20_000)
        assert len(first.current.catalogue.canonical) > len(body) + 2**20
    upstream.goes_down()
    async with running_app(upstream, clock, redis, upstream_limit=len(body)) as app:
        assert app.replica.refresher.current.origin == "redis"
    async with running_app(upstream, clock, FakeRedis(clock), **settings) as app:
        assert app.replica.refresher.current.origin == "disk"


def test_each_upstream_and_format_has_a_copy_of_its_own(tmp_path):
    upstreams = [("https://a/?key=1", "auto"), ("https://a/?key=2", "auto"), ("https://a/?key=1", "json")]
    assert len({open_copy(tmp_path, *upstream, 1).path for upstream in upstreams}) == 3


def test_validators_of_another_release_are_not_sent(copy, monkeypatch):
    copy.write(PARSED, LABELS)
    monkeypatch.setattr(last_good, "__version__", "9.9.9")
    assert copy.read()[0] == replace(LABELS, validators=Validators())


def sealed(**members) -> bytes:
    """A file with a right checksum, whatever it says."""
    body = msgspec.msgpack.encode(members)
    return hashlib.sha256(body).hexdigest().encode() + body


FILES = {
    "empty": (lambda good: b"", "damaged"),
    "garbage": (lambda good: os.urandom(1000), "damaged"),
    "half-written": (lambda good: good[: len(good) // 2], "damaged"),
    "one bit": (lambda good: good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], "damaged"),
    "another version": (lambda good: sealed(wire=2, release=[]), "version"),
    "not labels": (lambda good: sealed(wire=1, release="0", labels=[], payload=b""), "damaged"),
    "not a payload": (
        lambda good: sealed(wire=1, release="0", labels=msgspec.to_builtins(LABELS), payload=b"x"),
        "damaged",
    ),
    "too large": (lambda good: bytes(2**23), "too_large"),
}


@pytest.mark.parametrize(("change", "reason"), FILES.values(), ids=FILES)
async def test_a_file_that_is_not_a_valid_copy_is_reported_and_replaced(copy, upstream, clock, change, reason):
    copy.write(PARSED, LABELS)
    copy.path.write_bytes(change(copy.path.read_bytes()))
    with pytest.raises(StateError) as error:
        copy.read()
    assert (error.value.reason, str(copy.path) in str(error.value)) == (reason, True)
    refresher = await restarted(upstream, clock, FakeRedis(clock), copy)
    assert (refresher.state(), refresher.stats.copy_errors[reason]) == (State.BUNDLED, 1)
    await refresher.turn()
    await written(refresher)
    assert copy.read()[1].parsed.catalogue.digest == refresher.current.catalogue.digest


@pytest.mark.parametrize("kind", ["directory", "pipe", "link to nowhere"])
def test_only_regular_files_are_read(copy, kind):
    copy.path.parent.mkdir()
    if kind == "link to nowhere":
        copy.path.symlink_to("/nowhere")
        assert copy.read() is None
        copy.write(PARSED, LABELS)
        assert copy.read()[0] == LABELS
        return
    os.mkfifo(copy.path) if kind == "pipe" else copy.path.mkdir()
    with pytest.raises(StateError, match=r"cannot be read: (Is a directory|it is not a regular file)"):
        copy.read()


@pytest.mark.parametrize("place", ["/dev/null/state", "/proc/state"])
async def test_a_directory_that_cannot_be_written_is_reported_once(upstream, clock, place):
    copy = LastGoodCopy(last_good.Path(place) / "catalogue", 2**20)
    refresher = await lived(upstream, clock, FakeRedis(clock), copy)
    assert (refresher.state(), refresher.stats.copy_errors["write"]) == (State.FRESH, 1)
    await refresher.turn()
    assert refresher.stats.copy_errors["write"] == 1, "not tried again at every poll"


def test_a_full_disk_leaves_the_previous_copy_and_no_temporary_file(copy):
    copy.write(PARSED, LABELS)
    program = (
        "import resource, sys; from test_last_good import *; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "LastGoodCopy(last_good.Path(sys.argv[1]), 2**20).write(PARSED, LABELS)"
    )
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program, str(copy.path)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert "cannot be written: File too large" in done.stderr
    assert [path.name for path in copy.path.parent.iterdir()] == [copy.path.name]
    assert copy.read()[0] == LABELS


async def test_writers_at_the_same_time_leave_a_valid_copy_and_what_a_killed_one_left_is_removed(copy):
    copy.write(PARSED, LABELS)
    for name, age in (("killed", 2 * HOUR), ("writing", 0)):
        path = copy.path.with_name(f"{copy.path.name}-{name}.tmp")
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    catalogues = [parse(publicapis(*"ABCDEFGH"[: number + 1])) for number in range(8)]
    await asyncio.gather(*(asyncio.to_thread(copy.write, parsed, LABELS) for parsed in catalogues * 5))
    assert copy.read()[1].parsed.catalogue.digest in {parsed.catalogue.digest for parsed in catalogues}
    assert sorted(path.name.rpartition("-")[2] for path in copy.path.parent.glob("*.tmp")) == ["writing.tmp"]


async def test_a_restarted_replica_answers_from_the_copy_while_its_upstream_is_down(upstream, clock, copy):
    before = await lived(upstream, clock, FakeRedis(clock), copy)
    clock.passes(2 * HOUR)
    upstream.goes_down()
    refresher = await restarted(upstream, clock, FakeRedis(clock), copy)
    assert refresher.current.catalogue.digest == before.current.catalogue.digest
    assert (refresher.current.origin, round(refresher.age()), refresher.state()) == ("disk", 2 * HOUR, State.STALE)
    await refresher.turn()
    assert (refresher.current.origin, refresher.stats.failed_in_a_row) == ("disk", 1)
    assert refresher.store.redis.stored is None, "a copy is not published"


async def test_the_upstream_is_asked_at_once_and_may_validate_the_copy(upstream, clock, copy):
    redis = FakeRedis(clock)
    before = await lived(upstream, clock, redis, copy)
    redis.flush()
    refresher = await restarted(upstream, clock, redis, copy)
    assert refresher.state() is State.FRESH
    await refresher.turn()
    assert +refresher.stats.refreshes == {"not_modified": 1}, "asked although it was fresh, with the copy's validators"
    assert (refresher.current.origin, refresher.current.version) == ("upstream", before.current.version)
    assert redis.stored.version == before.current.version, "now it is published"


async def test_the_stored_catalogue_replaces_any_copy(upstream, clock, copy):
    redis = FakeRedis(clock)
    await lived(upstream, clock, redis, copy)
    _, built = copy.read()
    copy.write(parse(publicapis("Old")), CopyLabels(10**16, clock.wall() + 10**9, True, Validators('"x"')))
    upstream.goes_down()
    refresher = await restarted(upstream, clock, redis, copy)
    assert (refresher.current.catalogue.names(), refresher.state()) == (["Old"], State.STALE), "its age is unknown"
    assert refresher.current.stamp <= int(clock.wall() * 1000)
    await refresher.turn()
    assert refresher.current.catalogue.digest == built.parsed.catalogue.digest
    assert refresher.current.origin == "redis"


async def test_a_copy_of_what_redis_has_takes_the_validation_of_redis(upstream, clock, copy):
    redis = FakeRedis(clock)
    await lived(upstream, clock, redis, copy)
    labels, built = copy.read()
    clock.passes(1000)
    copy.write(built.parsed, replace(labels, validated_at=clock.wall()))
    refresher = await restarted(upstream, clock, redis, copy)
    assert refresher.age() == 0
    await refresher.turn()
    assert (refresher.current.origin, refresher.age(), len(upstream.asked)) == ("redis", 1000, 1)


async def test_a_copy_is_written_for_new_content_and_once_a_minute(upstream, clock, copy, monkeypatch):
    refresher = await lived(upstream, clock, FakeRedis(clock), copy)
    writes = []
    monkeypatch.setattr(LastGoodCopy, "write", lambda self, parsed, labels: writes.append(labels.validated_at))
    for _ in range(100):
        await refresher.turn()
    assert writes == []
    clock.passes(HOUR)
    await refresher.turn()
    await written(refresher)
    assert writes == [clock.wall()]


async def test_a_replica_that_restarts_without_redis_does_not_go_back_to_an_older_stamp_of_its_content(
    upstream, clock, copy
):
    redis = FakeRedis(clock)
    refresher = await lived(upstream, clock, redis, copy)
    newer = refresher_of(upstream, clock, FakeRedis(clock))
    clock.passes(1)
    await newer.turn()
    refresher._reconciler.accept(newer.current)
    await refresher.turn()
    await written(refresher)
    again = await restarted(upstream, clock, redis, copy)
    assert again.current.version == newer.current.version == refresher.current.version


def on_a_disk_that_waits_for(event: asyncio.Event, upstream, clock, copy):
    """A replica whose copy is not read or written before the *event*."""

    async def offload(function, *arguments):
        if getattr(function, "__self__", None) is copy:
            await event.wait()
        return function(*arguments)

    return refresher_of(upstream, clock, FakeRedis(clock), last_good=copy, offload=offload)


async def test_a_start_waits_for_the_copy_however_long_reading_takes(upstream, clock, copy):
    await lived(upstream, clock, FakeRedis(clock), copy)
    upstream.goes_down()
    may_read = asyncio.Event()
    refresher = on_a_disk_that_waits_for(may_read, upstream, clock, copy)
    running = asyncio.create_task(refresher.run())
    start = asyncio.create_task(refresher.wait_for_first_load(timedelta(0)))
    await asyncio.sleep(0.05)
    assert not start.done()
    may_read.set()
    await start
    assert refresher.current.origin == "disk"
    running.cancel()


async def test_the_limit_for_the_disk_does_not_hold_for_indexing(upstream, clock, copy, monkeypatch):
    """A million entries take longer than that, and so do a few on a busy machine."""
    await lived(upstream, clock, FakeRedis(clock), copy)
    monkeypatch.setattr(last_good, "_READ_TIMEOUT", 0.01)

    async def offload(function, *arguments):
        if function == copy.opened:
            await asyncio.sleep(0.05)
        return function(*arguments)

    refresher = refresher_of(upstream, clock, FakeRedis(clock), last_good=copy, offload=offload)
    await refresher.restore()
    assert refresher.current.origin == "disk"


async def test_a_disk_that_hangs_delays_neither_the_start_nor_a_turn(upstream, clock, copy, monkeypatch):
    monkeypatch.setattr(last_good, "_READ_TIMEOUT", 0.01)
    refresher = on_a_disk_that_waits_for(asyncio.Event(), upstream, clock, copy)
    await refresher.restore()
    assert refresher.stats.copy_errors["read"] == 1
    for _ in range(3):
        clock.passes(HOUR)
        await refresher.turn()
    assert refresher.state() is State.FRESH
    refresher._last_good._writing.cancel()


async def test_the_origin_is_told(clock, tmp_path):
    state = {"state_dir": tmp_path, "startup_timeout": timedelta(seconds=HANG)}
    upstream = FakeUpstream()
    origins = []
    for act in (lambda: None, upstream.goes_down):
        act()
        async with running_app(upstream, clock, **state) as app, client_of(app.asgi) as client:
            origins.append((await client.get("/v1/catalogue")).json()["origin"])
            metrics = (await client.get("/-/metrics")).text
            if app.replica.refresher._last_good._writing:
                await written(app.replica.refresher)
    assert origins == ["upstream", "disk"]
    assert 'apidex_adoptions_total{origin="disk"} 1.0' in metrics


def test_a_replica_that_is_killed_and_started_again_without_its_upstream_serves_its_last_catalogue(tmp_path, data):
    place = {"APIDEX_STATE_DIR": str(tmp_path)}
    with http_server((data / "README.md").read_bytes()) as url, replica("--upstream", url, **place) as process:
        assert process.catalogue()["entries"] == 1695
        wait_until(lambda: list(tmp_path.glob("catalogue-*")) and not list(tmp_path.glob("*.tmp")), "a copy")
        process.is_killed()
    with replica("--upstream", url, **place) as process:
        found = process.catalogue()
    assert (found["entries"], found["origin"], found["state"]) == (1695, "disk", "fresh")
    assert found["age"] > 0
