"""Faults of the upstream."""

from contextlib import AbstractContextManager
from functools import partial

from loadtest.faults.fault import Fault
from loadtest.system import between
from loadtest.targets.target import Target, UpstreamMode


class BadUpstream(Fault, frozen=True):
    """The testbed's upstream misbehaves, in one of its modes."""

    mode: UpstreamMode
    verb, sentence, interrupts_upstream = Target.command_upstream, "the upstream's mode is {mode}", True

    def inject(self, target: Target) -> AbstractContextManager[None]:
        """As `Fault.inject`; the upstream is good again at the end."""
        tell = partial(target.command_upstream, "tell")
        return between(lambda: tell(self.mode), lambda: tell("good"))


class UpstreamPartition(Fault, frozen=True):
    """Every packet that the upstream sends is dropped."""

    verb, sentence, interrupts_upstream = Target.upstream_partitioned, "the upstream is partitioned", True
