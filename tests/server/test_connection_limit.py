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
    waiting_since: float | None = None

    def abort(self) -> None:
        raise NotImplementedError


NOW = 100.0
IDLE, IDLE_LONG = Connection(True, NOW - 0.1), Connection(True, NOW - 3)
SLOW, SLOWER, PROMPT, BUSY = (Connection(False, since) for since in (NOW - 2, NOW - 4, NOW - 0.5, None))
NEWEST = Connection(True, NOW)


@pytest.mark.parametrize(
    ("others", "closed"),
    [
        pytest.param([BUSY], None, id="room"),
        pytest.param([BUSY, PROMPT, IDLE], IDLE, id="an idle one"),
        pytest.param([BUSY, PROMPT, IDLE, IDLE_LONG, SLOW], IDLE_LONG, id="idle longest"),
        pytest.param([BUSY, PROMPT, IDLE, IDLE_LONG, SLOW, SLOWER], SLOWER, id="a request that arrives slowly"),
        pytest.param([BUSY, PROMPT], NEWEST, id="nothing but prompt requests and answers"),
    ],
)
def test_who_has_waited_longest_for_its_client_makes_room(others, closed):
    limit = ConnectionLimit(2)
    assert limit.to_close({*others, NEWEST}, NEWEST, NOW) is closed


def test_thousands_of_new_connections_each_close_another_one():
    limit, open_connections = ConnectionLimit(1000), {Connection(True, NOW - number) for number in range(1000)}
    for _ in range(3000):
        open_connections.add(newest := Connection(False, NOW))
        closed = limit.to_close(open_connections, newest, NOW)
        open_connections.discard(closed)
        assert len(open_connections) == 1000
    assert not any(connection.is_idle for connection in open_connections)


@pytest.mark.parametrize("state", [(False, None), (True, NOW)], ids=["answering", "idle again"])
def test_a_candidate_that_has_sent_a_request_is_left_alone(state):
    limit, first, second = ConnectionLimit(1), Connection(True, NOW - 3), Connection(True, NOW - 2)
    open_connections = {first, second, NEWEST}
    assert limit.to_close(open_connections, NEWEST, NOW) is first
    second.is_idle, second.waiting_since = state
    assert limit.to_close(open_connections - {first}, NEWEST, NOW) is NEWEST


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
