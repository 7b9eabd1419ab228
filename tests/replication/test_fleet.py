"""A fleet: several replicas, one Redis, one upstream, and what goes wrong between them. No network, no waiting."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from apidex.catalogue import codec, formats
from apidex.errors import CodecError, StoreError
from apidex.replication.clock import Clock
from apidex.replication.freshness import State
from apidex.replication.redis_client import RedisAddress
from apidex.replication.store import open_store
from conftest import client_of, running_app
from fakes import FakeClock, FakeRedis, FakeStore, FakeUpstream, publicapis
from refreshers import HOUR, Fleet, refresher_of

POLL = 5


class PollingFleet(Fleet):
    """Replicas that poll."""

    async def polls(self, times: int = 1) -> None:
        await self.lives(times * POLL, POLL)

    @property
    def versions(self) -> set[str]:
        return {replica.current.version for replica in self.replicas}


@pytest.fixture
async def fleet() -> PollingFleet:
    fleet = PollingFleet(4)
    await fleet.polls(2)
    assert len(fleet.versions) == 1
    assert len(fleet.upstream.asked) == 1
    return fleet


async def test_the_upstream_is_asked_once_for_all_in_each_interval(fleet):
    await fleet.lives(10 * HOUR, step=POLL * 12)
    assert len(fleet.upstream.asked) in (10, 11)
    assert {replica.state() for replica in fleet.replicas} == {State.FRESH}


async def test_ages_are_the_same_whoever_fetched(fleet):
    fleet.clock.passes(100)
    assert {round(replica.age()) for replica in fleet.replicas} == {110 - POLL}
    late = fleet.replica()
    await late.turn()
    assert round(late.age()) == 105
    assert late.stats.refreshes.total() == 0


async def test_a_304_moves_no_payload(fleet):
    payload = fleet.redis.payload
    fleet.clock.passes(HOUR)
    await fleet.polls(2)
    assert fleet.redis.payload is payload
    assert sum(replica.stats.refreshes["not_modified"] for replica in fleet.replicas) == 1
    assert all(replica.age() <= 2 * POLL for replica in fleet.replicas)


async def test_an_empty_redis_is_refilled_without_asking_the_upstream(fleet):
    before = fleet.versions
    fleet.redis.flush()
    await fleet.polls()
    assert {fleet.redis.stored.version} == before == fleet.versions
    assert len(fleet.upstream.asked) == 1


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda payload: payload[:-3], "damaged"),
        (lambda payload: b"", "damaged"),
        (lambda payload: None, "missing"),
        (lambda payload: codec.to_bytes(formats.parse(publicapis("Other"))), "digest"),
        (lambda payload: payload.replace(b"\xa4wire\x01", b"\xa4wire\x02"), "version"),
    ],
)
async def test_a_payload_that_cannot_be_read_is_a_miss_and_is_replaced_by_those_that_have_it(fleet, damage, kind):
    before = fleet.versions
    fleet.redis.payload = damage(fleet.redis.payload)
    newcomer = fleet.replica()
    fleet.redis.retry_at = fleet.redis.now() + HOUR  # so that the newcomer cannot help itself
    await newcomer.turn()
    assert newcomer.stats.redis_errors[kind] == 1
    assert newcomer.state() is State.BUNDLED
    await fleet.polls()
    await newcomer.turn()
    assert {newcomer.current.version} == before == fleet.versions


async def test_a_payload_that_redis_evicts_is_published_again_each_time(fleet):
    before = fleet.versions
    for _ in range(3):
        fleet.redis.payload = None
        await fleet.polls(2)
        assert fleet.redis.payload is not None
        assert {fleet.redis.stored.version} == before == fleet.versions
    assert len(fleet.upstream.asked) == 1
    assert sum(replica.stats.redis_errors["missing"] for replica in fleet.replicas) == 3


async def test_a_payload_that_is_too_long_leaves_a_replica_what_it_has(fleet, monkeypatch):
    async def load(self):
        raise StoreError("too_large", "1 GB")

    newer = replace(
        fleet.redis.stored, stamp=fleet.redis.stored.stamp + 1, digest="0" * 64, validated_at=fleet.redis.now()
    )
    fleet.redis.stored = newer
    monkeypatch.setattr(FakeStore, "load", load)
    before = fleet.versions
    await fleet.polls(2)
    assert fleet.versions == before
    assert all(replica.stats.redis_errors["too_large"] for replica in fleet.replicas)


@pytest.mark.parametrize("kind", ["connect", "timeout", "oom", "loading", "readonly"])
async def test_redis_is_gone_for_hours_and_each_asks_the_upstream_once_in_an_interval(fleet, kind):
    fleet.redis.goes_down(kind)
    asked = len(fleet.upstream.asked)
    await fleet.lives(10 * HOUR)
    assert 4 * 8 <= len(fleet.upstream.asked) - asked <= 4 * 10
    assert {replica.state() for replica in fleet.replicas} == {State.FRESH}
    fleet.redis.comes_back()
    await fleet.polls(2)
    assert len(fleet.versions) == 1


async def test_the_size_of_an_unreadable_catalogue_is_not_compared(fleet):
    """A billion entries, as the hash says, would make every answer of the upstream look shrunk."""
    fleet.redis.stored = replace(fleet.redis.stored, entries=10**9)
    fleet.redis.payload = b"garbage"
    newcomer = fleet.replica()
    for _ in range(2):
        await newcomer.turn()
    assert newcomer.state() is State.FRESH


async def test_a_hash_that_names_another_size_than_its_payload_has_is_replaced(fleet):
    fleet.redis.stored = replace(fleet.redis.stored, entries=10**9)
    newcomer = fleet.replica()
    fleet.redis.retry_at = fleet.redis.now() + HOUR  # so that the newcomer cannot help itself
    await newcomer.turn()
    assert newcomer.stats.redis_errors["digest"] == 1
    await fleet.polls()
    assert fleet.redis.stored.entries == len(fleet.replicas[0].current.catalogue)


@pytest.mark.parametrize("kind", ["oom", "readonly"])
async def test_a_read_only_redis_is_unusable_and_is_still_read(fleet, kind):
    fleet.redis.goes_down(kind)
    newcomer = fleet.replica()
    await newcomer.turn()
    for replica in (newcomer, fleet.replicas[0]):
        await replica.turn()
        assert replica.current.version == fleet.redis.stored.version
        assert (replica.stats.redis_reachable, replica.current.shared) == (False, False)
    assert len(fleet.upstream.asked) == 1


async def test_redis_is_gone_for_hours_and_so_is_the_upstream_and_no_replica_asks_more_often(fleet):
    fleet.redis.goes_down()
    fleet.upstream.goes_down()
    asked = len(fleet.upstream.asked)
    await fleet.lives(10 * HOUR)
    assert len(fleet.upstream.asked) - asked <= 4 * 10
    assert {replica.state() for replica in fleet.replicas} == {State.STALE}


async def test_replicas_that_parted_agree_on_what_was_fetched_last(fleet):
    """Each has fetched something else while Redis was away; the last one wins, whatever the calendars said."""
    fleet.redis.goes_down()
    for hours, replica, name in zip((2, -1, 0, 0.5), fleet.replicas, ("A", "B", "C", "D"), strict=True):
        fleet.clock.passes(2 * HOUR)
        fleet.clock.is_set(hours * HOUR)
        fleet.upstream.has(name, *"abcde")
        await replica.turn()
        await replica.turn()
        fleet.clock.is_set(-hours * HOUR)
    assert fleet.names == {"A", "B", "C", "D"}
    fleet.redis.comes_back()
    await fleet.polls(2)
    assert fleet.names == {"D"}
    assert len(fleet.versions) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        lambda upstream: upstream.goes_down("connect"),
        lambda upstream: upstream.goes_down("timeout"),
        lambda upstream: upstream.goes_down("status"),
        lambda upstream: upstream.sends(b"garbage"),
        lambda upstream: upstream.has("half", "of"),
    ],
)
async def test_the_fleets_tries_at_a_broken_upstream_follow_one_back_off(fleet, trouble):
    before = fleet.versions
    trouble(fleet.upstream)
    fleet.clock.passes(HOUR)
    asked = len(fleet.upstream.asked)
    await fleet.polls(12)  # a minute: 2, 4, 8, 16, 32 seconds
    assert 3 <= len(fleet.upstream.asked) - asked <= 7
    assert fleet.versions == before
    await fleet.lives(10 * HOUR)
    assert len(fleet.upstream.asked) - asked <= 7 + 8 + 20
    fleet.upstream.has("New", *"abcde")
    await fleet.lives(1.1 * HOUR)
    assert fleet.names == {"New"}


async def test_failures_are_forgotten_when_another_replica_reaches_the_upstream(fleet):
    first, second = fleet.replicas[:2]
    fleet.upstream.goes_down()
    fleet.clock.passes(HOUR)
    for _ in range(4):
        await first.turn()
        fleet.clock.passes(first.next_refresh_in())
    assert first.stats.failed_in_a_row == 4
    fleet.upstream.has("New", *"abcde")
    await second.turn()
    await first.turn()
    assert first.stats.failed_in_a_row == 0
    fleet.upstream.goes_down()
    fleet.clock.passes(HOUR)
    await first.turn()
    assert first.next_refresh_in() <= 2


async def test_a_back_off_that_redis_loses_is_kept_by_each_replica_that_failed(fleet):
    fleet.upstream.goes_down()
    fleet.clock.passes(HOUR)
    asked = len(fleet.upstream.asked)
    for _ in range(24):  # two minutes: 2, 4, 8, 16, 32, 64 seconds for each
        fleet.clock.passes(POLL)
        for replica in fleet.replicas:
            fleet.redis.flush()
            await replica.turn()
    assert 4 * 3 <= len(fleet.upstream.asked) - asked <= 4 * 7


async def test_a_429_with_retry_after_is_heard_by_all(fleet):
    fleet.upstream.goes_down("status", retry_after=1800)
    fleet.clock.passes(HOUR)
    await fleet.lives(1700)
    assert len(fleet.upstream.asked) == 2
    await fleet.lives(300)
    assert len(fleet.upstream.asked) == 3


async def test_a_replica_that_cannot_read_what_the_others_have_does_not_delay_their_refresh(fleet):
    class TooLarge(FakeStore):
        async def load(self):
            return self.redis.state(), CodecError("too_large", "more than this replica may read")

    own_upstream = FakeUpstream()
    own_upstream.goes_down("too_large")
    small = refresher_of(own_upstream, fleet.clock, fleet.redis, store=TooLarge(fleet.redis))
    fleet.replicas.append(small)
    states = set()
    for _ in range(3 * HOUR // 60):
        await fleet.lives(60)
        states |= {replica.state() for replica in fleet.replicas[:4]}
    assert states == {State.FRESH}
    assert len(fleet.upstream.asked) == 4
    assert small.stats.failed_in_a_row > 5


async def test_a_replica_without_memory_leaves_the_only_copy_in_redis_and_reads_it_later(fleet):
    class Starved(FakeStore):
        is_starved = True

        async def load(self):
            return (self.redis.state(), CodecError("resources", "no")) if self.is_starved else await super().load()

    fleet.upstream.goes_down()
    stored, store = fleet.redis.stored, Starved(fleet.redis)
    newcomer = refresher_of(fleet.upstream, fleet.clock, fleet.redis, store=store)
    fleet.replicas[:] = [newcomer]
    await fleet.polls(3)
    assert (fleet.redis.stored, newcomer.current.bundled) == (stored, True)
    assert newcomer.stats.failures["connect"] >= 1, "it asks the upstream for itself"
    store.is_starved = False
    await fleet.polls(1)
    assert newcomer.current.version == stored.version


async def test_another_upstream_is_asked_at_the_start_and_then_at_the_interval(fleet):
    other = FakeUpstream("Other", *"abcde")
    other.source = "https://other.example/entries"
    changed = refresher_of(other, fleet.clock, fleet.redis)
    fleet.replicas.append(changed)
    await fleet.polls(4)
    assert fleet.names == {"Other"}
    first, second = len(fleet.upstream.asked), len(other.asked)
    assert (first, second) == (1, 1)
    await fleet.lives(HOUR / 2)
    assert (len(fleet.upstream.asked), len(other.asked)) == (first, second)


async def test_another_upstream_that_fails_is_asked_again_at_the_interval_and_does_not_delay_the_others(fleet):
    other = FakeUpstream()
    other.source = "https://other.example/entries"
    other.goes_down()
    fleet.replicas.append(refresher_of(other, fleet.clock, fleet.redis))
    await fleet.polls(12)
    assert len(other.asked) == 1
    assert fleet.redis.retry_at == 0
    await fleet.lives(1.1 * HOUR)
    assert len(fleet.upstream.asked) == 2


async def test_both_are_down_at_the_start_and_the_real_one_comes_when_either_is_back():
    for comes_back in ("redis", "upstream"):
        fleet = PollingFleet(4)
        fleet.redis.goes_down()
        fleet.upstream.goes_down()
        await fleet.polls(3)
        assert {replica.state() for replica in fleet.replicas} == {State.BUNDLED}
        if comes_back == "upstream":
            fleet.upstream.has("Real", *"abcde")
        else:
            parsed = formats.parse(publicapis("Real", *"abcde"))
            other = PollingFleet(1)
            other.upstream.has("Real", *"abcde")
            await other.polls()
            fleet.redis.stored, fleet.redis.payload = other.redis.stored, codec.to_bytes(parsed)
            fleet.redis.comes_back()
        await fleet.polls(12)
        assert fleet.names == {"Real"}, comes_back


async def test_a_redis_whose_clock_was_set_back_makes_no_age_negative_and_stops_no_refresh(fleet, monkeypatch):
    now = fleet.redis.now
    monkeypatch.setattr(fleet.redis, "now", lambda: now() - HOUR)
    await fleet.polls(2)
    assert all(0 <= replica.age() <= 25 for replica in fleet.replicas)
    fleet.upstream.has("New", *"abcde")
    await fleet.lives(1.1 * HOUR)
    assert fleet.names == {"New"}


@pytest.mark.parametrize("ahead", [0, HOUR, -HOUR])
async def test_a_change_is_everywhere_within_three_polls_though_a_calendar_is_off_by_an_hour(fleet, ahead):
    class Skewed(FakeClock):
        def steady(self):
            return fleet.clock.steady()

        def wall(self):
            return fleet.clock.wall() + ahead

    skewed = refresher_of(fleet.upstream, Skewed(), fleet.redis)
    fleet.replicas.append(skewed)
    await fleet.polls()
    for name in "ABC":
        fleet.upstream.has(name, *"vwxyz")
        fleet.clock.passes(HOUR)
        await skewed.turn() if name == "B" else None
        await fleet.polls(3)
        assert fleet.names == {name}
        assert len(fleet.versions) == 1
        assert max(replica.age() for replica in fleet.replicas) - min(replica.age() for replica in fleet.replicas) < 1


async def test_every_replica_answers_a_search_with_the_same_bytes_and_tag():
    clock = FakeClock()
    redis, upstream = FakeRedis(clock), FakeUpstream()
    async with (
        running_app(upstream, clock, redis, served_by="one") as one,
        running_app(upstream, clock, redis, served_by="two") as two,
        client_of(one.asgi) as first,
        client_of(two.asgi) as second,
    ):
        for path in ("/Cat", "/o", "/nothing"):
            answers = [await client.get(path) for client in (first, second)]
            assert answers[0].content == answers[1].content
            headers = [dict(answer.headers) for answer in answers]
            assert {name.pop("x-served-by") for name in headers} == {"one", "two"}
            assert headers[0] == headers[1]
    assert len(upstream.asked) == 1


async def test_trouble_with_redis_is_logged_once_and_so_is_its_end(fleet):
    with structlog.testing.capture_logs() as logs:
        fleet.redis.goes_down("oom")
        await fleet.polls(10)
        fleet.redis.goes_down("connect")
        await fleet.polls(10)
        fleet.redis.comes_back()
        await fleet.polls(10)
    events = [(entry["event"], entry.get("kind")) for entry in logs]
    one_each = [("redis.failed", "oom"), ("redis.failed", "connect"), ("redis.reached", None)]
    assert sorted(events, key=str) == sorted(one_each * len(fleet.replicas), key=str)


@pytest.mark.parametrize(("is_embedded", "level"), [(True, "debug"), (False, "info")])
async def test_what_succeeds_with_an_embedded_redis_is_logged_at_the_level_debug(is_embedded, level):
    clock = FakeClock()
    store = FakeStore(FakeRedis(clock), is_embedded=is_embedded)
    with structlog.testing.capture_logs() as logs:
        await refresher_of(FakeUpstream(), clock, None, store=store).turn()
    levels = {each["event"]: each["log_level"] for each in logs if each["event"].startswith("redis.")}
    assert levels == {"redis.reached": level, "redis.published": level}


async def test_replicas_that_hold_different_shares_for_enough_do_not_fight(fleet):
    fleet.replicas[0] = fleet.replica(min_entries_ratio=0.9)
    await fleet.polls()
    fleet.upstream.has("a", "b", "c", "d")
    await fleet.lives(3 * HOUR)
    published = sum(replica.stats.publications["published"] for replica in fleet.replicas)
    assert published <= 3
    assert len(fleet.versions) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda client, key: client.hdel(key, "digest"),
        lambda client, key: client.hset(key, "entries", "abc"),
        lambda client, key: client.hset(key, "stamp", "abc"),
        lambda client, key: client.hset(key, "failures", "abc"),
        lambda client, key: client.hset(key, "checked_at", "1" + "0" * 400),
        lambda client, key: client.hset(key, "source", b"\xff"),
        lambda client, key: client.hset(key, "etag", b"\xff"),
        lambda client, key: client.rename(key, "elsewhere"),
    ],
)
async def test_a_malformed_metadata_hash_is_replaced_once_without_asking_the_upstream(damage):
    upstream, minute = FakeUpstream(), timedelta(minutes=1)
    async with open_store(RedisAddress(), prefix=uuid.uuid4().hex, timeout=minute, max_bytes=10**6) as store:
        refresher = refresher_of(upstream, Clock(), None, store=store)
        await refresher.turn()
        before = refresher.current.version
        await damage(store._client, store.keys.head)
        for _ in range(4):
            await refresher.turn()
        stored = (await store.read()).catalogue
    assert (stored.version, refresher.current.version) == (before, before)
    assert len(upstream.asked) == 1
    assert refresher.stats.publications == {"published": 2, "fenced": 0, "failed": 0}
