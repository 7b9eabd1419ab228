"""Compares bodies with the right answers, fetched as versions appear. For a process of Locust: it waits as gevent does."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable

import gevent
import msgspec
import requests

from loadtest.oracle import Oracle, digest_of
from loadtest.record import RequestFailure, RequestRecord

_HELD = 8
_PATIENCE = 20.0
_AGAIN = 0.25
_TIMEOUT = 5.0


class BodyVerifier:
    """Compares bodies with what their version demands. Responses of an unknown version wait until it is fetched.

    `done(request)` is called for each request, failed or not, and gives it back.
    """

    def __init__(self, host: str, done: Callable[[RequestRecord], RequestRecord]) -> None:
        self._host, self._done = host, done
        self._known: OrderedDict[str, Oracle] = OrderedDict()
        self._waiting: dict[str, list[tuple[RequestRecord, str, bytes]]] = defaultdict(list)

    def first(self) -> Oracle:
        """The oracle of the current catalogue. Raises requests.RequestException."""
        return self._fetched()

    def check(self, request: RequestRecord, name: str, body: bytes) -> RequestRecord | None:
        """Check the *body* that the search for *name* gave; None where that must wait until its version is fetched."""
        digest = digest_of(request.version)
        if oracle := self._known.get(digest):
            return self._judge(oracle, request, name, body)
        if digest not in self._waiting:
            gevent.spawn(self._learn, digest)
        self._waiting[digest].append((request, name, body))
        return None

    def give_up(self) -> None:
        """Pass on what still waits, unchecked."""
        for digest in list(self._waiting):
            self._pass_on(digest)

    def _judge(self, oracle: Oracle, request: RequestRecord, name: str, body: bytes) -> RequestRecord:
        if body != oracle.answer(name):
            request = request.failed(RequestFailure.WRONG_BODY, f"for {name!r}, {len(body)} bytes")
        return self._done(request)

    def _learn(self, digest: str) -> None:
        with gevent.Timeout(_PATIENCE, exception=False):
            while digest not in self._known:
                try:
                    self._fetched()
                except requests.RequestException:
                    gevent.sleep(_AGAIN)
                else:
                    gevent.sleep(0 if digest in self._known else _AGAIN)
        self._pass_on(digest)

    def _pass_on(self, digest: str) -> None:
        oracle = self._known.get(digest)
        for request, name, body in self._waiting.pop(digest, ()):
            if oracle:
                self._judge(oracle, request, name, body)
            else:
                self._done(msgspec.structs.replace(request, checked=False))

    def _fetched(self) -> Oracle:
        """The oracle of whichever catalogue answers, kept by the digest of its bytes, not by what the service calls it."""
        answer = requests.get(f"{self._host}/v1/entries", headers={"connection": "close"}, timeout=_TIMEOUT)
        answer.raise_for_status()
        oracle = Oracle(answer.content)
        self._known[oracle.digest] = oracle
        while len(self._known) > _HELD:
            self._known.popitem(last=False)
        return oracle
