"""The contract of Cache, which the fake of other tests, the embedded Redis and a real one keep alike."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from apidex.errors import CacheError
from apidex.replication.clock import SystemClock
from apidex.replication.store import Copy, cache_at
from apidex.replication.validators import Validators
from fakes import FakeCache, FakeRedis

KINDS = ["fake", "embedded", pytest.param("real", marks=pytest.mark.real)]
SECOND = timedelta(seconds=1)


@asynccontextmanager
async def cache_of(kind: str, request):
    if kind == "fake":
        yield FakeCache(FakeRedis(SystemClock()))
        return
    url = request.getfixturevalue("redis_server").url if kind == "real" else ""
    async with cache_at(url, password="", ca="", prefix=uuid.uuid4().hex, timeout=SECOND, limit=10_000) as cache:
        yield cache


@pytest.fixture(params=KINDS)
async def cache(request):
    async with cache_of(request.param, request) as cache:
        yield cache


async def copy_of(cache, stamp: int = 1_795_000_000_123, **other) -> Copy:
    now = (await cache.read()).now
    members = {"digest": "ab" * 32, "entries": 7, "vetted": True, "checked_at": now - 5, "source": "https://ü.example/"}
    return Copy(stamp=stamp, validators=Validators('"é"', "yesterday"), **(members | other))


def same(one: Copy, other: Copy) -> bool:
    return abs(one.checked_at - other.checked_at) < 0.002 and replace(one, checked_at=0) == replace(other, checked_at=0)


async def test_there_is_nothing_at_first(cache):
    head = await cache.read()
    assert (head.copy, head.failures, head.retry_at) == (None, 0, 0)
    assert (await cache.load())[1] is None


async def test_what_is_published_is_read(cache):
    copy = await copy_of(cache)
    assert await cache.publish(copy, b"payload", None)
    head, payload = await cache.load()
    assert same(head.copy, copy)
    assert same((await cache.read()).copy, copy)
    assert payload == b"payload"


async def test_the_fence_lets_only_the_one_by_who_read_what_is_there(cache):
    first = await copy_of(cache)
    assert await cache.publish(first, b"1", None)
    later = replace(first, stamp=first.stamp + 1)
    assert not await cache.publish(later, b"2", None)
    assert not await cache.publish(later, b"2", first.stamp - 1)
    assert (await cache.load())[1] == b"1"
    assert await cache.publish(later, b"2", first.stamp)
    assert not await cache.publish(replace(first, stamp=first.stamp + 2), b"3", first.stamp)
    assert (await cache.load())[1] == b"2"


async def test_the_second_fence_keeps_out_what_was_asked_for_before_the_copy_was_confirmed(cache):
    """Another replica heard a 304 while the publisher was paused: the stamp is the same, but the paused one has older news."""
    copy = await copy_of(cache)
    await cache.publish(copy, b"1", None)
    assert await cache.confirm(copy.stamp, copy.checked_at + 4, Validators())
    late = replace(copy, stamp=copy.stamp + 1, checked_at=copy.checked_at + 2)
    assert not await cache.publish(late, b"2", copy.stamp)


async def test_nobody_vouches_from_the_future(cache):
    copy = await copy_of(cache, checked_at=4e9)
    await cache.publish(copy, b"", None)
    head = await cache.read()
    assert head.now - 1 < head.copy.checked_at <= head.now


async def test_a_copy_is_vouched_for_again_and_never_for_earlier(cache):
    copy = await copy_of(cache)
    await cache.publish(copy, b"1", None)
    assert await cache.confirm(copy.stamp, copy.checked_at + 2, Validators("new", ""))
    assert same(
        (await cache.read()).copy, replace(copy, checked_at=copy.checked_at + 2, validators=Validators("new", ""))
    )
    assert await cache.confirm(copy.stamp, copy.checked_at - 100, Validators("old", ""))
    assert same(
        (await cache.read()).copy, replace(copy, checked_at=copy.checked_at + 2, validators=Validators("new", ""))
    )
    assert not await cache.confirm(copy.stamp - 1, copy.checked_at + 3, Validators())


async def test_backing_off_is_shared_and_ends_with_a_publication(cache):
    await cache.back_off(3, timedelta(seconds=60))
    head = await cache.read()
    assert (head.copy, head.failures) == (None, 3)
    assert head.retry_at - head.now == pytest.approx(60, abs=1)
    await cache.publish(await copy_of(cache), b"", None)
    head = await cache.read()
    assert (head.failures, head.retry_at) == (0, 0)
    await cache.back_off(1, SECOND)
    assert (await cache.read()).copy is not None
    await cache.confirm(head.copy.stamp, head.now, Validators())
    assert (await cache.read()).failures == 0


async def test_a_copy_is_dropped_only_if_it_is_still_that_one(cache):
    copy = await copy_of(cache)
    await cache.publish(copy, b"1", None)
    assert not await cache.drop(copy.stamp + 1)
    assert await cache.drop(copy.stamp)
    assert (await cache.load())[1] is None
    assert await cache.publish(copy, b"1", None)


async def test_the_lease_has_one_holder_and_an_end(cache):
    ttl = timedelta(seconds=0.2)
    assert await cache.lease("a", ttl)
    assert not await cache.lease("b", ttl)
    assert await cache.renew("a", ttl)
    assert not await cache.renew("b", ttl)
    await cache.release("b")
    assert not await cache.lease("b", ttl)
    await cache.release("a")
    assert await cache.lease("b", ttl)
    await asyncio.sleep(0.25)
    assert not await cache.renew("b", ttl)
    assert await cache.lease("a", ttl)


@pytest.fixture(params=KINDS[1:])
async def redis_cache(request):
    async with cache_of(request.param, request) as cache:
        yield cache


async def test_a_hash_of_another_type_is_no_copy_and_is_replaced(redis_cache):
    await redis_cache._client.set(redis_cache._head, "text")
    assert (await redis_cache.read()).copy is None
    assert await redis_cache.publish(await copy_of(redis_cache), b"1", None)
    assert (await redis_cache.load())[1] == b"1"
    await redis_cache._client.set(redis_cache._head, "text")
    await redis_cache.back_off(1, SECOND)
    assert (await redis_cache.read()).failures == 1


@pytest.mark.parametrize("field", ["stamp", "checked_at", "entries", "digest", "failures"])
async def test_a_hash_that_makes_no_sense_is_no_copy(redis_cache, field):
    await redis_cache.publish(await copy_of(redis_cache), b"1", None)
    await redis_cache._client.hset(redis_cache._head, field, b"\xff\xfe")
    copy = (await redis_cache.read()).copy
    assert copy is None or field == "digest"


async def test_a_payload_of_another_type_is_none_and_is_replaced(redis_cache):
    copy = await copy_of(redis_cache)
    await redis_cache.publish(copy, b"1", None)
    await redis_cache._client.delete(redis_cache._payload)
    await redis_cache._client.rpush(redis_cache._payload, "x")
    assert (await redis_cache.load())[1] is None
    assert await redis_cache.publish(replace(copy, stamp=copy.stamp + 1), b"2", copy.stamp)
    assert (await redis_cache.load())[1] == b"2"


async def test_a_payload_that_is_too_long_is_not_loaded(redis_cache):
    await redis_cache.publish(await copy_of(redis_cache), bytes(10_001), None)
    with pytest.raises(CacheError) as error:
        await redis_cache.load()
    assert error.value.kind == "too_large"


async def test_a_long_payload_is_read_in_parts(redis_cache, monkeypatch):
    monkeypatch.setattr("apidex.replication.store._WHOLE", 7)
    monkeypatch.setattr("apidex.replication.store._PART", 7)
    payload = bytes(range(256))
    copy = await copy_of(redis_cache)
    await redis_cache.publish(copy, payload, None)
    head, loaded = await redis_cache.load()
    assert same(head.copy, copy)
    assert loaded.getvalue() == payload


async def test_parts_of_two_payloads_are_never_put_together(redis_cache, monkeypatch):
    monkeypatch.setattr("apidex.replication.store._WHOLE", 4)
    monkeypatch.setattr("apidex.replication.store._PART", 4)
    first = await copy_of(redis_cache)
    await redis_cache.publish(first, b"old " * 5, None)
    getrange, asked = redis_cache._client.getrange, []

    async def and_another_publishes(key, start, end):
        asked.append(start)
        part = await getrange(key, start, end)
        if len(asked) == 2:
            await redis_cache.publish(replace(first, stamp=first.stamp + 1), b"new " * 5, first.stamp)
        return part

    monkeypatch.setattr(redis_cache._client, "getrange", and_another_publishes)
    head, loaded = await redis_cache.load()
    assert (head.copy.stamp, loaded.getvalue()) == (first.stamp + 1, b"new " * 5)


async def test_two_prefixes_are_two_fleets(redis_server):
    options = {"password": "", "ca": "", "timeout": SECOND, "limit": 10}
    url = redis_server.url
    async with cache_at(url, prefix="one", **options) as one, cache_at(url, prefix="two", **options) as two:
        await one.publish(await copy_of(one), b"1", None)
        assert (await two.read()).copy is None
        assert await two.lease("a", SECOND)
        assert await one.lease("b", SECOND)


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next(redis_server):
    """A client that was cut off in the middle must not read what was meant for the question before."""
    async with cache_at(redis_server.url, password="", ca="", prefix="late", timeout=SECOND / 5, limit=10) as cache:
        copy = await copy_of(cache)
        await cache.publish(copy, b"1", None)
        for _ in range(10):
            redis_server.pauses()
            with pytest.raises(CacheError, match="Redis: "):
                await cache.read()
            redis_server.goes_on()
            await asyncio.sleep(0.02)
            assert same((await cache.read()).copy, copy)
            assert await cache.renew("nobody", SECOND) is False


def test_a_url_is_shown_without_its_password():
    from apidex.replication.store import _shown

    assert _shown("redis://user:secret@host:1/0") == "redis://host:1/0"
    assert _shown("") == "embedded"
