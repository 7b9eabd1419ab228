"""Faults of the upstream."""

from collections.abc import Iterator
from contextlib import contextmanager

from loadtest.faults.fault import Fault
from loadtest.targets.target import Target, UpstreamMode


class BadUpstream(Fault, frozen=True):
    """The testbed's upstream misbehaves, in one of its modes."""

    mode: UpstreamMode
    verb, sentence, interrupts_upstream = Target.command_upstream, "the upstream's mode is {mode}", True

    @contextmanager
    def inject(self, target: Target) -> Iterator[None]:
        """As `Fault.inject`; the upstream is good again at the end."""
        try:
            target.command_upstream("tell", self.mode)
            yield
        finally:
            target.command_upstream("tell", "good")


class UpstreamPartition(Fault, frozen=True):
    """Every packet that the upstream sends is dropped."""

    verb, sentence, interrupts_upstream = Target.upstream_partitioned, "the upstream is partitioned", True
