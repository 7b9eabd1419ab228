"""`apidex serve`: a replica in the foreground."""

import os
import socket
from argparse import Namespace
from random import Random

from apidex import __version__, event_loop, logs
from apidex.app import App, create_app
from apidex.server import lifecycle
from apidex.settings import Settings, unknown_variables

log = logs.get_logger()


def run(_options: Namespace, settings: Settings) -> int:
    """Answer until SIGTERM or Ctrl-C. Raises SettingsError when the port or the upstream's file cannot be used."""
    logs.configure(settings.log_format, settings.log_level, settings.served_by)
    for name, meant in unknown_variables(os.environ).items():
        log.warning("settings.unknown", variable=name, meant=meant)
    with lifecycle.listen(settings.host, settings.port) as listener:
        event_loop.run(lambda: _serve(settings, listener))
    _say(settings, "Arrive Derchi", "serve.ended", farewell="Arrive Derchi")
    return 0


async def _serve(settings: Settings, listener: socket.socket) -> None:
    async with create_app(settings) as app:
        replica = lifecycle.Server(
            app.asgi,
            lifecycle.ConnectionLimits(
                drain=settings.drain,
                keep_alive=settings.keep_alive,
                connection_age=settings.max_connection_age,
                receive=settings.request_timeout,
                lag=settings.queue_delay_target,
                concurrency=settings.max_in_flight,
            ),
            random=Random(),  # noqa: S311 - spreads connections in time, guards nothing
            respond_sync=app.asgi.respond_sync,
            probe=app.probes.respond_sync,
            shed=app.asgi.shed,
            on_listening=lambda: _greet(settings, app, lifecycle.address_of(listener)),
            on_ending=lambda: _end(app),
        )
        await replica.serve([listener])


def _greet(settings: Settings, app: App, address: str) -> None:
    current, state = app.replica.refresher.current, app.replica.refresher.state()
    facts = {"address": address, "catalogue": current.source, "state": state, "entries": len(current.catalogue)}
    people = "Bonjour\n  {address}\n  {entries} entries, {state}, from {catalogue}".format(**facts)
    _say(settings, people, "serve.started", greeting="Bonjour", release=__version__, **facts)


def _end(app: App) -> None:
    app.replica.draining = True
    log.info("serve.ending")


def _say(settings: Settings, people: str, event: logs.Event, **facts: object) -> None:
    """Tell people on a terminal, and machines in the log."""
    if logs.is_text(settings.log_format):
        print(people, flush=True)
    else:
        log.info(event, **facts)
