"""The contract of RedisStore, which the fake of other tests, the embedded Redis and a real one keep alike."""

import asyncio
import functools
import tracemalloc
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from apidex.errors import StoreError
from apidex.replication.clock import Clock
from apidex.replication.metadata import ACCEPT, StoredCatalogue
from apidex.replication.redis_client import RedisAddress
from apidex.replication.store import open_store
from apidex.replication.validators import Validators
from fakes import FakeRedis, FakeStore, redis_that_answers

KINDS = ["fake", "embedded", pytest.param("real", marks=pytest.mark.real)]
LONG = timedelta(hours=1)
"""What no test waits for."""

NOW = timedelta(0)

PLAIN = {"timeout": timedelta(minutes=1), "max_bytes": 10_000}


@asynccontextmanager
async def store_of(kind: str, request):
    if kind == "fake":
        yield FakeStore(FakeRedis(Clock()))
        return
    url = request.getfixturevalue("redis_server").url if kind == "real" else ""
    async with open_store(RedisAddress(url), prefix=uuid.uuid4().hex, **PLAIN) as store:
        yield store


@pytest.fixture(params=KINDS)
async def store(request):
    async with store_of(request.param, request) as store:
        yield store


@pytest.fixture(params=KINDS[1:])
async def redis_store(request):
    async with store_of(request.param, request) as store:
        yield store


async def catalogue_of(store, **others) -> StoredCatalogue:
    now = (await store.read()).now
    first = (int(now * 1000), "ab" * 32, 7, True, now - 5, "https://ü.example/", Validators('W/"e"', "yesterday"))
    return replace(StoredCatalogue(*first), **others)


async def published(store, payload: bytes = b"1", **others) -> StoredCatalogue:
    catalogue = await catalogue_of(store, **others)
    assert await store.publish(catalogue, payload, None, NOW)
    return catalogue


def same(one: StoredCatalogue, other: StoredCatalogue) -> bool:
    """Whether they differ in nothing but what a time loses by being stored in milliseconds."""
    return abs(one.validated_at - other.validated_at) < 0.002 and one == replace(other, validated_at=one.validated_at)


async def test_there_is_nothing_at_first(store):
    state = await store.read()
    assert (state.catalogue, state.failures, state.retry_at) == (None, 0, 0)
    assert (await store.load())[1].reason == "missing"


async def test_what_is_published_is_read(store):
    catalogue = await published(store, b"payload")
    state, payload = await store.load()
    assert same(state.catalogue, catalogue)
    assert same((await store.read()).catalogue, catalogue)
    assert payload == b"payload"


async def test_a_publication_says_when_all_activate_it(store):
    catalogue = await published(store)
    state = await store.read()
    assert state.now - 60 < state.activate_at <= state.now
    assert await store.publish(
        replace(catalogue, stamp=catalogue.stamp + 1), b"2", catalogue.stamp, timedelta(minutes=5)
    )
    assert 240 < (await store.read()).activate_at - state.now < 360
    await store.confirm(catalogue.stamp + 1, state.now, Validators())
    assert (await store.read()).activate_at > state.now + 240


async def test_the_same_content_under_another_stamp_keeps_the_moment_unless_it_has_passed(store):
    catalogue = await catalogue_of(store)
    stamp = catalogue.stamp

    async def moment_of(number: int, expected: int | None, minutes: float) -> float:
        again = replace(catalogue, stamp=stamp + number)
        moment = await store.publish(again, b"1", expected, timedelta(minutes=minutes))
        assert moment == (await store.read()).activate_at
        return moment

    passed = await moment_of(0, None, 0)
    first = await moment_of(1, stamp, 5)
    assert first > passed + 240
    assert await moment_of(2, stamp + 1, 10) == first
    assert await moment_of(3, stamp + 2, 1) < first - 180


async def test_no_other_content_replaces_one_that_waits_for_its_moment(store):
    first, minutes = await catalogue_of(store), timedelta(minutes=5)
    other = replace(first, stamp=first.stamp + 1, digest="cd" * 32)
    assert await store.publish(first, b"1", None, minutes)
    assert await store.publish(other, b"2", first.stamp, minutes) == 0
    assert same((await store.read()).catalogue, first)
    assert await store.publish(other, b"2", first.stamp, NOW), "its publisher shows it already"


@pytest.mark.parametrize(
    "moment", ["", "9999999999999999"], ids=["none, as 0.1 writes", "beyond what a replica writes"]
)
async def test_a_publication_without_a_moment_is_activated_at_once(redis_store, moment):
    await published(redis_store)
    await redis_store._client.hset(redis_store.keys.head, "activate_at", moment or "0")
    if not moment:
        await redis_store._client.hdel(redis_store.keys.head, "activate_at")
    state = await redis_store.read()
    assert (state.catalogue is not None, state.activate_at) == (True, 0)


async def test_the_catalogue_before_is_kept_until_another_content_is_published(store):
    first = await published(store, b"first")
    again = replace(first, stamp=first.stamp + 1)
    assert await store.publish(again, b"again", first.stamp, NOW)
    assert (await store.load_before())[1].reason == "missing"
    assert await store.publish(replace(again, stamp=again.stamp + 1, digest="cd" * 32), b"second", again.stamp, NOW)
    state, payload = await store.load_before()
    assert (same(state.catalogue, again), payload) == (True, b"again")


async def test_an_operator_takes_a_catalogue_back(store):
    assert not await store.roll_back(NOW)
    first = await published(store, b"good")
    assert not await store.roll_back(NOW), "there is none before"
    await store.publish(replace(first, stamp=first.stamp + 1, digest="cd" * 32), b"bad", first.stamp, NOW)
    await store.back_off(3, LONG)
    assert await store.roll_back(timedelta(minutes=5))
    state, payload = await store.load()
    assert (payload, state.catalogue.digest, state.failures) == (b"good", first.digest, 0)
    assert (state.catalogue.stamp > first.stamp + 1, state.catalogue.size_checked) == (True, True)
    assert state.catalogue.validators == Validators(), "the upstream is asked what it has, not whether it has another"
    assert state.catalogue.validated_at > first.validated_at + 4
    assert state.activate_at > state.now + 240
    assert (await store.read()).rejected == "cd" * 32
    assert not await store.roll_back(NOW), "it takes back one catalogue, not the one that it brought back"


async def test_only_the_catalogue_that_the_stored_one_replaced_is_brought_back(redis_store):
    first = await published(redis_store, b"months ago")
    second = replace(first, stamp=first.stamp + 1, digest="cd" * 32)
    await redis_store.publish(second, b"before 0.1.0 came back", first.stamp, NOW)
    keys, as_in_0_1_0 = redis_store.keys, {"stamp": second.stamp + 1, "digest": "ef" * 32}
    await redis_store._client.hset(keys.head, mapping=as_in_0_1_0)
    assert not await redis_store.roll_back(NOW)
    assert (await redis_store.load())[1] == b"before 0.1.0 came back", "nothing is changed"
    await redis_store._client.delete(keys.head_before)
    await redis_store._client.set(keys.head_before, "of another type")
    assert not await redis_store.roll_back(NOW)


async def test_an_operator_lets_one_catalogue_in(store):
    first = await published(store)
    await store.back_off(3, LONG)
    await store.accept()
    state = await store.read()
    assert (state.override, state.rejected, state.failures, state.retry_at) == (ACCEPT, "", 0, 0)
    await store.confirm(first.stamp, state.now, Validators())
    assert (await store.read()).override == ACCEPT
    await store.publish(replace(first, stamp=first.stamp + 1, validated_at=4e9), b"2", first.stamp, NOW)
    assert (await store.read()).override == ""


async def test_an_override_ends_by_itself_and_one_of_another_type_is_none(redis_store):
    first = await published(redis_store)
    await redis_store.accept()
    assert 0 < await redis_store._client.pttl(redis_store.keys.override) <= 86_400_000
    await redis_store.publish(replace(first, stamp=first.stamp + 1, digest="cd" * 32), b"2", first.stamp, NOW)
    await redis_store.roll_back(NOW)
    assert 0 < await redis_store._client.pttl(redis_store.keys.override) <= 86_400_000
    await redis_store._client.delete(redis_store.keys.override)
    await redis_store._client.rpush(redis_store.keys.override, "x")
    stored = (await redis_store.read()).catalogue
    assert await redis_store.publish(replace(stored, stamp=stored.stamp + 1), b"3", stored.stamp, NOW)


async def test_the_fence_lets_only_a_replica_pass_that_read_what_is_stored(store):
    first = await published(store)
    later = replace(first, stamp=first.stamp + 1)
    assert not await store.publish(later, b"2", None, NOW)
    assert not await store.publish(later, b"2", first.stamp - 1, NOW)
    assert (await store.load())[1] == b"1"
    assert await store.publish(later, b"2", first.stamp, NOW)
    assert not await store.publish(replace(first, stamp=first.stamp + 2), b"3", first.stamp, NOW)
    assert (await store.load())[1] == b"2"


async def test_the_second_fence_refuses_what_was_fetched_before_the_stored_catalogue_was_confirmed(store):
    """Another replica heard a 304 while the publisher was paused: the stamp is the same, but the paused one has older news."""
    first = await published(store)
    assert await store.confirm(first.stamp, first.validated_at + 4, Validators())
    late = replace(first, stamp=first.stamp + 1, validated_at=first.validated_at + 2)
    assert not await store.publish(late, b"2", first.stamp, NOW)


async def test_no_validation_is_in_the_future(store):
    before = (await store.read()).now
    await published(store, validated_at=4e9)
    state = await store.read()
    assert before - 0.002 < state.catalogue.validated_at <= state.now


async def test_a_confirmation_is_recorded_but_never_an_earlier_one(store):
    first = await published(store)
    confirmed = replace(first, validated_at=first.validated_at + 2, validators=Validators('"new"'))
    for validated_at, validators in ((first.validated_at + 2, '"new"'), (first.validated_at - 100, '"old"')):
        assert await store.confirm(first.stamp, validated_at, Validators(validators, ""))
        assert same((await store.read()).catalogue, confirmed)
    assert not await store.confirm(first.stamp - 1, first.validated_at + 3, Validators())


async def test_backing_off_is_shared_and_ends_with_a_publication_or_a_confirmation(store):
    await store.back_off(3, LONG)
    state = await store.read()
    assert (state.catalogue, state.failures) == (None, 3)
    assert state.retry_at - state.now == pytest.approx(LONG.total_seconds(), abs=60)
    catalogue = await published(store)
    state = await store.read()
    assert (state.failures, state.retry_at) == (0, 0)
    await store.back_off(1, LONG)
    assert (await store.read()).catalogue is not None
    await store.confirm(catalogue.stamp, state.now, Validators())
    assert (await store.read()).failures == 0


async def test_a_catalogue_is_dropped_only_if_it_is_still_that_one(store):
    catalogue = await published(store)
    assert not await store.drop(catalogue.stamp + 1)
    assert await store.drop(catalogue.stamp)
    assert (await store.load())[1].reason == "missing"
    assert await store.publish(catalogue, b"1", None, NOW)


async def test_the_lease_has_one_holder_and_an_end(store):
    assert await store.lease("a", LONG)
    assert not await store.lease("b", LONG)
    assert await store.renew("a", LONG)
    assert not await store.renew("b", LONG)
    await store.release("b")
    assert not await store.lease("b", LONG)
    await store.release("a")
    assert await store.lease("b", timedelta(seconds=0.05))
    while not await store.lease("a", LONG):
        await asyncio.sleep(0.01)
    assert not await store.renew("b", LONG)


async def test_a_hash_of_another_type_is_no_catalogue_and_is_replaced(redis_store):
    await redis_store._client.set(redis_store.keys.head, "text")
    assert (await redis_store.read()).catalogue is None
    await published(redis_store)
    assert (await redis_store.load())[1] == b"1"
    await redis_store._client.set(redis_store.keys.head, "text")
    await redis_store.back_off(1, LONG)
    assert (await redis_store.read()).failures == 1


async def test_a_payload_of_another_type_does_not_exist_and_is_replaced(redis_store):
    catalogue = await published(redis_store)
    await redis_store._client.delete(redis_store.keys.payload)
    await redis_store._client.rpush(redis_store.keys.payload, "x")
    assert (await redis_store.read()).unreadable == "missing"
    assert (await redis_store.load())[1].reason == "missing"
    assert await redis_store.publish(replace(catalogue, stamp=catalogue.stamp + 1), b"2", catalogue.stamp, NOW)
    assert (await redis_store.read()).unreadable is None
    assert (await redis_store.load())[1] == b"2"


async def test_a_payload_that_is_too_long_is_not_loaded(redis_store):
    await published(redis_store, bytes(10_001))
    assert (await redis_store.load())[1].reason == "too_large"


@pytest.fixture
def in_parts(monkeypatch):
    monkeypatch.setattr("apidex.replication.store._WHOLE", 4)
    monkeypatch.setattr("apidex.replication.store._PART", 4)


async def test_a_long_payload_is_read_in_parts(redis_store, in_parts):
    payload = bytes(range(255))
    catalogue = await published(redis_store, payload)
    state, loaded = await redis_store.load()
    assert same(state.catalogue, catalogue)
    assert loaded.getvalue() == payload


async def test_parts_of_two_payloads_are_never_put_together(redis_store, in_parts, monkeypatch):
    first = await published(redis_store, b"old " * 5)
    getrange, asked = redis_store._client.getrange, []

    async def and_another_publishes(key, start, end):
        asked.append(start)
        part = await getrange(key, start, end)
        if len(asked) == 2:
            await redis_store.publish(replace(first, stamp=first.stamp + 1), b"new " * 5, first.stamp, NOW)
        return part

    monkeypatch.setattr(redis_store._client, "getrange", and_another_publishes)
    state, loaded = await redis_store.load()
    assert (state.catalogue.stamp, loaded.getvalue()) == (first.stamp + 1, b"new " * 5)


async def test_two_prefixes_are_two_fleets(redis_server):
    url = redis_server.url
    async with (
        open_store(RedisAddress(url), prefix="one", **PLAIN) as one,
        open_store(RedisAddress(url), prefix="two", **PLAIN) as two,
    ):
        await published(one)
        assert (await two.read()).catalogue is None
        assert await two.lease("a", LONG)
        assert await one.lease("b", LONG)


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next(redis_server):
    """A client that was cut off in the middle must not read what was meant for the question before."""
    async with open_store(RedisAddress(redis_server.url), prefix="late", **PLAIN) as store:
        catalogue = await published(store)
        for _ in range(10):
            redis_server.pauses()
            store._timeout = timedelta(seconds=0.02)
            with pytest.raises(StoreError, match="Redis did not answer in time"):
                await store.read()
            redis_server.goes_on()
            store._timeout = timedelta(minutes=1)
            assert same((await store.read()).catalogue, catalogue)
            assert await store.renew("a token that holds nothing", LONG) is False


async def test_a_payload_may_take_longer_and_is_not_cut_off_by_the_failure_of_another_request():
    received, failed = asyncio.Event(), asyncio.Event()

    async def answer(words: bytes) -> bytes:
        if b"the payload" not in words:
            return b""
        received.set()
        await failed.wait()
        return b":1000\r\n"

    catalogue = StoredCatalogue(1, "ab" * 32, 7, True, 0, "https://a.example/", Validators())
    second = timedelta(seconds=1)
    async with (
        redis_that_answers(answer) as url,
        open_store(RedisAddress(url), prefix="slow", timeout=second, max_bytes=100) as store,
    ):
        publication = asyncio.create_task(store.publish(catalogue, b"the payload", None, NOW))
        await received.wait()
        with pytest.raises(StoreError, match="Redis did not answer in time"):
            await store.renew("token", LONG)
        failed.set()
        assert await publication == 1.0


@pytest.mark.parametrize("milliseconds", [None, 366 * 86_400_000])
async def test_a_lease_that_lasts_longer_than_any_is_replaced(redis_store, milliseconds):
    await redis_store._client.set(redis_store.keys.lease, "x", px=milliseconds)
    assert await redis_store.lease("mine", LONG)
    assert not await redis_store.lease("another", LONG)
    assert 0 < await redis_store._client.pttl(redis_store.keys.lease) <= LONG.total_seconds() * 1000


DAY = 86_400_000
BACK_OFFS = {
    "longer than a day": {"failed_at": 0, "retry_at": DAY + 1},
    "begins later than now": {"failed_at": 5_000, "retry_at": 6_000},
    "without a beginning": {"retry_at": DAY},
    "ends before it begins": {"failed_at": -1_000, "retry_at": -2_000},
}


@pytest.mark.parametrize("fields", BACK_OFFS.values(), ids=BACK_OFFS)
async def test_a_back_off_that_no_replica_has_written_does_not_count(redis_store, fields):
    now = int((await redis_store.read()).now * 1000)
    await redis_store._client.hset(
        redis_store.keys.head, mapping={name: now + moment for name, moment in fields.items()}
    )
    state = await redis_store.read()
    assert (state.retry_at, state.malformed) == (0, False)


NOT_WRITTEN = {
    "a stamp far ahead": {"stamp": b"9999999999999999"},
    "a stamp with zeros before it": {"stamp": b"0000000000000007"},
    "digits of another script": {"stamp": "١٢٣".encode()},
    "a hexadecimal number": {"checked_at": b"0x10"},
    "a number with an exponent": {"checked_at": b"1e3"},
    "a sign": {"entries": b"-1"},
    "a space": {"entries": b" 1"},
    "a validation far ahead": {"checked_at": b"9999999999999"},
    "a field of many megabytes": {"digest": bytes(2**24)},
    "a digest in capitals": {"digest": b"AB" * 32},
    "another flag": {"vetted": b"2"},
    "control characters in the source": {"source": b"https://upstream.example/\x1b[2J"},
    "a million failures": {"failures": b"1000000"},
    **{f"no text: {name}": {name: b"\xff\xfe"} for name in ("stamp", "checked_at", "entries", "digest")},
    **{f"no text: {name}": {name: b"\xff\xfe"} for name in ("failures", "activate_at")},
}


@pytest.mark.parametrize("fields", NOT_WRITTEN.values(), ids=NOT_WRITTEN)
async def test_a_hash_that_no_replica_can_have_written_is_malformed(redis_store, fields):
    await published(redis_store)
    await redis_store._client.hset(redis_store.keys.head, mapping=fields)
    state = await redis_store.read()
    assert (state.catalogue, state.malformed) == (None, True)
    await redis_store.reset()
    catalogue = await published(redis_store)
    assert same((await redis_store.read()).catalogue, catalogue)


@pytest.mark.parametrize("etag", [b'"a\r\nx: y"', b"no quotes", '"é"'.encode(), b'"' + bytes(2**24) + b'"'])
async def test_validators_that_no_request_may_have_count_as_none(redis_store, etag):
    await published(redis_store)
    await redis_store._client.hset(redis_store.keys.head, "etag", etag)
    state = await redis_store.read()
    assert state.catalogue.validators == Validators("", "yesterday")


@pytest.mark.real
async def test_a_field_of_many_megabytes_is_not_read(redis_server):
    async with open_store(RedisAddress(redis_server.url), prefix="large", **PLAIN) as store:
        await published(store)
        for field in ("source", "etag", "another"):
            await store._client.hset(store.keys.head, field, bytes(2**24))
        tracemalloc.start()
        try:
            await store.read()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2**20


async def test_nothing_else_in_the_hash_outlives_a_publication(redis_store):
    first = await published(redis_store)
    await redis_store._client.hset(redis_store.keys.head, "another", bytes(2**20))
    assert await redis_store.publish(replace(first, stamp=first.stamp + 1), b"2", first.stamp, NOW)
    assert not await redis_store._client.hexists(redis_store.keys.head, "another")


@pytest.mark.parametrize("moment", [b"0x7fffffffffffff", b"9999999999999999", b"nan", b"zero"])
async def test_the_fence_reads_numbers_as_replicas_do(redis_store, moment):
    first = await published(redis_store)
    await redis_store._client.hset(redis_store.keys.head, "checked_at", moment)
    assert await redis_store.publish(replace(first, stamp=first.stamp + 1), b"2", first.stamp, NOW)


@pytest.mark.parametrize("left", [None, 366 * DAY])
async def test_an_override_that_does_not_end_within_a_day_is_none(redis_store, left):
    await redis_store._client.set(redis_store.keys.override, f"reject:{'ab' * 32}", px=left)
    assert (await redis_store.read()).override == ""
    await redis_store._client.pexpire(redis_store.keys.override, DAY)
    assert (await redis_store.read()).rejected == "ab" * 32


REFUSALS = {
    "full": ("CONFIG SET maxmemory 1", "oom", "memory is full"),
    "a read-only replica": ("REPLICAOF 127.0.0.1 1", "readonly", "read-only replica"),
    "too few replicas": ("CONFIG SET min-replicas-to-write 1", "readonly", "too few replicas"),
    "no right to write": ("ACL SETUSER default -set", "auth", "ACL does not allow"),
}


@pytest.mark.real
@pytest.mark.parametrize(("command", "reason", "text"), REFUSALS.values(), ids=REFUSALS)
async def test_a_redis_that_can_only_be_read_says_so_and_what_it_holds(redis_server, command, reason, text):
    async with open_store(RedisAddress(redis_server.url), prefix="refusals", **PLAIN) as store:
        catalogue = await published(store)
        redis_server.tell(*command.split())
        state = await store.read()
        assert same(state.catalogue, catalogue)
        assert (state.unwritable.reason, text in str(state.unwritable)) == (reason, True), state.unwritable
        with pytest.raises(StoreError, match=text):
            await store.lease("token", LONG)


UNUSABLE = {
    "no scripts": ("ACL SETUSER default -@scripting", "auth", "ACL does not allow"),
    "a password": ("CONFIG SET requirepass secret", "auth", "requires a password"),
}


@pytest.mark.real
@pytest.mark.parametrize(("command", "reason", "text"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_redis_that_is_of_no_use_says_why(redis_server, command, reason, text):
    redis_server.tell(*command.split())
    async with open_store(RedisAddress(redis_server.url), prefix="unusable", **PLAIN) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match=text) as error:
                await store.read()
            assert error.value.reason == reason


ANSWERS = {
    b"+OK": ("response", "no Redis gives"),
    b"*0": ("response", "no Redis gives"),
    b":7": ("response", "no Redis gives"),
    b"$-1": ("response", "no Redis gives"),
    b"*9\r\n" + b":1\r\n" * 8 + b":1": ("response", "no Redis gives"),
    b"HTTP/1.1 400 Bad Request": ("response", "no Redis gives"),
    b"-MOVED 3999 127.0.0.1:6381": ("cluster", "node of a cluster"),
    b"-CLUSTERDOWN Hash slot not served": ("cluster", "node of a cluster"),
    b"-READONLY You can't write against a read only replica.": ("readonly", "read-only replica"),
    b"-NOAUTH Authentication required.": ("auth", "requires a password"),
    b"-WRONGPASS invalid username-password pair or user is disabled.": ("auth", "refuses the user or the password"),
    b"-NOPERM this user has no permissions to run the 'eval' command": ("auth", "ACL does not allow"),
    b"-ERR unknown command 'eval', with args beginning with:": ("auth", "does not have a command"),
    b"-OOM command not allowed when used memory > 'maxmemory'.": ("oom", "memory is full"),
    b"-LOADING Redis is loading the dataset in memory": ("loading", "loads its data"),
    b"-MASTERDOWN Link with MASTER is down": ("readonly", "lost its master"),
    b"-MISCONF Redis is configured to save RDB snapshots": ("readonly", "cannot save"),
    b"-ERR something new": ("response", "answered with an error: ERR something new"),
}


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:12].decode())
async def test_whatever_is_answered_is_an_error_in_plain_words(answer):
    reason, text = ANSWERS[answer]

    async def answers(words: bytes) -> bytes:
        return (answer + b"\r\n") * words.count(b"EVAL")

    async with redis_that_answers(answers) as url, open_store(RedisAddress(url), prefix="answers", **PLAIN) as store:
        for method in (store.read, functools.partial(store.lease, "token", LONG)):
            with pytest.raises(StoreError) as error:
                await method()
            assert (error.value.reason, text in str(error.value)) == (reason, True), error.value


async def test_sentinels_that_cannot_be_asked_are_named_by_their_addresses():
    address = RedisAddress("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main")
    async with open_store(address, prefix="sentinel", **PLAIN) as store:
        with pytest.raises(StoreError, match="knows no master of this name") as error:
            await store.read()
    assert error.value.reason == "connect"
    assert all(f"127.0.0.1:{port} - " in str(error.value) for port in (1, 2))
    assert "<" not in str(error.value), "redis-py shows a client with all its options"


def test_a_url_is_shown_without_its_password():
    assert RedisAddress("redis://user:secret@host:1/0").shown == "redis://host:1/0"
    assert RedisAddress("redis+sentinel://user:secret@a:1,b:2/main/0").shown == "redis+sentinel://a:1,b:2/main/0"
    assert RedisAddress().shown == "embedded"
    assert "secret" not in repr(RedisAddress("", "secret", "secret"))


async def test_all_that_a_replica_does_is_rehearsed_and_leaves_nothing(redis_store):
    await redis_store.rehearse()
    assert await redis_store._client.keys() in ([], [redis_store.keys.probe.encode()])
