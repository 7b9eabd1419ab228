"""Faults of clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from loadtest.faults.fault import Fault
from loadtest.hostile_clients import attacking
from loadtest.targets.target import Target


class HostileClients(Fault, frozen=True):
    """Clients of one kind that cause a replica as much cost as they can."""

    behaviour: str
    verb, sentence = Target.replicas, "hostile clients: {behaviour}"  # every target with replicas can be attacked

    @contextmanager
    def inject(self, target: Target) -> Iterator[None]:
        """Attack the address that all clients use."""
        url = urlsplit(target.host)
        with attacking(self.behaviour, url.hostname or "", url.port or 80):
            yield
