"""Answers that differ much from the previous catalogue are held back; an operator accepts them, or rolls back."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from apidex.errors import CatalogueError
from apidex.indexing.builder import from_upstream
from apidex.replication.guard import Guard
from apidex.replication.metadata import ACCEPT, REJECT
from apidex.replication.snapshot import Snapshot
from fakes import FakeClock, FakeRedis, FakeUpstream, entry
from refreshers import HOUR, Fleet, refresher_of

GUARD = Guard(0.5)
LEAD = 6


def answer(count: int, rejected: int = 0, **facts) -> bytes:
    """An upstream's answer of *count* rows, of which some are *rejected*. Each fact has two values, half of the entries each."""
    usual = {"auth": ("", "apiKey"), "cors": ("yes", "unknown"), "https": (True, False)}
    rows = [
        {} if number < rejected else entry(f"name {number}", **{name: facts.get(name, usual[name][number % 2]) for name in usual})
        for number in range(count)
    ]  # fmt: skip
    return msgspec.json.encode({"count": count, "entries": rows})


def held_back(before: bytes, now: bytes, guard: Guard = GUARD, override: str = "") -> str:
    """The reason why *now* is held back; empty where it is not."""
    try:
        guard.check(from_upstream(now), Snapshot.of(from_upstream(before), 1, "", 0.0), override)
    except CatalogueError as error:
        return error.reason if "apidex catalogue accept" in str(error) else f"{error} names no way out"
    return ""


USUAL = answer(200)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        pytest.param(USUAL, USUAL, "", id="nothing is new"),
        pytest.param(USUAL, answer(100), "", id="half is left"),
        pytest.param(USUAL, answer(99), "shrunk", id="less than half is left"),
        pytest.param(USUAL, answer(300), "", id="half as many again"),
        pytest.param(USUAL, answer(301), "grown", id="more than that"),
        pytest.param(answer(5), answer(25), "", id="a small list grows"),
        pytest.param(USUAL, answer(200, rejected=20), "", id="a tenth of the rows is rejected"),
        pytest.param(USUAL, answer(240, rejected=25), "rejected", id="more than a tenth of the rows is rejected"),
        pytest.param(answer(240, rejected=24), answer(240, rejected=25), "", id="rows are rejected as before"),
        pytest.param(USUAL, answer(200, auth=""), "facts", id="no API wants a key any more"),
        pytest.param(USUAL, answer(200, https=False), "facts", id="no API has HTTPS any more"),
        pytest.param(USUAL, answer(200, cors="unknown"), "facts", id="nothing is known of CORS any more"),
        pytest.param(answer(200, cors="unknown"), USUAL, "", id="CORS became known"),
        pytest.param(answer(200, auth=""), answer(210, auth=""), "", id="nearly all have the value that they had"),
        pytest.param(answer(30), answer(30, auth=""), "", id="a small list turns"),
    ],
)
def test_what_is_held_back(before, now, reason):
    assert held_back(before, now) == reason


@pytest.mark.parametrize(
    ("now", "wider"),
    [
        (answer(50), {"min_entries_ratio": 0.25}),
        (answer(400), {"max_entries_ratio": 2.0}),
        (answer(200, rejected=60), {"max_rejected_ratio": 1.0}),
        (answer(200, auth=""), {"max_value_ratio": 1.0}),
    ],
)
def test_the_limits_are_settings_and_an_operator_can_accept_anything(now, wider):
    assert held_back(USUAL, now)
    assert not held_back(USUAL, now, replace(GUARD, **wider))
    assert not held_back(USUAL, now, override=ACCEPT)


@pytest.mark.parametrize(
    ("earlier", "now", "override", "reason"),
    [
        pytest.param(answer(200), answer(200), "", "", id="it grows back"),
        pytest.param(answer(200), answer(300), "", "", id="it grows back and is larger than before"),
        pytest.param(answer(200), answer(301), "", "grown", id="it grows further"),
        pytest.param(answer(221), answer(200), "", "grown", id="it shrank so far only because an operator accepted it"),
        pytest.param(answer(200), answer(200, auth=""), REJECT, "grown", id="an operator has taken it back"),
    ],
)
def test_a_catalogue_of_which_a_part_was_lost_grows_back(earlier, now, override, reason):
    lost, whole = (Snapshot.of(from_upstream(body), 1, "", 0.0) for body in (answer(110), earlier))
    override = override and override + whole.catalogue.digest
    try:
        assert GUARD.check(from_upstream(now), lost, override, [whole])
        held_back_by = ""
    except CatalogueError as error:
        held_back_by = error.reason
    assert held_back_by == reason


def test_a_first_answer_is_not_compared():
    assert GUARD.check(from_upstream(answer(3, auth="")), None, "") is False


@pytest.mark.parametrize(("now", "is_checked"), [(USUAL, False), (answer(190), True)], ids=["the same", "another one"])
def test_a_repeated_answer_does_not_confirm_a_size_that_was_never_compared(now, is_checked):
    before = Snapshot.of(from_upstream(USUAL), 1, "", 0.0)
    assert GUARD.check(from_upstream(now), before, "") is is_checked
    assert GUARD.check(from_upstream(now), replace(before, size_checked=True), "")


async def test_half_a_catalogue_does_not_replace_one_that_was_adopted_during_its_fetch():
    clock, upstream = FakeClock(), FakeUpstream()
    refresher = refresher_of(upstream, clock, FakeRedis(clock))
    upstream.sends(USUAL)
    await refresher.turn()
    clock.passes(10)  # nothing replaces a catalogue before its moment
    await refresher.turn()  # it learns what Redis holds
    whole, moment = refresher.current, clock.steady()
    half = Snapshot.of(from_upstream(answer(99)), whole.stamp + 1, upstream.source, moment)
    await refresher._reconciler.take(half)
    assert (refresher.current.version, refresher.stats.refreshes["fenced"]) == (whole.version, 1)
    await refresher._reconciler.take(replace(half, size_checked=True))
    assert refresher.activation.latest.version == half.version


def test_a_rolled_back_catalogue_is_held_back():
    built = from_upstream(USUAL)
    with pytest.raises(CatalogueError, match="taken it back"):
        GUARD.check(built, None, REJECT + built.parsed.catalogue.digest)


# --- in a fleet


class GuardedFleet(Fleet):
    """Replicas with an upstream that somebody vandalises."""

    async def has(self, *names: str) -> None:
        """The upstream has other names, and an interval passes."""
        self.upstream.has(*names)
        await self.lives(1.2 * HOUR)

    def refused(self, reason: str) -> int:
        return sum(replica.stats.failures[reason] for replica in self.replicas)


GOOD = [f"good {number}" for number in range(60)]
DOUBLED = [f"bad {number}" for number in range(120)]


@pytest.fixture
async def fleet() -> GuardedFleet:
    fleet = GuardedFleet(2)
    await fleet.has(*GOOD)
    assert fleet.names == {"good 0"}
    return fleet


@pytest.mark.parametrize("size", [1, 2])
async def test_a_vandalised_list_is_held_back_until_an_operator_accepts_it(size):
    fleet = GuardedFleet(size)
    await fleet.has(*GOOD)
    await fleet.has(*DOUBLED)
    await fleet.lives(6 * HOUR)
    assert fleet.names == {"good 0"}
    assert fleet.refused("grown")
    await fleet.replicas[0].store.accept()
    await fleet.lives(30, step=5)
    assert fleet.names == {"bad 0"}
    assert fleet.redis.override == "", "it lets one in, not all that follow"
    await fleet.has(*GOOD[:30])
    assert fleet.names == {"bad 0"}
    assert fleet.refused("shrunk")


async def test_a_list_that_was_read_while_it_was_written_is_whole_again_without_an_operator(fleet):
    whole = [f"whole {number}" for number in range(200)]
    await fleet.replicas[0].store.accept()
    await fleet.has(*whole)
    await fleet.has(*whole[:110], "part")
    assert fleet.names == {"whole 0"}
    assert {len(replica.current.catalogue) for replica in fleet.replicas} == {111}
    await fleet.has(*whole, "new")
    assert {len(replica.current.catalogue) for replica in fleet.replicas} == {201}
    assert not fleet.refused("grown")


async def test_an_accepted_catalogue_is_rolled_back_and_refused_until_the_override_ends(fleet):
    await fleet.has(*[f"bad {number}" for number in range(60)])
    assert fleet.names == {"bad 0"}
    assert await fleet.replicas[0].store.roll_back(timedelta(seconds=LEAD))
    await fleet.lives(15, step=5)
    assert fleet.names == {"good 0"}
    assert len({replica.current.version for replica in fleet.replicas}) == 1
    await fleet.lives(2 * HOUR)
    assert fleet.names == {"good 0"}
    assert fleet.refused("rolled_back")
    fleet.redis.override = ""
    await fleet.lives(2 * HOUR)
    assert fleet.names == {"bad 0"}


async def test_a_good_catalogue_is_adopted_while_the_bad_one_is_rejected(fleet):
    await fleet.has(*[f"bad {number}" for number in range(60)])
    await fleet.replicas[0].store.roll_back(timedelta(seconds=LEAD))
    await fleet.has("newer", *GOOD)
    assert fleet.names == {"newer"}


@pytest.mark.parametrize("validated_later", [True, False])
async def test_a_replica_that_was_partitioned_does_not_restore_a_rolled_back_catalogue(fleet, validated_later):
    await fleet.has(*[f"bad {number}" for number in range(60)])
    away = fleet.replicas.pop()
    await fleet.replicas[0].store.roll_back(timedelta(seconds=LEAD))
    await fleet.lives(15, step=5)
    if validated_later:
        away.activation.accept(replace(away.current, validated_at=fleet.clock.steady()))
    fleet.replicas.append(away)
    await fleet.lives(15, step=5)
    assert fleet.names == {"good 0"}


async def test_a_rolled_back_catalogue_that_is_published_again_is_dropped(fleet):
    """By a replica of 0.1, which knows nothing of an override."""
    await fleet.has(*[f"bad {number}" for number in range(60)])
    bad = fleet.redis.stored, fleet.redis.payload
    await fleet.replicas[0].store.roll_back(timedelta(seconds=LEAD))
    await fleet.lives(15, step=5)
    fleet.redis.stored = replace(bad[0], stamp=fleet.redis.stored.stamp + 1, validated_at=fleet.redis.now())
    fleet.redis.payload = bad[1]
    await fleet.lives(15, step=5)
    assert fleet.names == {"good 0"}
    assert fleet.redis.stored.digest == fleet.replicas[0].current.catalogue.digest
