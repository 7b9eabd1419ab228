"""Which catalogue a replica answers from: the current one, those that wait for their moment, and the previous ones. Does no I/O.

A catalogue is published with the moment at which all replicas begin to answer from it, so that a client whose requests go to
different replicas never sees an older catalogue after a newer one. It is loaded and indexed before that moment, so that
activation is one assignment.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import NamedTuple

from apidex.replication.clock import Clock
from apidex.replication.snapshot import Snapshot, SnapshotHistory

_MEASURED_WITHIN = 1.0
"""Seconds by which two readings of one moment may differ."""


class Waiting(NamedTuple):
    """A *snapshot* that is activated at the moment *at*. Redis may still give another one, unless that *is_certain*."""

    at: float
    snapshot: Snapshot
    is_certain: bool


class Activation:
    """Holds the *current* snapshot, the *latest* one, which may still wait for its moment, and the *history*.

    The *listeners*, first *on_activation*, are called with each snapshot of another version that becomes current. A provisional
    one is replaced at once. A caller that reads *current* at *next_at* or later calls `activate_due` first: a busy event loop may
    call the timer late.
    """

    def __init__(self, starter: Snapshot, clock: Clock, on_activation: Callable[[Snapshot], object]) -> None:
        self.current = self.latest = starter
        self.history = SnapshotHistory()
        self._clock, self.listeners = clock, [on_activation]
        self._waiting: dict[str, Waiting] = {}
        self.next_at = inf
        self._timer: asyncio.TimerHandle | None = None

    def find_version(self, version: str) -> Snapshot | None:
        """Return the snapshot with the content that *version* names: current, waiting, or one of the previous ones."""
        waiting = (each.snapshot for each in self._waiting.values())
        held = (each for each in (self.current, *waiting) if each.has_content_of(version))
        return next(held, None) or self.history.find(version)

    def is_waiting(self) -> bool:
        """Return whether a snapshot waits for its moment."""
        return bool(self._waiting)

    def waiting(self, version: str) -> Waiting | None:
        """The snapshot of *version*, if it waits for its moment."""
        return self._waiting.get(version)

    def accept(self, snapshot: Snapshot, activate_at: float = 0.0, *, is_certain: bool = True) -> None:
        """Take *snapshot* as the latest; it becomes current at *activate_at* on the steady clock, or now if that has passed.

        The moment *is_certain* if Redis gave it to all replicas. If this version is current or waits already, it takes the labels
        of *snapshot*; a certain moment can be measured again, but not postponed. What waits under another stamp with the same
        content, or for an uncertain moment, is dropped: the fleet does not wait for it.
        """
        self.latest = snapshot
        if snapshot.version == self.current.version:
            self.current = snapshot
            return
        before = self._waiting.pop(snapshot.version, None)
        if before and (before.is_certain or activate_at == inf) and activate_at >= before.at + _MEASURED_WITHIN:
            activate_at = before.at
        is_certain |= before is not None and before.is_certain
        others = {
            version: each
            for version, each in self._waiting.items()
            if each.is_certain and not each.snapshot.has_content_of(snapshot.version)
        }
        self._waiting = others | {snapshot.version: Waiting(activate_at, snapshot, is_certain)}
        self.activate_due()

    def discard(self, digest: str) -> None:
        """Do not activate the content with this *digest*."""
        waiting = self._waiting.items()
        self._waiting = {version: each for version, each in waiting if each.snapshot.catalogue.digest != digest}
        if self.latest.catalogue.digest == digest != self.current.catalogue.digest:
            held = (each.snapshot for each in self._waiting.values())
            self.latest = max(held, key=lambda each: each.stamp, default=self.current)
        self._wait(self._clock.steady())

    def restamp(self, stamp: int) -> None:
        """Answer from the latest snapshot under another *stamp*, which may be older."""
        self.current = self.latest = replace(self.latest, stamp=stamp, shared=False)
        self._waiting.clear()
        self._wait(0.0)

    def unshare(self) -> None:
        """Record that Redis may hold none of the snapshots."""
        self.current, self.latest = replace(self.current, shared=False), replace(self.latest, shared=False)
        waiting = self._waiting.items()
        self._waiting = {
            version: each._replace(snapshot=replace(each.snapshot, shared=False)) for version, each in waiting
        }

    def activate_due(self) -> None:
        """Make the newest snapshot whose moment has come current, and start the timer for the next moment."""
        now = self._clock.steady()
        waiting = self._waiting.values()
        due = [each.snapshot for each in waiting if each.at <= now or self.current.is_provisional]
        newest = max(due, key=lambda each: each.stamp, default=self.current)
        if newest.stamp > self.current.stamp:
            self._activate(newest)
        self._waiting = {each.snapshot.version: each for each in waiting if each.snapshot.stamp > self.current.stamp}
        self._wait(now)

    def _activate(self, snapshot: Snapshot) -> None:
        before, self.current = self.current, snapshot
        if not snapshot.has_content_of(before.version):
            self.history.add(before)
        for listener in self.listeners:
            listener(snapshot)

    def _wait(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.next_at = min((each.at for each in self._waiting.values()), default=inf)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self.next_at - now, self.activate_due)
