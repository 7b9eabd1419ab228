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
        """As `Fault.inject`; its mode is the one before at the end."""
        command = target.command_upstream
        return between(partial(command, "begin", self.mode), partial(command, "end", self.mode))


class UpstreamPartition(Fault, frozen=True):
    verb, sentence, interrupts_upstream = Target.upstream_partitioned, "the upstream is partitioned", True
