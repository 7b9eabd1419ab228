"""Apidex without its fast path: the same process, in which Litestar answers searches too.

python -m loadtest.bench.without_fast_path
"""

import os
from random import Random

from apidex import event_loop, logs
from apidex.app import create_app
from apidex.server import lifecycle
from apidex.settings import Settings


async def _serve(settings: Settings) -> None:
    with lifecycle.listen(settings.host, settings.port) as listener:
        async with create_app(settings) as app:
            limits = lifecycle.ConnectionLimits(
                settings.drain, settings.keep_alive, settings.max_connection_age, settings.request_timeout
            )
            replica = lifecycle.Server(
                app.without_fast_path, limits, random=Random(), on_listening=lambda: None, on_ending=lambda: None
            )
            await replica.serve([listener])


def main() -> None:
    """Serve until ended."""
    settings = Settings.from_env(os.environ)
    logs.configure("json", "error", settings.served_by)
    event_loop.run(lambda: _serve(settings))


if __name__ == "__main__":
    main()
