"""All replicas activate a catalogue at the same moment, whenever each of them has polled it."""

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from math import inf

import pytest

from apidex.app import starter_snapshot
from apidex.errors import StoreError
from apidex.indexing.builder import from_upstream
from apidex.replication.activation import Activation
from apidex.replication.clock import Clock
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.metadata import StoredState
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Snapshot
from fakes import FakeStore, FakeUpstream, publicapis
from processes import until
from refreshers import HOUR, Fleet, refresher_of

POLL = 5
LEAD = POLL + 1


def snapshot(stamp: int, *names: str) -> Snapshot:
    return Snapshot.of(from_upstream(publicapis(*(names or (f"name {stamp}",)))), stamp, "upstream", 0.0)


class Shown:
    """An Activation with a first catalogue, and the stamps that it has made current."""

    def __init__(self, clock) -> None:
        self.stamps = []
        self.clock = clock
        self.activation = Activation(starter_snapshot(clock), clock, lambda each: self.stamps.append(each.stamp))
        self.first = replace(snapshot(0), stamp=self.activation.current.stamp + 1)
        self.activation.accept(self.first)
        self.stamps.clear()

    def accepts(self, stamp: int, seconds: float, *names: str) -> Snapshot:
        accepted = snapshot(self.first.stamp + stamp, *names)
        self.activation.accept(accepted, self.clock.steady() + seconds)
        return accepted

    def after(self, seconds: float) -> int:
        """The stamp that is current then, counted from the first."""
        self.clock.passes(seconds)
        self.activation.activate_due()
        return self.activation.current.stamp - self.first.stamp


@pytest.fixture
async def shown(clock) -> Shown:
    return Shown(clock)


@pytest.mark.parametrize(
    ("accepted", "waits", "current"),
    [
        pytest.param([(1, 6)], [0, 5.9, 0.2, 10], [0, 0, 1, 1], id="it waits for its moment"),
        pytest.param([(1, 6 * poll) for poll in range(1, 17)], [23, 1.1], [0, 1], id="it is not postponed for ever"),
        pytest.param([(1, 6), (2, 8)], [7, 1], [0, 2], id="it gives way to what Redis holds"),
        pytest.param([(1, 6), (2, 4)], [4, 4], [2, 2], id="it is older than the current one"),
    ],
)
async def test_one_snapshot_is_activated_when_it_is_due(shown, accepted, waits, current):
    for stamp, seconds in accepted:
        shown.accepts(stamp, seconds)
    assert [shown.after(seconds) for seconds in waits] == current
    assert len(shown.stamps) == 1
    assert shown.activation.waiting is None


async def test_a_late_snapshot_is_current_at_once(shown):
    shown.accepts(1, -0.5)
    assert shown.activation.current.stamp == shown.first.stamp + 1


async def test_the_starter_catalogue_is_replaced_at_once(clock):
    activation = Activation(starter_snapshot(clock), clock, lambda _: None)
    first = replace(snapshot(0), stamp=activation.current.stamp + 1)
    activation.accept(first, clock.steady() + 6)
    assert activation.current is first
    assert activation.waiting is None


async def test_waiting_and_previous_snapshots_are_found_by_version(shown):
    second = shown.accepts(1, 6)
    assert shown.activation.find_version(second.version) is second
    assert shown.after(6) == 1
    assert shown.activation.find_version(shown.first.version) is shown.first


async def test_redis_may_give_another_moment_and_confirms_the_one_that_it_gave(shown):
    for seconds in (6, 9, 8):
        accepted = shown.accepts(1, seconds)
    shown.activation.accept(accepted, inf)
    assert [shown.after(seconds) for seconds in (7.9, 0.2)] == [0, 1]


async def test_a_waiting_snapshot_takes_new_labels(shown):
    shown.accepts(1, 6)
    shown.activation.unshare()
    shown.activation.accept(replace(shown.activation.latest, validated_at=77.0), shown.clock.steady() + 6)
    shown.after(6)
    assert (shown.activation.current.validated_at, shown.activation.current.shared) == (77.0, False)


async def test_a_timer_activates_without_a_request():
    shown = Shown(Clock())
    shown.accepts(1, 0.05)
    await until(lambda: shown.stamps)


def test_the_lead_is_a_poll_and_twice_the_build_but_at_most_ten_minutes():
    policy = FreshnessPolicy(timedelta(hours=1), timedelta(seconds=5), timedelta(0), timedelta(0))
    assert policy.lead(2).total_seconds() == 5 + 2 * 2 + 1
    assert replace(policy, poll=timedelta(hours=1)).lead(2).total_seconds() == 600


def test_redis_clock_is_taken_from_the_fastest_reply_until_it_is_set(clock):
    shared, ahead = refresher_of(FakeUpstream(), clock, None)._shared, clock.wall() - clock.steady()

    def error(took: float, sampled_after: float, set_by: float = 0.0) -> float:
        """The error of the estimate after a reply that *took* so long, of which Redis's clock was read after a part."""
        began, now = clock.steady(), clock.wall() + sampled_after + set_by
        clock.passes(took)
        shared._learn(StoredState(now, None), began)
        return round(shared.offset - ahead - set_by, 3)

    replies = [(0.4, 0), (0.002, 0.001), (0.4, 0.4), (0.4, 0), (0.4, 0.2, -100), (0.004, 0.002, -100), (0.4, 0, -100)]
    assert [error(*reply) for reply in replies] == [-0.2, 0, 0, 0, 0, 0, 0]


# --- in a fleet


class ChangingFleet(Fleet):
    """Replicas that do not change at once."""

    async def change(self, name: str) -> None:
        """One replica publishes another catalogue; the others have not polled yet."""
        self.upstream.has(name, *"abcde")
        self.clock.passes(HOUR)
        await self.replicas[0].turn()

    def names_after(self, seconds: float = 0) -> list[str]:
        """The first name that each answers with, after some seconds."""
        self.clock.passes(seconds)
        for replica in self.replicas:
            replica.activation.activate_due()
        return [replica.current.catalogue.names()[0] for replica in self.replicas]

    async def change_together(self, name: str, polls: Mapping[float, Iterable[int]]) -> None:
        """Replicas poll after so many seconds. At each moment they answer from one version; after a lead, that has *name*."""
        for tenth in range(int(10 * (max(polls, default=0) + LEAD + 1))):
            for number in polls.get(tenth / 10, ()):
                await self.replicas[number].turn()
            for replica in self.replicas:
                replica.activation.activate_due()
            versions = [replica.current.version for replica in self.replicas]
            assert len(set(versions)) == 1, (tenth / 10, versions)
            self.clock.passes(0.1)
        assert set(self.names_after()) == {name}

    async def change_alone(self, name: str) -> None:
        """After an interval without Redis, each replica answers from what the upstream has."""
        self.clock.passes(HOUR)
        self.upstream.has(name, *"abcde")
        for _ in range(2):
            await self.turns()
            self.clock.passes(POLL)
        assert self.names_after() == [name] * 3

    async def joins(self) -> Refresher:
        """A replica is started, and takes its first turn."""
        self.replicas.append(self.replica())
        await self.replicas[-1].turn()
        return self.replicas[-1]

    async def fetches(self, name: str, number: int) -> Snapshot:
        """A replica has fetched another catalogue, and not taken it yet."""
        self.upstream.has(name, *"abcde")
        self.clock.passes(0.1)
        return await self.replicas[number]._fetch()


@pytest.fixture
async def fleet() -> ChangingFleet:
    fleet = ChangingFleet(3)
    await fleet.turns()
    await fleet.change("first")
    await fleet.turns()
    assert fleet.names_after(LEAD) == ["first"] * 3
    return fleet


async def test_all_change_at_the_moment_that_was_published(fleet):
    await fleet.change("second")
    assert fleet.redis.activate_at - fleet.redis.now() == LEAD
    fleet.clock.passes(POLL)
    await fleet.turns()
    assert fleet.names_after(0.9) == ["first"] * 3
    assert fleet.names_after(0.1) == ["second"] * 3


async def test_a_replica_that_polls_too_late_changes_when_it_is_ready(fleet):
    await fleet.change("second")
    assert fleet.names_after(LEAD) == ["second", "first", "first"]
    await fleet.turns()
    assert fleet.names_after() == ["second"] * 3


async def test_a_replica_that_starts_before_the_moment_answers_as_the_others_do(fleet):
    await fleet.change("second")
    await fleet.turns()
    await fleet.joins()
    assert fleet.names_after() == ["first"] * 4
    assert fleet.names_after(LEAD) == ["second"] * 4
    assert len({replica.current.version for replica in fleet.replicas}) == 1


@pytest.mark.parametrize("loss", ["there is none", "it is damaged", "Redis does not give it"])
async def test_a_replica_that_starts_without_the_previous_catalogue_changes_at_once(fleet, loss):
    class GivesNoneBefore(FakeStore):
        async def load_before(self):
            raise StoreError("timeout", "too late")

    await fleet.change("second")
    if loss == "there is none":
        fleet.redis.stored_before = None
    elif loss == "it is damaged":
        fleet.redis.payload_before = b"x"
    store = GivesNoneBefore(fleet.redis) if loss.startswith("Redis") else None
    fleet.replicas.append(fleet.replica(store=store))
    await fleet.turns()
    assert fleet.names_after() == ["first", "first", "first", "second"]
    assert fleet.names_after(LEAD) == ["second"] * 4


async def test_a_current_catalogue_is_published_without_a_lead(fleet):
    fleet.redis.flush()
    await fleet.turns()
    assert fleet.redis.activate_at <= fleet.redis.now()


async def test_the_moment_stays_valid_when_redis_is_lost_before_it(fleet):
    await fleet.change("second")
    await fleet.turns()
    fleet.redis.goes_down()
    await fleet.turns()
    assert fleet.names_after(LEAD - 0.1) == ["first"] * 3
    assert fleet.names_after(0.1) == ["second"] * 3


async def test_the_next_catalogue_is_not_fetched_before_the_last_is_activated(fleet):
    await fleet.change("second")
    asked = len(fleet.upstream.asked)
    for replica in fleet.replicas:
        replica.policy = replica._schedule.policy = replace(replica.policy, refresh=timedelta(seconds=1))
    fleet.clock.passes(POLL)
    await fleet.turns()
    assert len(fleet.upstream.asked) == asked
    fleet.clock.passes(1)
    await fleet.turns()
    assert len(fleet.upstream.asked) == asked + 1


async def test_content_that_another_replica_published_during_a_fetch_keeps_its_stamp_and_moment(fleet):
    await fleet.change("second")
    late = fleet.replicas[1]
    fleet.clock.passes(1)
    found = await late._fetch()
    await late.turn()
    published = late.activation.latest.version, fleet.redis.activate_at
    await late._reconciler.take(found)
    await fleet.turns()
    assert (late.activation.latest.version, fleet.redis.activate_at) == published
    await fleet.joins()
    assert fleet.names_after() == ["first"] * 4
    assert fleet.names_after(LEAD) == ["second"] * 4


class LosesPublications(FakeStore):
    async def publish(self, *_):
        raise StoreError("timeout", "lost on the way to Redis")


class LosesAnswers(FakeStore):
    async def publish(self, *arguments):
        await super().publish(*arguments)
        raise StoreError("timeout", "lost on the way back")


class AnswersLate(FakeStore):
    async def publish(self, *arguments):
        await super().publish(*arguments)
        self.redis.clock.passes(POLL)
        raise StoreError("timeout", "late")


@contextmanager
def behaving_as(kind: type[FakeStore], replica):
    replica.store.__class__ = kind
    yield
    replica.store.__class__ = FakeStore


@pytest.mark.parametrize(
    ("store", "polls"),
    [
        pytest.param(LosesPublications, {0.2: [0], 4.8: [1, 2]}, id="lost, and repeated soon"),
        pytest.param(LosesPublications, {POLL: [0, 1, 2]}, id="lost, and repeated late"),
        pytest.param(LosesAnswers, {POLL: [0, 1, 2]}, id="its answer is lost"),
        pytest.param(AnswersLate, {0.0: [1, 2], 0.2: [0]}, id="its answer is late"),
    ],
)
async def test_a_publication_without_an_answer_of_redis_has_one_moment_for_all(fleet, store, polls):
    with behaving_as(store, fleet.replicas[0]):
        await fleet.change("second")
    assert fleet.names_after() == ["first"] * 3
    assert fleet.replicas[0]._pause() <= 0.2
    await fleet.change_together("second", polls)


@pytest.mark.parametrize(
    ("name", "polls"),
    [
        pytest.param("second", {2.2: [2], 3.7: [1], 4.2: [0]}, id="the same content"),
        pytest.param("third", {0.2: [1], 3.0: [2]}, id="another content"),
    ],
)
async def test_a_catalogue_whose_publication_is_lost_gives_way_to_one_that_others_wait_for(fleet, name, polls):
    fleet.clock.passes(HOUR)
    one, other = await fleet.fetches("second", 0), await fleet.fetches(name, 1)
    await fleet.replicas[0]._reconciler.take(one)
    with behaving_as(LosesPublications, fleet.replicas[1]):
        await fleet.replicas[1]._reconciler.take(other)
    await fleet.change_together("second", polls)


async def test_another_content_does_not_replace_one_that_waits(fleet):
    fleet.clock.passes(HOUR)
    one, other = await fleet.fetches("second", 0), await fleet.fetches("third", 1)
    await fleet.replicas[0]._reconciler.take(one)
    fleet.clock.passes(1)
    await fleet.replicas[1]._poll()
    await fleet.replicas[1]._reconciler.take(other)
    await fleet.change_together("second", {3.0: [2]})


async def test_a_waiting_catalogue_that_redis_loses_has_one_moment_again(fleet):
    await fleet.change("second")
    await fleet.replicas[1].turn()
    fleet.clock.passes(1)
    fleet.redis.flush()
    await fleet.change_together("second", {3.7: [0], 3.9: [1, 2]})


async def test_replicas_ask_redis_again_shortly_before_the_moment(fleet):
    await fleet.change("second")
    fleet.clock.passes(3)
    await fleet.turns()
    assert [replica._pause() for replica in fleet.replicas] == pytest.approx([LEAD - 3 - 0.3] * 3)
    fleet.clock.passes(2.2)
    fleet.redis.flush()
    await fleet.change_together("second", {0.5: [2, 1, 0]})


async def test_a_publisher_that_the_fence_rejects_takes_what_was_published_at_once(fleet):
    fleet.clock.passes(HOUR)
    one, other = await fleet.fetches("second", 0), await fleet.fetches("second", 1)
    await fleet.replicas[0]._reconciler.take(one)
    await fleet.replicas[1]._reconciler.take(other)
    await fleet.change_together("second", {4.0: [2]})


async def test_one_lost_answer_during_a_fetch_does_not_make_its_replica_change_alone(fleet):
    fleet.clock.passes(HOUR)
    found = await fleet.fetches("second", 0)
    fleet.redis.goes_down("timeout")
    await fleet.replicas[0]._poll_meanwhile()
    fleet.redis.comes_back()
    await fleet.replicas[0]._reconciler.take(found)
    await fleet.change_together("second", {4.9: [1, 2]})


async def test_a_catalogue_that_an_operator_rejects_before_its_moment_is_not_shown(fleet):
    await fleet.change("second")
    await fleet.replicas[1].turn()
    fleet.clock.passes(3)
    await fleet.replicas[0].store.roll_back(timedelta(seconds=LEAD))
    await fleet.change_together("first", {0.5: [2], 1.0: [1], 2.0: [0]})


async def test_a_replica_that_starts_while_redis_is_read_only_asks_the_upstream_first(fleet):
    fleet.redis.goes_down("readonly")
    await fleet.change_alone("second")
    newcomer = await fleet.joins()
    assert fleet.names_after() == ["second"] * 4
    assert newcomer._first_load_done.is_set()


async def test_a_replica_that_starts_when_redis_comes_back_waits_for_what_others_show(fleet):
    fleet.redis.goes_down()
    await fleet.change_alone("second")
    fleet.redis.comes_back()
    newcomer = fleet.replica()
    await newcomer.turn()
    assert (newcomer.current.catalogue.names()[0], newcomer._first_load_done.is_set()) == ("first", False)
    await fleet.turns()
    for _ in range(3):
        fleet.clock.passes(LEAD / 2)
        await newcomer.turn()
        if newcomer._first_load_done.is_set():
            break
    assert newcomer.current.catalogue.names()[0] == "second"
    assert newcomer._first_load_done.is_set()


@pytest.mark.parametrize("fails", [True, False])
async def test_a_replica_that_starts_on_an_old_catalogue_does_not_wait_for_long(fleet, fails):
    fleet.clock.passes(2 * HOUR)
    if fails:
        fleet.upstream.goes_down("status")
    assert (await fleet.joins())._first_load_done.is_set(), "the upstream has failed, or confirmed it"


async def test_a_poll_without_an_answer_is_repeated_soon_but_once(fleet):
    replica, asked, pauses = fleet.replicas[0], [len(fleet.upstream.asked)], []
    fleet.clock.passes(HOUR)
    fleet.redis.goes_down()
    for _ in range(3):
        await replica.turn()
        pauses.append(replica._pause())
        asked.append(len(fleet.upstream.asked))
    assert pauses[0] == 0.2
    assert min(pauses[1:]) > 1
    assert [later - earlier for earlier, later in pairwise(asked)] == [0, 0, 1], (
        "the repeated poll is no second failure"
    )
    fleet.redis.comes_back()
    await replica.turn()
    assert replica._pause() > 1
