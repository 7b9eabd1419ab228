"""The Refresher keeps the Snapshot as fresh as the upstream allows, and keeps it whatever the upstream does."""

import asyncio
import contextlib
import functools
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from apidex.catalogue import codec, formats
from apidex.errors import StoreError, UpstreamError
from apidex.replication.freshness import State
from apidex.replication.refresher import Refresher
from apidex.replication.supervision import Supervision
from apidex.replication.validators import NO_VALIDATORS
from conftest import running_app
from fakes import FakeClock, FakeRedis, FakeStore, FakeUpstream, publicapis
from processes import HANG, until
from refreshers import HOUR, refresher_of


@pytest.fixture
def redis(clock) -> FakeRedis:
    return FakeRedis(clock)


@pytest.fixture
def refresher(upstream, clock, redis) -> Refresher:
    """One that is alone."""
    return refresher_of(upstream, clock, redis, store=FakeStore(redis, is_embedded=True))


HANG_GUARD = functools.partial(asyncio.timeout, HANG)
"""Ends a test that would wait for ever; no verdict depends on how fast this machine is."""


async def refreshed(refresher) -> None:
    refresher.clock.passes(HOUR)
    await refresher.turn()


async def test_before_the_first_turn_it_has_the_starter_catalogue_and_says_so(refresher):
    assert refresher.state() is State.BUNDLED
    assert len(refresher.current.catalogue) >= 200


async def test_a_catalogue_is_adopted_and_published(refresher, upstream, clock, redis):
    await refresher.turn()
    assert refresher.state() is State.FRESH
    assert refresher.current.catalogue.names()[0] == "Cat Facts"
    assert refresher.current.source == upstream.source
    assert refresher.current.stamp == int(clock.wall() * 1000)
    assert redis.stored.version == refresher.current.version
    assert not redis.stored.size_checked, "there was no size to compare it with"
    assert refresher.next_refresh_in() == HOUR


async def test_a_turn_before_it_is_time_asks_only_redis(refresher, upstream, clock):
    await refresher.turn()
    for _ in range(10):
        clock.passes(5)
        await refresher.turn()
    assert len(upstream.asked) == 1


async def test_a_catalogue_grows_old_and_is_fresh_again_when_the_upstream_validates_it(refresher, upstream, clock):
    await refresher.turn()
    first = refresher.current
    clock.passes(HOUR + 1)
    assert (refresher.age(), refresher.state()) == (HOUR + 1, State.FRESH)
    clock.passes(HOUR)
    assert refresher.state() is State.STALE
    await refresher.turn()
    assert upstream.asked[1] != upstream.asked[0]
    assert (refresher.age(), refresher.state()) == (0, State.FRESH)
    assert refresher.current.version == first.version
    assert refresher.current.index is first.index
    assert +refresher.stats.refreshes == {"changed": 1, "not_modified": 1}


async def test_the_same_catalogue_in_other_bytes_keeps_its_version(refresher, upstream):
    await refresher.turn()
    first = refresher.current
    upstream.sends(publicapis(*first.catalogue.names()) + b"\n")
    await refreshed(refresher)
    assert refresher.stats.refreshes["unchanged"] == 1
    assert refresher.current.version == first.version
    assert refresher.age() == 0


async def test_stamps_rise_even_when_the_calendar_is_set_back(refresher, upstream, clock):
    stamps = []
    for name in ("A", "B", "C"):
        upstream.has(name, "X")
        await refreshed(refresher)
        stamps.append(refresher.current.stamp)
        clock.is_set(-2 * HOUR)
    assert stamps == sorted(set(stamps))


async def test_ages_do_not_care_about_the_calendar(refresher, clock):
    await refresher.turn()
    clock.passes(10)
    clock.is_set(HOUR * 24)
    assert refresher.age() == 10


@pytest.mark.parametrize("redis_is_there", [True, False])
@pytest.mark.parametrize(
    ("break_it", "outcome", "reason"),
    [
        (lambda upstream: upstream.goes_down("connect"), "failed", "connect"),
        (lambda upstream: upstream.goes_down("status"), "failed", "status"),
        (lambda upstream: upstream.sends(b"<!doctype html>"), "refused", "format"),
        (lambda upstream: upstream.sends(b'{"entries": []}'), "refused", "empty"),
        (lambda upstream: upstream.sends(b'{"entries": [1, 2]}'), "refused", "unreadable"),
        (lambda upstream: upstream.has("Cats", "Dogs"), "refused", "shrunk"),
    ],
)
async def test_an_answer_of_no_use_leaves_the_catalogue_as_it_was(
    refresher, upstream, clock, redis, break_it, outcome, reason, redis_is_there
):
    if not redis_is_there:
        redis.goes_down()
    await refresher.turn()
    before, published = refresher.current.version, redis.stored
    break_it(upstream)
    clock.passes(0.2 * HOUR)
    await refreshed(refresher)
    assert refresher.current.version == before
    assert refresher.stats.refreshes[outcome] == 1
    assert +refresher.stats.failures == {reason: 1}
    assert refresher.stats.last_failure.at == clock.wall()
    assert refresher.age() == 1.2 * HOUR
    assert redis.stored == published, "nothing bad is published"


async def test_what_no_other_replica_would_take_is_refused(upstream, clock, redis):
    size = len(formats.parse(upstream._body).catalogue.canonical)
    small, enough = (refresher_of(upstream, clock, redis, max_bytes=limit) for limit in (size - 1, size))
    await small.turn()
    assert (small.current.bundled, small.stats.failures["too_costly"], redis.stored) == (True, 1, None)
    clock.passes(HOUR)
    await enough.turn()
    assert not enough.current.bundled


async def test_half_of_the_entries_is_enough(refresher, upstream, redis):
    await refresher.turn()
    upstream.has("A", "B", "C")
    await refreshed(refresher)
    assert refresher.current.catalogue.names() == ["A", "B", "C"]
    assert redis.stored.size_checked


async def test_the_size_of_the_starter_catalogue_does_not_count(refresher, upstream):
    upstream.has("A")
    await refresher.turn()
    assert refresher.current.catalogue.names() == ["A"]


async def test_what_was_refused_is_not_taken_for_known(refresher, upstream):
    """A 304 after a refusal would validate bytes that are not here."""
    await refresher.turn()
    upstream.sends(b"<html>")
    for _ in range(3):
        await refreshed(refresher)
    assert [validators.etag == "" for validators in upstream.asked] == [True, False, True, True]
    assert refresher.stats.refreshes["refused"] == 3


@pytest.mark.parametrize("reason", ["status", "broken", "timeout", "too_large"])
async def test_after_a_failure_the_next_fetch_is_unconditional(refresher, upstream, clock, reason):
    """As of servers that refuse a long ETag with 431."""
    await refresher.turn()
    has = upstream.fetch

    async def refuses_conditions(validators):
        if validators != NO_VALIDATORS:
            raise UpstreamError(reason, "the condition is refused")
        return await has(validators)

    upstream.fetch = refuses_conditions
    await refreshed(refresher)
    assert refresher.stats.failed_in_a_row == 1
    clock.passes(refresher.next_refresh_in())
    await refresher.turn()
    assert (refresher.stats.failed_in_a_row, refresher.age()) == (0, 0)


async def test_only_validators_from_the_upstream_itself_are_sent_for_a_day(refresher, upstream, clock, redis):
    other = refresher_of(upstream, clock, redis)
    await refresher.turn()
    await other.turn()
    conditional = []
    for replica in [refresher, other, *[other] * 30]:
        await refreshed(replica)
        conditional.append(upstream.asked[-1] != NO_VALIDATORS)
    assert conditional[:5] == [True, False, True, True, True]
    assert conditional.count(False) == 2, "the other one at first, and after a day"


async def test_a_forged_copy_with_the_real_etag_is_not_confirmed(refresher, upstream, clock, redis):
    other = refresher_of(upstream, clock, redis)
    await refresher.turn()
    real = refresher.current.catalogue.digest
    forged = formats.parse(publicapis("Forged", *"abcde"))
    redis.stored = replace(redis.stored, stamp=redis.stored.stamp + 1, digest=forged.catalogue.digest)
    redis.payload = codec.to_bytes(forged)
    for replica in (refresher, other):
        await replica.turn()
        assert replica.current.catalogue.names()[0] == "Forged"
    await refreshed(other)
    clock.passes(refresher.policy.lead(0).total_seconds())
    for replica in (refresher, other):
        await replica.turn()
    assert {refresher.current.catalogue.digest, other.current.catalogue.digest, redis.stored.digest} == {real}


async def test_back_off_grows_while_the_upstream_is_down_and_is_reset_when_it_is_back(refresher, upstream, clock):
    upstream.goes_down()
    waits = []
    for _ in range(15):
        await refresher.turn()
        waits.append(refresher.next_refresh_in())
        clock.passes(waits[-1])
    assert waits[0] <= 2
    assert waits[8] > 100
    assert all(HOUR / 2 <= wait <= HOUR for wait in waits[12:])
    upstream.has("A")
    await refresher.turn()
    assert refresher.stats.failed_in_a_row == 0
    assert refresher.next_refresh_in() == HOUR


@pytest.mark.parametrize("redis_is_there", [True, False])
async def test_retry_after_is_honoured(refresher, upstream, redis, redis_is_there):
    if not redis_is_there:
        redis.goes_down()
    upstream.goes_down("status", retry_after=600)
    await refresher.turn()
    assert refresher.next_refresh_in() == 600


async def test_a_fault_in_apidex_is_a_failure_and_ends_nothing(upstream, clock, redis):
    def broken(body):
        raise ZeroDivisionError

    refresher = refresher_of(upstream, clock, redis, build=broken)
    await refresher.turn()
    assert +refresher.stats.failures == {"internal": 1}
    assert refresher.state() is State.BUNDLED
    assert refresher.next_refresh_in() > 0, "a fault must not flood the upstream with requests"


async def test_the_start_waits_for_the_upstream_but_not_for_long():
    upstream, clock = FakeUpstream(), FakeClock()
    upstream.hangs()
    async with HANG_GUARD(), running_app(upstream, clock, startup_timeout=timedelta(seconds=0.05)) as app:
        assert app.replica.refresher.state() is State.BUNDLED
        await until(lambda: len(upstream.asked) == 1)


async def test_the_start_waits_where_neither_answers_but_not_for_an_upstream_that_failed(upstream, clock, redis):
    """Where Redis cannot be asked, other replicas may have a catalogue."""

    async def started() -> State:
        options = {"poll": timedelta(seconds=0.01), "startup_timeout": timedelta(days=1)}
        async with running_app(upstream, clock, redis, **options) as app:
            return app.replica.refresher.state()

    upstream.goes_down()
    redis.goes_down()
    async with HANG_GUARD():
        start = asyncio.create_task(started())
        await until(lambda: clock.passes(1) or upstream.asked)
        await asyncio.sleep(0.05)
        assert not start.done()
        redis.comes_back()
        assert await start is State.BUNDLED


async def test_the_start_does_not_wait_where_another_replica_has_failed(upstream, clock, redis):
    redis.failures, redis.retry_at = 1, clock.wall() + HOUR
    async with HANG_GUARD(), running_app(upstream, clock, redis, startup_timeout=timedelta(days=1)) as app:
        assert (upstream.asked, app.replica.refresher.state()) == ([], State.BUNDLED)


async def test_a_replica_that_starts_waits_for_redis_before_it_asks_the_upstream_alone(upstream, clock, redis):
    refresher = refresher_of(upstream, clock, redis, redis_wait=timedelta(seconds=5))
    redis.error = StoreError("refused", "the network is not ready")
    await refresher.turn()
    clock.passes(4.9)
    await refresher.turn()
    assert (upstream.asked, refresher.state()) == ([], State.BUNDLED)
    clock.passes(0.1)
    await refresher.turn()
    assert (len(upstream.asked), refresher.state()) == (1, State.FRESH)


async def test_a_replica_that_confirms_what_redis_holds_shares_it_in_the_same_poll(upstream, clock, redis):
    refresher = refresher_of(upstream, clock, redis)
    await refreshed(refresher)
    redis.error = StoreError("refused", "Redis is down")
    clock.passes(1.2 * HOUR)
    for _ in range(2):
        await refresher.turn()
    assert (refresher.age(), refresher.current.shared) == (0, False)
    redis.error = None
    clock.passes(5)
    await refresher.turn()
    assert (refresher.age(), refresher.current.shared) == (5, True)


async def test_the_task_asks_again_when_it_is_time(upstream, clock):
    async with HANG_GUARD(), running_app(upstream, clock, refresh=timedelta(seconds=1), poll=timedelta(seconds=0.05)):
        while len(upstream.asked) < 3:
            clock.passes(0.5)
            await asyncio.sleep(0.02)


async def test_a_cancellation_that_a_redis_client_loses_ends_the_prolonging_of_the_lease_all_the_same(clock, redis):
    """As asyncio.wait_for does before Python 3.12: cancelled when it has a result already, it gives that."""
    prolonging = asyncio.Event()

    class LosesCancellation(FakeStore):
        async def renew(self, token, ttl) -> bool:
            is_first = not prolonging.is_set()
            prolonging.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not is_first:
                    raise
            return True

    class Waits(FakeUpstream):
        async def fetch(self, validators):
            await prolonging.wait()
            return await super().fetch(validators)

    refresher = refresher_of(Waits(), clock, redis, store=LosesCancellation(redis), poll=0.05)
    done, _ = await asyncio.wait({asyncio.create_task(refresher.turn())}, timeout=60)
    assert done, "the turn does not end"
    assert refresher.state() is State.FRESH


@pytest.mark.parametrize("away", [True, False], ids=["Redis was away", "Redis was empty"])
async def test_while_the_upstream_hangs_a_replica_takes_what_another_has(clock, away):
    redis, well, hanging = FakeRedis(clock), FakeUpstream(), FakeUpstream()
    hanging.hangs()
    if away:
        redis.goes_down()
    late = {"poll": timedelta(seconds=0.05), "startup_timeout": timedelta(0), "upstream_timeout": timedelta(hours=1)}
    async with HANG_GUARD(), running_app(hanging, clock, redis, **late) as app:
        await until(lambda: hanging.asked)
        redis.comes_back()
        redis.held_until = 0.0  # a holder of the lease waits for the upstream that hangs
        async with running_app(well, clock, redis) as other:
            hangs, serves = app.replica.refresher, other.replica.refresher
            await until(lambda: hangs.current.version == serves.current.version)
        assert hangs.state() is State.FRESH


async def test_only_cancellation_ends_the_task_that_refreshes(upstream, clock, redis, monkeypatch):
    """Not a fault, not a fault in its handling, not a CancelledError that did not come from outside."""
    refresher, faults = refresher_of(upstream, clock, redis, poll=0.05), []

    def read():
        faults.append([ZeroDivisionError, asyncio.CancelledError][len(faults) % 2])
        raise faults[-1]

    def fails(*_):
        raise OSError("no space left for the log")

    monkeypatch.setattr(refresher.store, "read", read)
    monkeypatch.setattr(refresher.stats, "fetch_failed", fails)
    async with HANG_GUARD():
        task = asyncio.create_task(refresher.run())
        await until(lambda: len(faults) > 4)
        monkeypatch.undo()
        await until(lambda: refresher.state() is State.FRESH)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # which gets lost if it comes while the lease is released
            await task


@pytest.mark.parametrize("redis_is_there", [True, False])
async def test_an_upstream_that_hangs_does_not_stall_a_replica(clock, redis_is_there):
    redis, hanging = FakeRedis(clock), FakeUpstream()
    hanging.hangs()
    if not redis_is_there:
        redis.goes_down()
    late = {"poll": timedelta(seconds=0.05), "startup_timeout": timedelta(0)}
    async with HANG_GUARD(), running_app(hanging, clock, redis, **late) as app:
        refresher = app.replica.refresher
        await until(lambda: hanging.asked)
        clock.passes(HOUR)
        await until(lambda: refresher.supervision.since_last_turn() == 0)
        assert not refresher.supervision.is_stalled()


def test_a_replica_is_behind_from_a_late_poll_to_its_end_but_not_in_a_long_one(clock):
    supervision = Supervision(timedelta(seconds=5), clock, Random(1))
    for late, is_behind in ((0.0, False), (1.5, True), (0.5, False)):
        supervision.poll_scheduled(5)
        clock.passes(5 + late)
        assert supervision.is_behind() is is_behind
        supervision.heartbeat()
        clock.passes(60)
        assert supervision.is_behind() is is_behind
        supervision.poll_ended()
        assert not supervision.is_behind()


async def test_a_fetch_that_is_over_makes_no_poll_late(refresher, upstream, clock):
    await refresher.turn()
    assert len(upstream.asked) == 1
    clock.passes(60)
    assert not refresher.supervision.is_behind()


async def test_replicas_that_stall_together_are_not_restarted_together(upstream, clock, redis):
    fleet = [refresher_of(upstream, clock, redis, seed=seed) for seed in range(8)]
    clock.passes(600)
    assert not any(replica.supervision.is_stalled() for replica in fleet)
    stalled = []
    for _ in range(10):
        clock.passes(60)
        stalled.append(sum(replica.supervision.is_stalled() for replica in fleet))
    assert stalled[-1] == 8
    assert len(set(stalled)) >= 4
