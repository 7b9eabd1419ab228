"""Answers to probes, given at once: who does not answer them is ended, and a queue of searches is no reason for that.

They say to the byte what Litestar's handlers of the same routes say (a test compares them).
"""

from http import HTTPStatus

import msgspec

from apidex.http.context import ReplicaContext
from apidex.http.responses import JSON, Problem, common_headers, encode_headers, problem_headers

LIVEZ, READYZ = "/-/livez", "/-/readyz"

NO_STORE = (b"cache-control", b"no-store")


class StatusView(msgspec.Struct, frozen=True):
    """An answer to a probe."""

    status: str


ALIVE, READY = StatusView("alive"), StatusView("ready")


def ending() -> Problem:
    """What a replica that is about to end says when it is asked whether it is ready."""
    return Problem(503, "This replica is about to end.")


class Probes:
    """Answers for *replica*."""

    def __init__(self, replica: ReplicaContext) -> None:
        self._replica = replica
        common = common_headers(replica.served_by)
        self._said = {
            route: (HTTPStatus.OK, encode_headers([NO_STORE, *_entity(view), *common]), msgspec.json.encode(view))
            for route, view in ((LIVEZ, ALIVE), (READYZ, READY))
        }
        problem = ending()
        body = problem.body()
        self._ending = (problem.status, encode_headers([*problem_headers(body), *common]), body)

    def respond_sync(self, raw_path: bytes) -> tuple[int, bytes, bytes] | None:
        """Status, lines of the head, and body; None for what is no probe."""
        route = _ROUTES.get(raw_path)
        if route is None:
            return None
        said = self._ending if route == READYZ and self._replica.draining else self._said[route]
        self._replica.metrics.route(route).answered(said[0], 0.0)
        return said


_ROUTES = {route.encode(): route for route in (LIVEZ, READYZ)}


def _entity(view: StatusView) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", JSON), (b"content-length", b"%d" % len(msgspec.json.encode(view)))]
