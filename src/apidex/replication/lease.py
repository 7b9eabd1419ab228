"""The lease: which replica of the fleet asks the upstream. It saves work and protects nothing, so losing it is not an error."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from apidex.errors import StoreError
from apidex.event_loop import is_cancelled, running
from apidex.replication.status import RefreshStats
from apidex.replication.store import RedisStore


@asynccontextmanager
async def lease(store: RedisStore, token: str, ttl: timedelta, stats: RefreshStats) -> AsyncIterator[bool]:
    """Take the lease if it is free; give whether *token* holds it. It is renewed inside the block, and released at its end."""
    if not await store.lease(token, ttl):
        stats.lease_tried("held_by_another")
        yield False
        return
    stats.lease_tried("taken")
    try:
        async with running(_renew(store, token, ttl, stats)):
            yield True
    finally:
        with contextlib.suppress(StoreError):
            await store.release(token)


async def _renew(store: RedisStore, token: str, ttl: timedelta, stats: RefreshStats) -> None:
    while not is_cancelled():
        await asyncio.sleep(ttl.total_seconds() / 3)
        with contextlib.suppress(StoreError):
            if not await store.renew(token, ttl):
                stats.lease_tried("lost")
                return
