"""Compares bodies with the right answers, fetched as versions appear. For a process of Locust: it waits as gevent does."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress

import gevent
import msgspec
import requests
from requests.adapters import HTTPAdapter

from loadtest.oracle import Oracle, digest_of
from loadtest.record import RequestRecord

_HELD = 8
_PATIENCE = 20.0
_AGAIN = 0.25
_TIMEOUT = 2.0, 5.0
"""Seconds to connect, and to read."""
_MORE_CONNECTIONS = 2
"""Attempts to connect, after the first, as in `loadtest.system.get`."""
_NEXT_TRY_AFTER = 1.0
"""Seconds. A try that hangs, as on a lost node, is not waited for: a version may be gone by the time it ends."""


Judge = Callable[[Oracle, RequestRecord], RequestRecord]
"""Compares an answer with the catalogue that it is from: the same record, failed if it is wrong."""


class BodyVerifier:
    """Compares bodies with what their version demands. Responses of an unknown version wait until it is fetched.

    `done(request)` is called for each request, failed or not, and gives it back.
    """

    def __init__(self, host: str, done: Callable[[RequestRecord], RequestRecord]) -> None:
        self._host, self._done = host, done
        self._known: OrderedDict[str, Oracle] = OrderedDict()
        self._waiting: dict[str, list[tuple[RequestRecord, Judge]]] = defaultdict(list)

    def fetch(self) -> Oracle:
        """The oracle of whichever catalogue answers, kept by the digest of its bytes, not by what the service calls it.

        Raises requests.RequestException.
        """
        with requests.Session() as session:
            session.mount(self._host, HTTPAdapter(max_retries=_MORE_CONNECTIONS))
            answer = session.get(f"{self._host}/v1/entries", headers={"connection": "close"}, timeout=_TIMEOUT)
        answer.raise_for_status()
        oracle = Oracle(answer.content)
        self._known[oracle.digest] = oracle
        while len(self._known) > _HELD:
            self._known.popitem(last=False)
        return oracle

    def check(self, request: RequestRecord, version: str, judge: Judge) -> RequestRecord | None:
        """Have *judge* compare an answer with its *version*; None where that must wait until the version is fetched."""
        digest = digest_of(version)
        if oracle := self._known.get(digest):
            return self._done(judge(oracle, request))
        if digest not in self._waiting:
            gevent.spawn(self._learn, digest)
        self._waiting[digest].append((request, judge))
        return None

    def give_up(self) -> None:
        """Pass on what still waits, unchecked."""
        for digest in list(self._waiting):
            self._pass_on(digest)

    def _learn(self, digest: str) -> None:
        with gevent.Timeout(_PATIENCE, exception=False):
            while digest not in self._known:
                gevent.spawn(self._try_to_fetch).join(_NEXT_TRY_AFTER)
                gevent.sleep(0 if digest in self._known else _AGAIN)
        self._pass_on(digest)

    def _try_to_fetch(self) -> None:
        with suppress(requests.RequestException):
            self.fetch()

    def _pass_on(self, digest: str) -> None:
        oracle = self._known.get(digest)
        for request, judge in self._waiting.pop(digest, ()):
            self._done(judge(oracle, request) if oracle else msgspec.structs.replace(request, checked=False))
