"""All that a run saw, before anything is concluded from it. Pure."""

import msgspec

from loadtest.faults import FaultRecord
from loadtest.load_generator import GeneratorUsage
from loadtest.observer import Observation
from loadtest.record import RequestRecord
from loadtest.stalls import Stall

_START_AND_END = 4.0
"""Seconds that every run takes besides, to start Locust and to compare versions at the end."""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, where, when and for how many *seconds*, of *planned_seconds*.

    *poll* is the seconds between two polls of a replica, *min_requests* how many requests were asked for, *by_request* whether a
    balancer in front retries, *has_testbed* whether the upstream keeps a log. *commit* is that of the checkout, if it is one.
    """

    scenario: str
    target: str
    by_request: bool
    has_testbed: bool
    host: str
    replicas: int
    poll: float
    began: str
    command: str
    seed: int
    min_requests: int
    seconds: float
    planned_seconds: float | None = None
    commit: str = ""

    def overtime(self, seconds: float) -> str:
        """Why it lasts *seconds*, if these are more than a few above those planned."""
        if self.planned_seconds is None or seconds <= self.planned_seconds + _START_AND_END:
            return ""
        requests = ", and enough requests are sent" * bool(self.min_requests)
        until = f"until every fault is over and all replicas answer again{requests}"
        return f"longer than the {self.planned_seconds:g} s planned: a run goes on {until}"


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. Moments are seconds since the run began.

    *stopped_early* is the wait that timed out in the scenario, if one did. *upstream_log* is when the upstream gave which digest,
    each perhaps *sooner* by so much, None where that is not known. *ended* counts the replicas' ends, *repeated* the requests
    that came a second time, *retries* those that an edge sent again; None where they are not counted. *stalls* are those of the
    load test's own balancer, where there is one.
    """

    facts: RunFacts
    requests: list[RequestRecord]
    faults: list[FaultRecord]
    stopped_early: str
    observations: list[Observation]
    upstream_log: list[tuple[float, str]] | None
    sooner: float
    generator: GeneratorUsage
    ended: int
    final_versions: list[str]
    repeated: int | None = None
    retries: int | None = None
    stalls: list[Stall] = []

    @property
    def rounds(self) -> list[list[FaultRecord]]:
        """The faults, those together that were injected to overlap, in the order in which they began."""
        rounds: dict[object, list[FaultRecord]] = {}
        for place, record in enumerate(self.faults):
            rounds.setdefault(record.round or f"alone {place}", []).append(record)
        return list(rounds.values())
