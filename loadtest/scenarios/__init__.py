"""What is broken, when, and what must hold: a scenario is one module, or a part of one, and one line of `SCENARIOS`."""

from loadtest.scenarios.everything import EVERYTHING
from loadtest.scenarios.nodes import DRAIN_NODE, LOSE_NODE
from loadtest.scenarios.redis import REDIS_CUT, REDIS_DOWN, REDIS_EMPTY, REDIS_HANG
from loadtest.scenarios.replicas import ADD_REPLICA, CRASH, CRASH_ALL, DELETE_POD, PAUSE, ROLLOUT, SCALE
from loadtest.scenarios.scenario import Scenario
from loadtest.scenarios.steady import STEADY
from loadtest.scenarios.upstream import UPSTREAM_CUT, UPSTREAM_DOWN, UPSTREAM_INVALID, UPSTREAM_SLOW

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        STEADY,
        ROLLOUT,
        SCALE,
        ADD_REPLICA,
        DRAIN_NODE,
        DELETE_POD,
        CRASH,
        CRASH_ALL,
        PAUSE,
        LOSE_NODE,
        REDIS_DOWN,
        REDIS_EMPTY,
        REDIS_HANG,
        REDIS_CUT,
        UPSTREAM_DOWN,
        UPSTREAM_INVALID,
        UPSTREAM_SLOW,
        UPSTREAM_CUT,
        EVERYTHING,
    )
}
