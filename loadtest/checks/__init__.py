"""What must hold after a run: a check is one function, and one line of `COMMON`, or of the scenario that it is for."""

from loadtest.checks.bodies import bodies_were_compared
from loadtest.checks.catalogue import states_were_true, upstream_kept_a_log, versions_agree
from loadtest.checks.check import Check, CheckResult
from loadtest.checks.load_generator import clocks_agree, was_not_the_bottleneck
from loadtest.checks.repeats import client_sent_each_request_once, edge_retried_little
from loadtest.checks.run import enough_requests, ran_to_its_end

__all__ = ["COMMON", "Check", "CheckResult"]

COMMON: tuple[Check, ...] = (
    was_not_the_bottleneck,
    clocks_agree,
    enough_requests,
    ran_to_its_end,
    bodies_were_compared,
    versions_agree,
    states_were_true,
    upstream_kept_a_log,
    client_sent_each_request_once,
    edge_retried_little,
)
