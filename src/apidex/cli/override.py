"""`apidex catalogue accept` and `rollback`: an operator's override for all replicas on a Redis. Both expire."""

import os
from collections.abc import Awaitable, Callable

from apidex import event_loop
from apidex.app import freshness_policy, store_of
from apidex.cli.output import print_line
from apidex.errors import SettingsError, StoreError
from apidex.replication.store import RedisStore
from apidex.settings import Settings
from apidex.terminal import counted

_BUILD_SECONDS = 1.0
"""The time allowed for building the previous catalogue. If it takes longer, each replica activates it when it is ready."""


async def _accept(store: RedisStore, _: Settings) -> str:
    await store.accept()
    return "Replicas accept the upstream's next catalogue without checks: for a day, or until one is published."


async def _rollback(store: RedisStore, settings: Settings) -> str:
    lead = freshness_policy(settings).lead(_BUILD_SECONDS)
    if not await store.roll_back(lead):
        raise StoreError("missing", "Redis holds no earlier catalogue to go back to")
    stored = (await store.read()).catalogue
    shown = f"{stored.version}, {counted(stored.entries, 'entry')}" if stored else "it"
    return (
        f"Replicas answer from the previous catalogue ({shown}) in {lead.total_seconds():.0f} s. "
        "For a day they refuse the one that was rolled back."
    )


DEMANDS: dict[str, Callable[[RedisStore, Settings], Awaitable[str]]] = {"accept": _accept, "rollback": _rollback}


def run(demand: str) -> int:
    """Store the override in Redis, and print its effect. Raises StoreError, or SettingsError if no Redis is set."""
    settings = Settings.from_env(os.environ)
    if not settings.redis_url:
        raise SettingsError(
            f"apidex catalogue {demand} needs APIDEX_REDIS_URL: the Redis by which the replicas are told"
        )

    async def tell() -> str:
        async with store_of(settings) as store:
            return await DEMANDS[demand](store, settings)

    done: str = event_loop.run(tell)
    print_line(done)
    return 0
