"""Which connection is closed when there are too many."""

import resource
from dataclasses import dataclass

import pytest

from apidex.server.connection_limit import (
    SPARE_DESCRIPTORS,
    ConnectionLimit,
    allowed_connections,
    raise_descriptor_limit,
)


@dataclass(eq=False)
class Connection:
    """A connection in some state."""

    is_idle: bool = False
    receiving: float = 0.0

    def abort(self) -> None:
        raise NotImplementedError

    def seconds_receiving(self, now: float) -> float:
        return self.receiving and now - 100 + self.receiving


IDLE, OLD, OLDER, YOUNG, BUSY = Connection(is_idle=True), *map(Connection, (0, 0, 0, 0), (2.0, 3.0, 0.5, 0.0))
NEWEST = Connection(is_idle=True)


@pytest.mark.parametrize(
    ("others", "closed"),
    [
        ([BUSY], None),
        ([BUSY, YOUNG, IDLE, OLD], IDLE),
        ([BUSY, YOUNG, OLD, OLDER], OLDER),
        ([BUSY, YOUNG, BUSY, YOUNG], NEWEST),
    ],
    ids=["room", "idle first", "then the request that has been arriving longest", "nothing but answers"],
)
def test_an_idle_connection_makes_room_and_then_one_that_sends_slowly(others, closed):
    limit = ConnectionLimit(2)
    assert limit.to_close({*others, NEWEST}, NEWEST, now=100.0) is closed


def test_thousands_of_new_connections_each_close_another_one():
    limit, open_connections = ConnectionLimit(1000), {Connection(is_idle=True) for _ in range(1000)}
    for _ in range(3000):
        open_connections.add(newest := Connection())
        closed = limit.to_close(open_connections, newest, 100.0)
        open_connections.discard(closed)
        assert len(open_connections) == 1000
    assert not any(connection.is_idle for connection in open_connections)


def test_a_candidate_that_has_become_busy_is_left_alone():
    limit, first, second = ConnectionLimit(1), Connection(is_idle=True), Connection(is_idle=True)
    open_connections = {first, second, NEWEST}
    closed = limit.to_close(open_connections, NEWEST, 100.0)
    other = second if closed is first else first
    other.is_idle = False
    assert limit.to_close(open_connections - {closed}, NEWEST, 100.0) is NEWEST


@pytest.fixture
def descriptor_limit():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_as_many_connections_are_allowed_as_there_are_descriptors_for(descriptor_limit):
    _, hard = descriptor_limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert allowed_connections(8192) == 512 - SPARE_DESCRIPTORS
    raise_descriptor_limit(600)
    assert allowed_connections(8192) == 600
    raise_descriptor_limit(100)
    assert allowed_connections(8192) == 600, "it is never lowered"
