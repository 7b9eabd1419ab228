"""The Refresher keeps the Snapshot as fresh as the upstream allows, and keeps it whatever the upstream does."""

import asyncio
from datetime import timedelta
from random import Random

import pytest

from apidex import formats
from apidex.app import starter_snapshot
from apidex.freshness import Limits, State
from apidex.refresh import Refresher
from conftest import running_app
from fakes import FakeClock, FakeUpstream, publicapis

HOUR = 3600


def refresher_of(upstream, clock, parse=formats.parse) -> Refresher:
    limits = Limits(timedelta(seconds=HOUR), timedelta(0), timedelta(0))
    return Refresher(
        upstream, starter_snapshot(clock), parse=parse, limits=limits, keep_share=0.5, clock=clock, random=Random(3)
    )


@pytest.fixture
def refresher(upstream, clock) -> Refresher:
    return refresher_of(upstream, clock)


def wait_of(refresher) -> float:
    return refresher.ledger.next_turn - refresher.clock.steady()


async def test_before_the_first_turn_it_has_the_starter_catalogue_and_says_so(refresher):
    assert refresher.state() is State.BUNDLED
    assert len(refresher.current.catalogue) >= 200


async def test_a_catalogue_is_adopted(refresher, upstream, clock):
    await refresher.turn()
    assert refresher.state() is State.FRESH
    assert refresher.current.catalogue.names()[0] == "Cat Facts"
    assert refresher.current.source == upstream.source
    assert refresher.current.stamp == int(clock.wall() * 1000)
    assert 0.9 * HOUR <= wait_of(refresher) <= HOUR


async def test_a_catalogue_grows_old_and_is_fresh_again_when_the_upstream_vouches_for_it(refresher, upstream, clock):
    await refresher.turn()
    first = refresher.current
    clock.passes(HOUR + 1)
    assert (refresher.age(), refresher.state()) == (HOUR + 1, State.STALE)
    await refresher.turn()
    assert upstream.asked[1] != upstream.asked[0]
    assert (refresher.age(), refresher.state()) == (0, State.FRESH)
    assert refresher.current.version == first.version
    assert refresher.current.index is first.index
    assert refresher.ledger.outcomes == {"adopted": 1, "not_modified": 1}


async def test_the_same_catalogue_in_other_bytes_keeps_its_version(refresher, upstream, clock):
    await refresher.turn()
    first = refresher.current
    upstream.sends(publicapis(*first.catalogue.names()) + b"\n")
    clock.passes(HOUR)
    await refresher.turn()
    assert refresher.ledger.outcomes["unchanged"] == 1
    assert refresher.current.version == first.version
    assert refresher.age() == 0


async def test_stamps_rise_even_when_the_calendar_is_set_back(refresher, upstream, clock):
    stamps = []
    for name in ("A", "B", "C"):
        upstream.has(name, "X")
        await refresher.turn()
        stamps.append(refresher.current.stamp)
        clock.is_set(-HOUR)
    assert stamps == sorted(set(stamps))


async def test_ages_do_not_care_about_the_calendar(refresher, clock):
    await refresher.turn()
    clock.passes(10)
    clock.is_set(HOUR * 24)
    assert refresher.age() == 10


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
    refresher, upstream, clock, break_it, outcome, reason
):
    await refresher.turn()
    before = refresher.current
    clock.passes(HOUR)
    break_it(upstream)
    await refresher.turn()
    assert refresher.current is before
    assert refresher.ledger.outcomes[outcome] == 1
    assert refresher.ledger.failures == {reason: 1}
    assert refresher.ledger.last_failure.at == clock.wall()
    assert refresher.age() == HOUR
    assert wait_of(refresher) <= 2


async def test_half_of_the_entries_is_enough(refresher, upstream):
    await refresher.turn()
    upstream.has("A", "B", "C")
    await refresher.turn()
    assert refresher.current.catalogue.names() == ["A", "B", "C"]


async def test_the_starter_catalogue_is_no_measure_for_the_upstreams(refresher, upstream):
    upstream.has("A")
    await refresher.turn()
    assert refresher.current.catalogue.names() == ["A"]


async def test_what_was_refused_is_not_taken_for_known(refresher, upstream):
    """A 304 after a refusal would vouch for bytes that are not here."""
    await refresher.turn()
    good = upstream.asked[-1]
    upstream.sends(b"<html>")
    await refresher.turn()
    await refresher.turn()
    assert upstream.asked[-1] == upstream.asked[-2] != good


async def test_tries_grow_rarer_while_the_upstream_is_down_and_are_forgiven_when_it_is_back(refresher, upstream, clock):
    upstream.goes_down()
    waits = []
    for _ in range(15):
        await refresher.turn()
        waits.append(wait_of(refresher))
        clock.passes(waits[-1])
    assert waits[0] <= 2
    assert waits[8] > 100
    assert all(HOUR / 2 <= wait <= HOUR for wait in waits[12:])
    upstream.has("A")
    await refresher.turn()
    assert refresher.ledger.failed_in_a_row == 0
    assert wait_of(refresher) >= 0.9 * HOUR


async def test_an_upstream_that_asks_for_patience_gets_it(refresher, upstream):
    upstream.goes_down("status", retry_after=600)
    await refresher.turn()
    assert wait_of(refresher) == 600


async def test_a_fault_of_ours_is_one_failure_and_not_the_end(upstream, clock):
    def broken(body):
        raise ZeroDivisionError

    refresher = refresher_of(upstream, clock, parse=broken)
    await refresher.turn()
    assert refresher.ledger.failures == {"internal": 1}
    assert refresher.state() is State.BUNDLED


async def test_the_start_waits_for_the_upstream_but_not_for_long():
    upstream, clock = FakeUpstream(), FakeClock()
    upstream.hangs()
    async with asyncio.timeout(5), running_app(upstream, clock, start=timedelta(seconds=0.05)) as app:
        assert app.service.refresher.state() is State.BUNDLED
    assert len(upstream.asked) == 1


async def test_the_task_asks_again_when_it_is_time(upstream, clock):
    async with running_app(upstream, clock, refresh=timedelta(seconds=1)):
        async with asyncio.timeout(5):
            while len(upstream.asked) < 2:
                clock.passes(0.5)
                await asyncio.sleep(0.02)
