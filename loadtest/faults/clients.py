"""Faults of clients."""

from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from loadtest.faults.fault import Fault
from loadtest.hostile_clients import attacking
from loadtest.targets.target import Target


class HostileClients(Fault, frozen=True):
    """Clients of one kind that cause a replica as much cost as they can."""

    behaviour: str
    verb, sentence = Target.replicas, "hostile clients: {behaviour}"  # every target with replicas can be attacked

    def inject(self, target: Target) -> AbstractContextManager[object]:
        """Attack the address that all clients use."""
        url = urlsplit(target.host)
        return attacking(self.behaviour, url.hostname or "", url.port or 80)
