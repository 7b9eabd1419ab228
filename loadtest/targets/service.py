"""Apidex at an address, whatever it runs on: load can be sent to it, and nothing can be broken there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from loadtest.system import UnsupportedError, get
from loadtest.targets.target import Replica, Target, TargetOptions

_ASKED = 60
"""Requests on new connections, after which each of a few replicas has answered."""


class RunningService(Target):
    """What answers at *host*, a URL. It is not known whether what is in front of it retries: no request may fail."""

    name, by_request = "service", True

    def __init__(self, host: str) -> None:
        self.host = host.rstrip("/")

    @classmethod
    @contextmanager
    def opened(cls, options: TargetOptions) -> Iterator["RunningService"]:
        if not options.host.startswith(("http://", "https://")) or options.up:
            raise UnsupportedError(
                "a service is started elsewhere: --host says where it answers, as http://NAME, without --up"
            )
        yield cls(options.host)

    def replicas(self) -> list[Replica]:
        names = set()
        for _ in range(_ASKED):
            with suppress(httpx.HTTPError):
                answer = get(f"{self.host}/Cat")
                names.add(answer.headers.get("x-served-by", ""))
        return [Replica(name, 0) for name in sorted(names - {""})]
