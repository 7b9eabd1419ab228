"""`apidex serve`: a replica in the foreground."""

import asyncio
import gc
import os
import signal
import socket
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

from apidex import __version__, event_loop, logs
from apidex.app import App, create_app
from apidex.server import lifecycle
from apidex.server.connection_limit import raise_descriptor_limit
from apidex.settings import Settings, unknown_variables
from apidex.terminal import counted, printable

log = logs.get_logger()


def run(_options: Namespace, settings: Settings) -> int:
    """Answer until SIGTERM or Ctrl-C. Raises SettingsError when the port or the upstream's file cannot be used."""
    logs.configure(settings.log_format, settings.log_level, settings.served_by)
    for name, meant in unknown_variables(os.environ).items():
        log.warning("settings.unknown", variable=name, meant=meant)
    raise_descriptor_limit(settings.max_connections)
    with lifecycle.listening(settings.host, settings.ports) as listeners, suppress(asyncio.CancelledError):
        event_loop.run(lambda: _serve(settings, *listeners))
    _say(settings, "Arrive Derchi", "serve.ended", farewell="Arrive Derchi")
    return 0


async def _serve(settings: Settings, listener: socket.socket, admin: socket.socket | None = None) -> None:
    """Start, and answer until a signal. SIGTERM ends the start, too: process 1 of a container ignores what it does not handle."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with create_app(settings) as app, AsyncExitStack() as stack:
        gc.freeze()  # frozen objects are not examined by full collections, which would take 30 ms
        addresses = {"address": lifecycle.address_of(listener)}
        if admin is not None and app.admin_options is not None:
            addresses["admin"] = lifecycle.address_of(admin)
            await stack.enter_async_context(lifecycle.serving(app.admin_options, admin))
        server = lifecycle.Server(
            app.server_options,
            on_listening=lambda: _greet(settings, app, addresses),
            on_draining=lambda: _end(app),
        )
        await server.serve([listener])


def _greet(settings: Settings, app: App, addresses: Mapping[str, str]) -> None:
    current, state = app.replica.refresher.current, app.replica.refresher.state()
    facts = {**addresses, "catalogue": current.source, "state": state, "entries": len(current.catalogue)}
    people = "Bonjour\n  {address}\n  {}, {state}, from {catalogue}".format(
        counted(len(current.catalogue), "entry"), **facts
    )
    _say(settings, people, "serve.started", greeting="Bonjour", release=__version__, **facts)


def _end(app: App) -> None:
    app.replica.draining = True
    log.info("serve.ending")


def _say(settings: Settings, people: str, event: logs.Event, **facts: object) -> None:
    """Tell people on a terminal, and machines in the log."""
    if logs.is_text(settings.log_format):
        for line in people.splitlines():
            logs.sink.write(printable(line))
    else:
        log.info(event, **facts)
