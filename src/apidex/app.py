"""The wiring: settings in, a running application out. What is opened here is closed by the same stack, in turn."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import cast

from apidex import formats, starter
from apidex.api import Service, litestar_app
from apidex.asgi import ASGIApp
from apidex.clock import Clock, SystemClock
from apidex.edge import Edge
from apidex.freshness import Limits
from apidex.hotpath import HotPath
from apidex.index import Index
from apidex.refresh import Refresher
from apidex.settings import Settings
from apidex.snapshot import Snapshot
from apidex.upstream import Upstream, upstream_at


@dataclass(frozen=True, slots=True)
class App:
    """A replica that runs. *asgi* answers every request, *plain* is what it answers searches without the short cut with."""

    asgi: ASGIApp
    plain: ASGIApp
    service: Service


@asynccontextmanager
async def create_app(
    settings: Settings, *, upstream: Upstream | None = None, clock: Clock | None = None, random: Random | None = None
) -> AsyncIterator[App]:
    """Open everything that *settings* ask for, and give the application once it holds a catalogue.

    Takes no longer than `settings.start` and what the starter catalogue takes. Raises SettingsError for an upstream that is
    a file and cannot be read.
    """
    async with AsyncExitStack() as stack:
        if upstream is None:
            upstream = await stack.enter_async_context(
                upstream_at(settings.upstream, settings.upstream_timeout, settings.upstream_limit)
            )
        clock = clock or SystemClock()
        refresher = Refresher(
            upstream,
            starter_snapshot(clock),
            parse=functools.partial(
                formats.parse, format_name=None if settings.upstream_format == "auto" else settings.upstream_format
            ),
            limits=Limits(settings.refresh, settings.stale_while_revalidate, settings.stale_if_error),
            keep_share=settings.keep_share,
            clock=clock,
            random=random or Random(),  # noqa: S311 - spreads replicas in time, guards nothing
        )
        service = Service(refresher, settings.served_by)
        plain = Edge(cast(ASGIApp, litestar_app(service)), settings.served_by)
        await stack.enter_async_context(_running(refresher))
        await refresher.first_turn(settings.start)
        yield App(HotPath(plain, refresher, settings.served_by, settings.answer_cache), plain, service)


def starter_snapshot(clock: Clock) -> Snapshot:
    """The starter catalogue, as old as its facts are."""
    parsed, as_of = starter.load()
    index = Index.build(parsed.catalogue.names())
    checked = clock.steady() - max(0.0, clock.wall() - as_of)
    return Snapshot(parsed.catalogue, index, parsed.report, int(as_of * 1000), starter.SOURCE, checked, bundled=True)


@asynccontextmanager
async def _running(refresher: Refresher) -> AsyncIterator[None]:
    task = asyncio.create_task(refresher.run(), name="refresh")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
