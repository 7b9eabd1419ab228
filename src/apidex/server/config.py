"""What all connections of a server share: its options, its load, and the headers of the moment."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from random import uniform

import uvicorn
from uvicorn.server import ServerState

from apidex.http.asgi import Headers
from apidex.http.headers import encode_headers
from apidex.http.probes import ADMIN_PATHS
from apidex.server.connection_limit import ConnectionLimit, allowed_connections
from apidex.server.options import ServerOptions
from apidex.server.overload import LoopLagDetector, TurnQueue
from apidex.server.slow_clients import SlowClients
from apidex.server.timers import Timers


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration with what our connections look up. *protocol* makes them."""

    def __init__(self, options: ServerOptions, protocol: type[asyncio.Protocol]) -> None:
        limits = options.limits
        super().__init__(
            options.asgi,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5 + round(limits.request_timeout.total_seconds()),  # the server ends sooner
        )
        self.options, self.limits, self.stats, self.draining = options, limits, options.stats, False
        self.timers = Timers(
            limits.request_timeout.total_seconds(),
            limits.keep_alive.total_seconds(),
            limits.send_timeout.total_seconds(),
        )
        self.slow_clients = SlowClients(limits.max_unsent_bytes, options.stats)
        self.connection_limit = ConnectionLimit(allowed_connections(limits.max_connections))
        self.exchange_queue = TurnQueue(limits.queue_delay_target.total_seconds())
        self.pipeline_queue = TurnQueue()
        self.loop_lag = LoopLagDetector(limits.queue_delay_target.total_seconds(), options.stats)
        self._default_headers: Headers | None = None
        self._default_lines = b""

    def connection_lifetime(self) -> float:
        """Seconds until a new connection is retired. Random, so that those opened together do not close together."""
        age = self.limits.max_age.total_seconds()
        return age * uniform(0.5, 1.5) if age else float("inf")  # noqa: S311 - spreads connections in time, guards nothing

    def is_overloaded(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a request that comes now waits too long, or is one too many."""
        return self.loop_lag.is_overloaded(loop) or self.stats.in_flight >= self.limits.max_in_flight

    def is_behind(self) -> bool:
        """Whether a request would wait too long for a thread: ten times the target, as in the queue of exchanges."""
        return self.options.delay() > 10 * (self.limits.queue_delay_target.total_seconds() or float("inf"))

    def is_sheddable(self, origin: bytes) -> bool:
        """Whether a request may be shed. Not a probe: a replica that does not answer is ended, and the load on others grows."""
        return self.options.probe is None or origin.partition(b"?")[0].decode() not in ADMIN_PATHS

    @contextmanager
    def waiting_for_client(self) -> Iterator[None]:
        """A response that waits for its client takes no place from the others."""
        self.stats.in_flight -= 1
        try:
            yield
        finally:
            self.stats.in_flight += 1

    def default_lines(self, state: ServerState) -> bytes:
        """The header lines that uvicorn adds to every response, encoded once a second."""
        if self._default_headers is not state.default_headers:
            self._default_headers = state.default_headers
            self._default_lines = encode_headers(state.default_headers)
        return self._default_lines
