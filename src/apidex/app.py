"""The wiring: settings in, a running application out. What is opened here is closed by the same stack, in turn."""

import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any, cast

import anyio

from apidex.catalogue import codec, starter
from apidex.event_loop import running
from apidex.http.asgi import ASGIApp
from apidex.http.context import ReplicaContext
from apidex.http.fast_path import FastPath
from apidex.http.metrics import Metrics
from apidex.http.middleware import ResponseMiddleware
from apidex.http.probes import ADMIN_PATHS, Probes
from apidex.http.response_cache import ResponseCache
from apidex.indexing.builder import from_starter, from_upstream
from apidex.replication.clock import Clock
from apidex.replication.freshness import FreshnessPolicy
from apidex.replication.guard import Guard
from apidex.replication.last_good import open_copy
from apidex.replication.redis_client import RedisAddress
from apidex.replication.refresher import Refresher
from apidex.replication.snapshot import Snapshot
from apidex.replication.store import RedisStore, open_store
from apidex.replication.upstream import Upstream, open_upstream
from apidex.server.options import ConnectionLimits, ServerOptions
from apidex.settings import Settings

_REDIS_WAIT = timedelta(seconds=5)
"""At most this much of the startup time-out is left to Redis alone."""

_ADMIN_CONNECTIONS = 16
"""Enough for probes and metrics, and few enough for the descriptors that are kept for everything but connections."""


@dataclass(frozen=True, slots=True)
class App:
    """A replica that runs.

    *asgi* answers every request, *without_fast_path* is Litestar alone, *server_options* is what a server runs, and
    *admin_options* is what another one runs for probes and metrics, if they have a port of their own.
    """

    asgi: FastPath
    without_fast_path: ASGIApp
    replica: ReplicaContext
    server_options: ServerOptions
    admin_options: ServerOptions | None


@asynccontextmanager
async def create_app(
    settings: Settings,
    *,
    upstream: Upstream | None = None,
    store: RedisStore | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
) -> AsyncIterator[App]:
    """Open everything that *settings* ask for, and give the application once it holds a catalogue.

    Takes no longer than `settings.startup_timeout` and what the starter catalogue takes. Raises SettingsError for an upstream
    that is a file and cannot be read.
    """
    from apidex.http import routes  # imports Litestar, which no other user of this module needs

    async with AsyncExitStack() as stack:
        if upstream is None:
            upstream = await stack.enter_async_context(
                open_upstream(
                    settings.upstream,
                    settings.upstream_timeout,
                    settings.upstream_limit,
                    settings.upstream_redirect_hosts,
                )
            )
        if store is None:
            store = await stack.enter_async_context(store_of(settings))
        refresher = _refresher(settings, store, upstream, clock or Clock(), random)
        responses: ResponseCache[Any, Any] = ResponseCache(settings.response_cache)
        metrics = Metrics(refresher, responses)
        replica = ReplicaContext(refresher, metrics, settings.served_by, responses)
        stack.callback(replica.thread.close)
        await stack.enter_async_context(running(refresher.run(), "refresh"))
        await refresher.wait_for_first_load(settings.startup_timeout)
        anyio.get_cancelled_exc_class()  # takes 10 ms for imports that the first request would need
        has_admin_port = settings.admin_port is not None
        probe, limits = Probes(replica).respond_sync, connection_limits(settings)
        handlers = routes.PUBLIC if has_admin_port else (*routes.PUBLIC, *routes.ADMIN)
        litestar = routes.litestar_app(replica, handlers)
        for route in (*(route.path_format for route in litestar.routes), *ADMIN_PATHS, "none"):
            metrics.route(route)
        without_fast_path = ResponseMiddleware(cast(ASGIApp, litestar), replica)
        fast_path = FastPath(without_fast_path, replica)
        options = ServerOptions(
            fast_path,
            limits,
            respond_sync=fast_path.respond_sync,
            probe=None if has_admin_port else probe,
            shed=fast_path.shed,
            refuse=fast_path.refuse,
            stats=metrics.connections,
            access_log=settings.access_log == "on",
            delay=replica.thread.delay,
            is_balanced=lambda: replica.balanced,
        )
        admin_options = None
        if has_admin_port:
            admin = ResponseMiddleware(cast(ASGIApp, routes.litestar_app(replica, routes.ADMIN)), replica)
            few = replace(limits, max_connections=_ADMIN_CONNECTIONS)
            admin_options = ServerOptions(admin, few, probe=probe, refuse=fast_path.refuse)
        yield App(fast_path, without_fast_path, replica, options, admin_options)


def _refresher(
    settings: Settings, store: RedisStore, upstream: Upstream, clock: Clock, random: Random | None
) -> Refresher:
    return Refresher(
        store,
        upstream,
        starter_snapshot(clock),
        build=functools.partial(from_upstream, format_name=settings.format_name),
        policy=freshness_policy(settings),
        guard=Guard(
            settings.min_entries_ratio,
            settings.max_entries_ratio,
            settings.max_rejected_ratio,
            settings.max_value_ratio,
        ),
        max_bytes=codec.size_limit(settings.upstream_limit),
        clock=clock,
        random=random or Random(),  # noqa: S311 - spreads replicas in time, guards nothing
        last_good=open_copy(settings.state_dir, settings.upstream, settings.upstream_format, settings.upstream_limit),
        redis_wait=min(settings.startup_timeout / 2, _REDIS_WAIT),
    )


def freshness_policy(settings: Settings) -> FreshnessPolicy:
    """The policy of freshness in *settings*."""
    return FreshnessPolicy(settings.refresh, settings.poll, settings.stale_while_revalidate, settings.stale_if_error)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The time-outs and bounds of connections that *settings* name."""
    return ConnectionLimits(
        drain=settings.drain,
        keep_alive=settings.keep_alive,
        max_age=settings.max_connection_age,
        request_timeout=settings.request_timeout,
        send_timeout=settings.send_timeout,
        queue_delay_target=settings.queue_delay_target,
        max_in_flight=settings.max_in_flight,
        max_connections=settings.max_connections,
    )


def store_of(settings: Settings) -> AbstractAsyncContextManager[RedisStore]:
    """The Redis that *settings* name, to be opened."""
    return open_store(
        RedisAddress(
            settings.redis_url,
            settings.redis_password,
            settings.redis_sentinel_password,
            settings.redis_ca,
            settings.redis_certificate,
            settings.redis_key,
        ),
        prefix=settings.redis_prefix,
        timeout=settings.redis_timeout,
        max_bytes=codec.size_limit(settings.upstream_limit),
    )


def starter_snapshot(clock: Clock) -> Snapshot:
    """The starter catalogue, as old as its facts are."""
    built, as_of = from_starter()
    validated_at = clock.steady() - max(0.0, clock.wall() - as_of)
    return Snapshot.of(built, int(as_of * 1000), starter.SOURCE, validated_at, origin="starter")
