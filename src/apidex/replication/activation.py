"""Which catalogue a replica answers from: the current one, the one that waits for its moment, and the previous ones. Does no I/O.

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

_MOST_POSTPONED = 3
"""How many later moments Redis may give. One that restarts again and again would postpone a catalogue for ever."""


class Waiting(NamedTuple):
    """The latest snapshot is activated at the moment *at*, which *is_certain* if Redis gave it; *postponed* so many times."""

    at: float
    is_certain: bool
    postponed: int = 0


class Activation:
    """Holds the *current* snapshot, the *latest* one, which may still wait for its moment, and the *history*.

    The *listeners*, first *on_activation*, are called with each snapshot of another version that becomes current. A provisional
    one is replaced at once. A caller that reads *current* at *next_at* or later calls `activate_due` first: a busy event loop may
    call the timer late.
    """

    def __init__(self, starter: Snapshot, clock: Clock, on_activation: Callable[[Snapshot], object]) -> None:
        self.current = self.latest = starter
        self.history = SnapshotHistory()
        self.waiting: Waiting | None = None
        self._clock, self.listeners = clock, [on_activation]
        self.next_at = inf
        self._timer: asyncio.TimerHandle | None = None

    def find_version(self, version: str) -> Snapshot | None:
        """Return the snapshot with the content that *version* names: current, waiting, or one of the previous ones."""
        held = (each for each in (self.current, self.latest) if each.has_content_of(version))
        return next(held, None) or self.history.find(version)

    def accept(self, snapshot: Snapshot, activate_at: float = 0.0, *, is_certain: bool = True) -> None:
        """Take *snapshot* as the latest; it becomes current at *activate_at* on the steady clock, or now if that has passed.

        The moment *is_certain* if Redis gave it. What waited before is dropped, since the fleet does not wait for it. The moment
        of content that waits already can be given again, be postponed three times, or stay as it is with `inf`.
        """
        before = self.waiting if self.latest.has_content_of(snapshot.version) else None
        self.latest, self.waiting = snapshot, None
        if snapshot.version == self.current.version:
            self.current = snapshot
        elif before:
            self.waiting = _waiting_again(before, activate_at, is_certain)
        else:
            self.waiting = Waiting(activate_at, is_certain)
        self.activate_due()

    def discard(self, digest: str) -> None:
        """Do not activate the content with this *digest*, if it waits."""
        if self.waiting and self.latest.catalogue.digest == digest:
            self.latest, self.waiting = self.current, None
            self.activate_due()

    def restamp(self, stamp: int) -> None:
        """Answer from the latest snapshot under another *stamp*, which may be older."""
        self.current = self.latest = replace(self.latest, stamp=stamp, shared=False)
        self.waiting = None
        self.activate_due()

    def unshare(self) -> None:
        """Record that Redis may hold none of the snapshots."""
        self.current, self.latest = replace(self.current, shared=False), replace(self.latest, shared=False)

    def activate_due(self) -> None:
        """Make the snapshot that waits current if its moment has come, and start the timer for the next moment."""
        now, waiting = self._clock.steady(), self.waiting
        if waiting and (waiting.at <= now or self.current.is_provisional):
            self.waiting = None
            if self.latest.stamp > self.current.stamp:
                self._activate(self.latest)
        if self._timer is not None:
            self._timer.cancel()
        self.next_at = self.waiting.at if self.waiting else inf
        if self.waiting:
            self._timer = asyncio.get_running_loop().call_later(self.next_at - now, self.activate_due)

    def _activate(self, snapshot: Snapshot) -> None:
        before, self.current = self.current, snapshot
        if not snapshot.has_content_of(before.version):
            self.history.add(before)
        for listener in self.listeners:
            listener(snapshot)


def _waiting_again(before: Waiting, activate_at: float, is_certain: bool) -> Waiting:
    """The same content as *before*, when its moment is given again."""
    postponed = before.postponed + (activate_at > before.at + _MEASURED_WITHIN)
    if activate_at == inf or postponed > _MOST_POSTPONED:
        return before
    return Waiting(activate_at, is_certain, postponed)
