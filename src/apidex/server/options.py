"""What a server is given: functions that answer requests, and the limits of connections."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from apidex.http.asgi import ASGIApp, Headers, SyncResponse
from apidex.http.connection_stats import ConnectionStats
from apidex.http.problem_details import Problem


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Time-outs and bounds.

    *drain*: from SIGTERM to the closing of the listener. *keep_alive*: between two requests. *max_age*: until a connection is
    retired, plus or minus half; 0 for never. *request_timeout*: from the first byte of a request, or from the connection, to
    the end of the request. *queue_delay_target*: how long requests may wait for the event loop before others are shed; 0 for
    no such bound. *send_timeout*: how long a client may take nothing, or less than 1 KiB a second on average. *max_in_flight*:
    requests in ASGI above which others are shed, without those that wait for their client. *max_connections*: above it, one is
    closed for each new one (`connection_limit`). *max_unsent_bytes*: what slow clients have not taken, of all together.
    """

    drain: timedelta
    keep_alive: timedelta
    max_age: timedelta
    request_timeout: timedelta
    send_timeout: timedelta = timedelta(seconds=20)
    queue_delay_target: timedelta = timedelta(0)
    max_in_flight: int = 1000
    max_connections: int = 8192
    max_unsent_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The application *asgi*, and functions that respond without it. They do not wait and raise nothing.

    *respond_sync* is given the raw path of one segment and the headers of a GET, and whether the replica is overloaded.
    *probe* is given the raw path of any other GET; where it is None, this port answers no probes. Both return None for what is
    left to *asgi*. *shed* is the response to any other request while the replica is overloaded, except probes and metrics; it
    is given the moment at which the head was complete, as *asgi* is in the scope (`head_at`). Without it, none is shed.
    *refuse* is the response to a request that cannot be read. *delay* is how many seconds a request would wait for the thread
    that searches in large catalogues. *stats* counts what happens to connections. *access_log* logs each request.
    *is_balanced* tells whether a balancer may send requests to this replica, so that it must be given time to notice the end.
    """

    asgi: ASGIApp
    limits: ConnectionLimits
    respond_sync: Callable[[bytes, Headers, bool], SyncResponse | None] | None = None
    probe: Callable[[bytes], SyncResponse | None] | None = None
    shed: Callable[[float], SyncResponse] | None = None
    refuse: Callable[[Problem], SyncResponse] | None = None
    stats: ConnectionStats = field(default_factory=ConnectionStats)
    access_log: bool = False
    delay: Callable[[], float] = lambda: 0.0
    is_balanced: Callable[[], bool] = lambda: True
