"""The contract of CatalogueStore, which the fake of other tests, the embedded Redis and a real one keep alike."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from apidex.errors import StoreError
from apidex.replication.clock import SystemClock
from apidex.replication.metadata import StoredCatalogue
from apidex.replication.store import open_store
from apidex.replication.validators import Validators
from fakes import FakeRedis, FakeStore

KINDS = ["fake", "embedded", pytest.param("real", marks=pytest.mark.real)]
SECOND = timedelta(seconds=1)


@asynccontextmanager
async def store_of(kind: str, request):
    if kind == "fake":
        yield FakeStore(FakeRedis(SystemClock()))
        return
    url = request.getfixturevalue("redis_server").url if kind == "real" else ""
    async with open_store(url, password="", ca="", prefix=uuid.uuid4().hex, timeout=SECOND, max_bytes=10_000) as store:
        yield store


@pytest.fixture(params=KINDS)
async def store(request):
    async with store_of(request.param, request) as store:
        yield store


async def copy_of(store, stamp: int = 1_795_000_000_123, **other) -> StoredCatalogue:
    now = (await store.read()).now
    members = {
        "digest": "ab" * 32,
        "entries": 7,
        "size_checked": True,
        "validated_at": now - 5,
        "source": "https://ü.example/",
    }
    return StoredCatalogue(stamp=stamp, validators=Validators('"é"', "yesterday"), **(members | other))


def same(one: StoredCatalogue, other: StoredCatalogue) -> bool:
    return abs(one.validated_at - other.validated_at) < 0.002 and replace(one, validated_at=0) == replace(
        other, validated_at=0
    )


async def test_there_is_nothing_at_first(store):
    state = await store.read()
    assert (state.catalogue, state.failures, state.retry_at) == (None, 0, 0)
    assert (await store.load())[1] is None


async def test_what_is_published_is_read(store):
    copy = await copy_of(store)
    assert await store.publish(copy, b"payload", None)
    state, payload = await store.load()
    assert same(state.catalogue, copy)
    assert same((await store.read()).catalogue, copy)
    assert payload == b"payload"


async def test_the_fence_lets_only_the_one_by_who_read_what_is_there(store):
    first = await copy_of(store)
    assert await store.publish(first, b"1", None)
    later = replace(first, stamp=first.stamp + 1)
    assert not await store.publish(later, b"2", None)
    assert not await store.publish(later, b"2", first.stamp - 1)
    assert (await store.load())[1] == b"1"
    assert await store.publish(later, b"2", first.stamp)
    assert not await store.publish(replace(first, stamp=first.stamp + 2), b"3", first.stamp)
    assert (await store.load())[1] == b"2"


async def test_the_second_fence_keeps_out_what_was_asked_for_before_the_copy_was_confirmed(store):
    """Another replica heard a 304 while the publisher was paused: the stamp is the same, but the paused one has older news."""
    copy = await copy_of(store)
    await store.publish(copy, b"1", None)
    assert await store.confirm(copy.stamp, copy.validated_at + 4, Validators())
    late = replace(copy, stamp=copy.stamp + 1, validated_at=copy.validated_at + 2)
    assert not await store.publish(late, b"2", copy.stamp)


async def test_nobody_vouches_from_the_future(store):
    copy = await copy_of(store, validated_at=4e9)
    await store.publish(copy, b"", None)
    state = await store.read()
    assert state.now - 1 < state.catalogue.validated_at <= state.now


async def test_a_copy_is_vouched_for_again_and_never_for_earlier(store):
    copy = await copy_of(store)
    await store.publish(copy, b"1", None)
    assert await store.confirm(copy.stamp, copy.validated_at + 2, Validators("new", ""))
    assert same(
        (await store.read()).catalogue,
        replace(copy, validated_at=copy.validated_at + 2, validators=Validators("new", "")),
    )
    assert await store.confirm(copy.stamp, copy.validated_at - 100, Validators("old", ""))
    assert same(
        (await store.read()).catalogue,
        replace(copy, validated_at=copy.validated_at + 2, validators=Validators("new", "")),
    )
    assert not await store.confirm(copy.stamp - 1, copy.validated_at + 3, Validators())


async def test_backing_off_is_shared_and_ends_with_a_publication(store):
    await store.back_off(3, timedelta(seconds=60))
    state = await store.read()
    assert (state.catalogue, state.failures) == (None, 3)
    assert state.retry_at - state.now == pytest.approx(60, abs=1)
    await store.publish(await copy_of(store), b"", None)
    state = await store.read()
    assert (state.failures, state.retry_at) == (0, 0)
    await store.back_off(1, SECOND)
    assert (await store.read()).catalogue is not None
    await store.confirm(state.catalogue.stamp, state.now, Validators())
    assert (await store.read()).failures == 0


async def test_a_copy_is_dropped_only_if_it_is_still_that_one(store):
    copy = await copy_of(store)
    await store.publish(copy, b"1", None)
    assert not await store.drop(copy.stamp + 1)
    assert await store.drop(copy.stamp)
    assert (await store.load())[1] is None
    assert await store.publish(copy, b"1", None)


async def test_the_lease_has_one_holder_and_an_end(store):
    ttl = timedelta(seconds=0.2)
    assert await store.lease("a", ttl)
    assert not await store.lease("b", ttl)
    assert await store.renew("a", ttl)
    assert not await store.renew("b", ttl)
    await store.release("b")
    assert not await store.lease("b", ttl)
    await store.release("a")
    assert await store.lease("b", ttl)
    await asyncio.sleep(0.25)
    assert not await store.renew("b", ttl)
    assert await store.lease("a", ttl)


@pytest.fixture(params=KINDS[1:])
async def redis_store(request):
    async with store_of(request.param, request) as store:
        yield store


async def test_a_hash_of_another_type_is_no_copy_and_is_replaced(redis_store):
    await redis_store._client.set(redis_store._hash, "text")
    assert (await redis_store.read()).catalogue is None
    assert await redis_store.publish(await copy_of(redis_store), b"1", None)
    assert (await redis_store.load())[1] == b"1"
    await redis_store._client.set(redis_store._hash, "text")
    await redis_store.back_off(1, SECOND)
    assert (await redis_store.read()).failures == 1


@pytest.mark.parametrize("field", ["stamp", "checked_at", "entries", "digest", "failures"])
async def test_a_hash_that_makes_no_sense_is_no_copy(redis_store, field):
    await redis_store.publish(await copy_of(redis_store), b"1", None)
    await redis_store._client.hset(redis_store._hash, field, b"\xff\xfe")
    copy = (await redis_store.read()).catalogue
    assert copy is None or field == "digest"


async def test_a_payload_of_another_type_is_none_and_is_replaced(redis_store):
    copy = await copy_of(redis_store)
    await redis_store.publish(copy, b"1", None)
    await redis_store._client.delete(redis_store._payload)
    await redis_store._client.rpush(redis_store._payload, "x")
    assert (await redis_store.load())[1] is None
    assert await redis_store.publish(replace(copy, stamp=copy.stamp + 1), b"2", copy.stamp)
    assert (await redis_store.load())[1] == b"2"


async def test_a_payload_that_is_too_long_is_not_loaded(redis_store):
    await redis_store.publish(await copy_of(redis_store), bytes(10_001), None)
    with pytest.raises(StoreError) as error:
        await redis_store.load()
    assert error.value.kind == "too_large"


async def test_a_long_payload_is_read_in_parts(redis_store, monkeypatch):
    monkeypatch.setattr("apidex.replication.store._WHOLE", 7)
    monkeypatch.setattr("apidex.replication.store._PART", 7)
    payload = bytes(range(256))
    copy = await copy_of(redis_store)
    await redis_store.publish(copy, payload, None)
    state, loaded = await redis_store.load()
    assert same(state.catalogue, copy)
    assert loaded.getvalue() == payload


async def test_parts_of_two_payloads_are_never_put_together(redis_store, monkeypatch):
    monkeypatch.setattr("apidex.replication.store._WHOLE", 4)
    monkeypatch.setattr("apidex.replication.store._PART", 4)
    first = await copy_of(redis_store)
    await redis_store.publish(first, b"old " * 5, None)
    getrange, asked = redis_store._client.getrange, []

    async def and_another_publishes(key, start, end):
        asked.append(start)
        part = await getrange(key, start, end)
        if len(asked) == 2:
            await redis_store.publish(replace(first, stamp=first.stamp + 1), b"new " * 5, first.stamp)
        return part

    monkeypatch.setattr(redis_store._client, "getrange", and_another_publishes)
    state, loaded = await redis_store.load()
    assert (state.catalogue.stamp, loaded.getvalue()) == (first.stamp + 1, b"new " * 5)


async def test_two_prefixes_are_two_fleets(redis_server):
    options = {"password": "", "ca": "", "timeout": SECOND, "max_bytes": 10}
    url = redis_server.url
    async with open_store(url, prefix="one", **options) as one, open_store(url, prefix="two", **options) as two:
        await one.publish(await copy_of(one), b"1", None)
        assert (await two.read()).catalogue is None
        assert await two.lease("a", SECOND)
        assert await one.lease("b", SECOND)


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next(redis_server):
    """A client that was cut off in the middle must not read what was meant for the question before."""
    async with open_store(
        redis_server.url, password="", ca="", prefix="late", timeout=SECOND / 5, max_bytes=10
    ) as store:
        copy = await copy_of(store)
        await store.publish(copy, b"1", None)
        for _ in range(10):
            redis_server.pauses()
            with pytest.raises(StoreError, match="Redis: "):
                await store.read()
            redis_server.goes_on()
            await asyncio.sleep(0.02)
            assert same((await store.read()).catalogue, copy)
            assert await store.renew("nobody", SECOND) is False


def test_a_url_is_shown_without_its_password():
    from apidex.replication.store import _shown

    assert _shown("redis://user:secret@host:1/0") == "redis://host:1/0"
    assert _shown("") == "embedded"
