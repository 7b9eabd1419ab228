"""Nothing in Redis stops a fleet for longer than an interval, and nothing of it survives a flush, whoever wrote it.

Two replicas share one fakeredis, with the scripts of a real one, on a clock that the test moves.
"""

import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import SimpleNamespace
from unittest import mock

import fakeredis
from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apidex.catalogue import codec, formats
from apidex.replication.freshness import State
from apidex.replication.metadata import FIELDS, StoredCatalogue, encode_catalogue
from apidex.replication.store import RedisStore
from fakes import FakeClock, publicapis
from refreshers import HOUR, Fleet

POLL = 5
LEAD = 10 * 60
"""Seconds that a moment of activation may be ahead."""

FORGED = formats.parse(publicapis("Forged", *"abcdefgh"))
PAYLOADS = {
    "forged": codec.to_bytes(FORGED),
    "half": codec.to_bytes(formats.parse(publicapis("a"))),
    "nothing": b"",
    "garbage": b"\x84\xa4wire\x01",
    "huge": bytes(10**6 + 1),
}

NEARLY_NUMBERS = ["0", "1", "-1", "+1", "01", "0000000000000007", "0x10", "1e3", "1.5", "nan", "inf", "١٢٣", "\x1b[2J"]
NEARLY_NUMBERS += ["", " 1", "1 ", *("9" * digits for digits in (15, 16, 17, 400))]
MILLISECONDS_AHEAD = [-(10**12), -HOUR * 1000, -1, 0, 1_000, LEAD * 1000, HOUR * 1000, 82_000_000, 90_000_000, 10**12]

numbers = st.sampled_from([each.encode() for each in NEARLY_NUMBERS]) | st.binary(max_size=20)
moments = numbers | st.sampled_from(MILLISECONDS_AHEAD)
"""Bytes, or milliseconds from now."""

TEXTS = [b'"real"', b'W/"x"', b"x", b"a\r\nb", b'"' + b"x" * 9000 + b'"', "\u202e".encode(), b"0" * 64, b"AB" * 32]
texts = st.sampled_from(TEXTS) | st.binary(max_size=80) | st.just(FORGED.catalogue.digest.encode())
values = {name: moments if most == 16 and name != "entries" else numbers for name, most in FIELDS.items()}
values |= dict.fromkeys(("digest", "source", "etag", "last_modified", "another"), texts)
# few fields at a time: a hash with one field that cannot be read is replaced as a whole
hashes = st.sets(st.sampled_from(sorted(values)), max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: values[name] for name in sorted(names)})
)

leases = st.none() | st.tuples(texts, st.sampled_from([None, 1, HOUR, 366 * 86_400]))
overrides = st.none() | st.tuples(texts | st.just(b"accept"), st.sampled_from([None, 1, HOUR, 366 * 86_400]))


class FleetOnRedis(Fleet):
    """Two replicas that have agreed on what the upstream has."""

    def __init__(self) -> None:
        super().__init__(0)
        server = FakeServer()
        self.upstream.has("Old", *"abcde")
        self.client = FakeAsyncRedis(server=server)
        self.stores = [self.store_on(FakeAsyncRedis(server=server)) for _ in range(3)]
        self.replicas = [self.replica(number, store=self.stores[number]) for number in range(2)]
        self.keys = self.stores[0].keys

    def store_on(self, client) -> RedisStore:
        minute = timedelta(minutes=1)
        store = RedisStore(client, "redis://fake", prefix="apidex", timeout=minute, max_bytes=10**6)
        assert not store.is_embedded
        return store

    async def is_vandalised(self, fields, payload, lease, override) -> None:
        """Anybody writes anything."""
        now = int(self.clock.wall() * 1000)
        written = {name: str(now + value) if isinstance(value, int) else value for name, value in fields.items()}
        if written:
            await self.client.hset(self.keys.head, mapping=written)
        if payload in PAYLOADS:
            await self.client.set(self.keys.payload, PAYLOADS[payload])
        elif payload == "a list":
            await self.client.delete(self.keys.payload)
            await self.client.rpush(self.keys.payload, "x")
        for key, value in ((self.keys.lease, lease), (self.keys.override, override)):
            if value:
                await self.client.set(key, value[0], ex=value[1])

    def check_is_true(self, name: str) -> None:
        """Both replicas say what the upstream says."""
        for replica in self.replicas:
            current = replica.current
            assert current.catalogue.names()[0] == name
            assert (replica.state(), current.source, current.shared) == (State.FRESH, self.upstream.source, True)
            assert not replica.stats.failures["internal"], replica.stats.last_failure
        assert len({replica.current.version for replica in self.replicas}) == 1

    async def check_is_well_formed(self) -> None:
        """Redis holds what a writer writes, and nothing else."""
        state, current = await self.stores[2].read(), self.replicas[0].current
        stored = StoredCatalogue(
            current.stamp,
            current.catalogue.digest,
            len(current.catalogue),
            current.size_checked,
            state.catalogue.validated_at,
            self.upstream.source,
            current.validators,
        )
        assert (state.catalogue, state.failures, state.retry_at, state.override) == (stored, 0, 0, "")
        assert len(await self.client.hgetall(self.keys.head)) == len(encode_catalogue(stored)) + 1
        assert await self.client.get(self.keys.payload) == codec.to_bytes(current.parsed)

    async def ends(self) -> None:
        for client in (self.client, *(store._client for store in self.stores)):
            await client.aclose()


@contextmanager
def clock_of_redis(clock: FakeClock):
    """Fakeredis reads the time from its modules' `time`."""
    fake = SimpleNamespace(**vars(time) | {"time": clock.wall})
    modules = (fakeredis._helpers, fakeredis._socket._base, fakeredis.commands_mixins.server_mixin)
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "time", fake))
        yield


FORGED_HASH = {"digest": FORGED.catalogue.digest.encode(), "entries": str(len(FORGED.catalogue)).encode()}
FOUND = [
    ({"stamp": b"9" * 16}, "kept", None, None, True),
    ({"stamp": b"0000000000000007"}, "kept", None, None, True),
    ({"stamp": "٧".encode()}, "kept", None, None, True),
    ({"stamp": 10**12}, "kept", None, None, True),
    ({"checked_at": 10**12}, "kept", None, None, True),
    ({"checked_at": b"0x10"}, "kept", None, None, True),
    ({"retry_at": 10**12, "failures": b"1"}, "kept", None, None, True),
    ({"retry_at": 10**12, "failed_at": 0}, "kept", None, None, True),
    ({"etag": b'"a\r\nb"'}, "kept", None, None, False),
    ({"entries": b"9" * 15}, "garbage", None, None, True),
    ({"activate_at": 10**12}, "kept", None, None, True),
    (FORGED_HASH | {"stamp": 1}, "forged", None, None, False),
    ({}, "huge", None, None, True),
    ({}, "kept", (b"x", 366 * 86_400), None, True),
    ({}, "kept", None, (b"reject:" + b"0" * 64, None), True),
    ({"another": bytes(2**20)}, "kept", None, None, True),
]
"""What stopped a fleet, or stayed for ever, before 0.2.0."""


def with_what_was_found(test):
    for row in FOUND:
        test = example(*row)(test)
    return test


@with_what_was_found
@given(hashes, st.sampled_from(["kept", "a list", *PAYLOADS]), leases, overrides, st.booleans())
@settings(max_examples=40)
async def test_whatever_stands_in_redis_a_fleet_is_fresh_again_within_an_interval(
    fields, payload, lease, override, upstream_changes
):
    name = "New" if upstream_changes else "Old"
    fleet = FleetOnRedis()
    with clock_of_redis(fleet.clock):
        await fleet.lives(4 * POLL, POLL)
        fleet.check_is_true("Old")
        asked = len(fleet.upstream.asked)
        await fleet.is_vandalised(fields, payload, lease, override)
        fleet.upstream.has(name, *"abcde")
        # the exception: a back-off that a replica could have written, after a Retry-After
        state = await fleet.stores[2].read()
        wait = max(HOUR, state.retry_at - state.now)
        await fleet.lives(wait + 60, step=60 if wait == HOUR else 1_200)
        await fleet.lives(6 * POLL, POLL)
        fleet.check_is_true(name)
        assert len(fleet.upstream.asked) - asked <= 4
        await fleet.client.flushall()
        await fleet.lives(2 * POLL, POLL)
        fleet.check_is_true(name)
        await fleet.check_is_well_formed()
        await fleet.ends()
