"""A replica that is bad in one way: `python faulty.py FAULT --port PORT`, with the settings of any replica."""

import asyncio
import os
import sys
import time
from dataclasses import replace

import uvicorn

from apidex import logs
from apidex.app import create_app
from apidex.replication.activation import Activation
from apidex.server import lifecycle
from apidex.server.options import ServerOptions
from apidex.settings import Settings


class Faulty:
    """An application whose answers are those of *app*, each sent by `answer`."""

    def __init__(self, app) -> None:
        self.app, self.count = app, 0

    async def __call__(self, scope, receive, send) -> None:
        self.count += 1
        await self.answer(scope, receive, send)

    async def answer(self, scope, receive, send) -> None:
        await self.app(scope, receive, lambda message: send(self.changed(message)))

    def changed(self, message):
        return message


def header(message, name: bytes) -> bytes:
    return dict(message.get("headers", ())).get(name, b"")


def _with_age(message, age: bytes):
    """*message*, which says that the answer is so old if it has its headers."""
    headers = message.get("headers", ())
    return message | {"headers": [(k, age if k.lower() == b"age" else v) for k, v in headers]} if headers else message


class Stale(Faulty):
    """Gives an answer again that it gave under the version before, once, and says how old it is by now."""

    def __init__(self, app) -> None:
        super().__init__(app)
        self.given, self.first, self.newest = {}, b"", b""

    async def answer(self, scope, receive, send) -> None:
        headers = dict(scope["headers"])
        is_page = bool(scope["query_string"])  # which names its version, and is no matter of order
        if is_page or b"if-none-match" in headers or b"gevent" not in headers.get(b"user-agent", b""):
            return await self.app(scope, receive, send)
        if self.newest != self.first and (old := self.given.get(scope["raw_path"])):
            self.given.clear()
            began, messages = old
            age = b"%d" % (int(header(messages[0], b"age")) + round(time.monotonic() - began))
            for message in messages:
                await send(_with_age(message, age))
            return None
        began, messages = time.monotonic(), []

        async def record(message) -> None:
            messages.append(message)
            await send(message)

        await self.app(scope, receive, record)
        self.newest = header(messages[0], b"catalogue-version") if messages else b""
        self.first = self.first or self.newest
        if self.newest == self.first:
            self.given[scope["raw_path"]] = began, messages
        return None


class Young(Faulty):
    """Says that every answer is new."""

    def changed(self, message):
        return _with_age(message, b"0")


class Late(Faulty):
    """Is late with one answer in 300."""

    async def answer(self, scope, receive, send) -> None:
        if self.count % 300 == 0:
            await asyncio.sleep(6)
        await self.app(scope, receive, send)


class Wrong(Faulty):
    """Changes a byte in one answer in 300."""

    def changed(self, message):
        body = message.get("body", b"")
        return message | {"body": body[:-2] + b" " + body[-1:]} if self.count % 300 == 0 and len(body) > 2 else message


class Unasked(Faulty):
    """Answers one request in 300 with a 304, whatever its client holds."""

    async def answer(self, scope, receive, send) -> None:
        if self.count % 300:
            return await self.app(scope, receive, send)

        async def send_head(message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
                await send(message | {"status": 304, "headers": kept})
                await send({"type": "http.response.body"})

        return await self.app(scope, receive, send_head)


class Abrupt(uvicorn.Server):
    """Plain uvicorn, on a machine that is busy for a moment when SIGTERM comes: it ends as that does."""

    def handle_exit(self, *signal) -> None:
        time.sleep(0.3)
        super().handle_exit(*signal)


FAULTS = {fault.__name__.lower(): fault for fault in (Stale, Young, Late, Wrong, Unasked)}
"""Faults of answers; those of the rest of a replica are in `main`."""


async def main(fault: str, settings: Settings) -> None:
    logs.configure("json", "info", settings.served_by)
    if fault == "early":  # it does not wait for the moment at which all answer from another catalogue
        accept = Activation.accept
        Activation.accept = lambda self, snapshot, *_moment, **_options: accept(self, snapshot)
    if fault == "forgetful":  # it has no version but the current one
        Activation.find_version = lambda self, version: self.current if self.current.has_content_of(version) else None
    if fault == "blended":  # it gives a page of the current version, whichever was asked for
        Activation.find_version = lambda self, version: self.current
    with lifecycle.listen(settings.host, settings.port) as listener:
        async with create_app(settings) as app:
            faulty = FAULTS.get(fault, Faulty)(app.asgi)
            if fault == "abrupt":
                await Abrupt(uvicorn.Config(faulty, lifespan="off", log_config=None)).serve([listener])
                return

            def ends() -> None:
                app.replica.draining = True

            options = ServerOptions(faulty, app.server_options.limits)
            await lifecycle.Server(options, on_draining=ends).serve([listener])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], replace(Settings.from_env(os.environ), port=int(sys.argv[3]))))
