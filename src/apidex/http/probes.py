"""Responses to probes, without ASGI: a queue of searches is no reason to end a replica.

They equal those of Litestar's handlers of the same routes to the byte (a test compares them).
"""

import msgspec

from apidex.http.asgi import SyncResponse
from apidex.http.context import ReplicaContext
from apidex.http.headers import JSON, common_headers, encode_headers
from apidex.http.problem_details import Problem

ADMIN_PATHS = LIVEZ, READYZ, METRICS = "/-/livez", "/-/readyz", "/-/metrics"
"""The paths of the admin port."""

_ROUTES = {route.encode(): route for route in (LIVEZ, READYZ)}


class StatusView(msgspec.Struct, frozen=True):
    """The body of a response to a probe."""

    status: str


ALIVE, READY = StatusView("alive"), StatusView("ready")


def stalled() -> Problem:
    """The response to the liveness probe when the refresh task has stopped: a restart helps, and nothing else."""
    return Problem(503, "Refresh task has stopped.")


class Probes:
    """Responses to the probes of *replica*."""

    def __init__(self, replica: ReplicaContext) -> None:
        self._replica = replica
        common = common_headers(replica.served_by)

        def response(view: StatusView) -> SyncResponse:
            body = msgspec.json.encode(view)
            entity = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
            return 200, encode_headers([(b"cache-control", b"no-store"), *entity, *common]), body

        self._responses = {LIVEZ: response(ALIVE), READYZ: response(READY)}
        self._common, self._stalled = common, stalled().response(common)

    def respond_sync(self, raw_path: bytes) -> SyncResponse | None:
        """The response to a GET; None for a path that is not a probe's."""
        route = _ROUTES.get(raw_path)
        if route is None:
            return None
        response = self._responses[route]
        if route == READYZ and (why := self._replica.why_unready()):
            response = Problem(503, why).response(self._common)
        elif route == LIVEZ and self._replica.refresher.supervision.is_stalled():
            response = self._stalled
        self._replica.metrics.route(route).observe(response[0], 0.0)
        return response
