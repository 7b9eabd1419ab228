"""Apidex without its fast path: the same process, in which Litestar answers searches too.

python -m loadtest.bench.without_fast_path
"""

import os

from apidex import event_loop, logs
from apidex.app import create_app
from apidex.server import lifecycle
from apidex.server.options import ServerOptions
from apidex.settings import Settings


async def _serve(settings: Settings) -> None:
    with lifecycle.listen(settings.host, settings.port) as listener:
        async with create_app(settings) as app:
            options = ServerOptions(app.without_fast_path, app.server_options.limits)
            await lifecycle.Server(options).serve([listener])


def main() -> None:
    """Serve until ended."""
    settings = Settings.from_env(os.environ)
    logs.configure("json", "error", settings.served_by)
    event_loop.run(lambda: _serve(settings))


if __name__ == "__main__":
    main()
