"""A replica that is bad in one way: `python faulty.py FAULT --port PORT`, with the settings of any replica."""

import asyncio
import os
import sys
import time
from dataclasses import replace

import uvicorn

from apidex import logs
from apidex.app import create_app
from apidex.server import lifecycle
from apidex.server.options import ServerOptions
from apidex.settings import Settings


class Recorded:
    """Sends on what an application sends, and keeps it."""

    def __init__(self, send) -> None:
        self._send, self.messages, self.began = send, [], time.monotonic()

    async def __call__(self, message) -> None:
        self.messages.append(message)
        await self._send(message)

    def header(self, name: bytes) -> bytes:
        return dict(self.messages[0]["headers"]).get(name, b"") if self.messages else b""


class Faulty:
    """ASGI around *app*."""

    def __init__(self, app) -> None:
        self.app, self.count = app, 0

    async def __call__(self, scope, receive, send) -> None:
        self.count += 1
        await self.answer(scope, receive, send)

    async def answer(self, scope, receive, send) -> None:
        await self.app(scope, receive, send)


def _with_age(message, age: bytes):
    """*message*, which calls the answer so old if it has its headers."""
    headers = message.get("headers", ())
    return message | {"headers": [(k, age if k.lower() == b"age" else v) for k, v in headers]} if headers else message


class Stale(Faulty):
    """Gives an answer again that it gave under the version before, once, and says how old it is by now."""

    def __init__(self, app) -> None:
        super().__init__(app)
        self.given, self.first, self.newest = {}, b"", b""

    async def answer(self, scope, receive, send) -> None:
        headers = dict(scope["headers"])
        if b"if-none-match" in headers or b"gevent" not in headers.get(b"user-agent", b""):
            return await self.app(scope, receive, send)
        if self.newest != self.first and (old := self.given.get(scope["raw_path"])):
            self.given.clear()
            age = b"%d" % (int(old.header(b"age")) + round(time.monotonic() - old.began))
            for message in old.messages:
                await send(_with_age(message, age))
            return None
        recorded = Recorded(send)
        await self.app(scope, receive, recorded)
        self.newest = recorded.header(b"catalogue-version")
        self.first = self.first or self.newest
        if self.newest == self.first:
            self.given[scope["raw_path"]] = recorded
        return None


class Young(Faulty):
    """Says that every answer is new."""

    async def answer(self, scope, receive, send) -> None:
        async def lie(message) -> None:
            await send(_with_age(message, b"0"))

        await self.app(scope, receive, lie)


class Late(Faulty):
    """Is late with one answer in 300."""

    async def answer(self, scope, receive, send) -> None:
        if self.count % 300 == 0:
            await asyncio.sleep(6)
        await self.app(scope, receive, send)


class Wrong(Faulty):
    """Changes a byte in one answer in 300."""

    async def answer(self, scope, receive, send) -> None:
        async def garble(message) -> None:
            if message["type"] == "http.response.body" and self.count % 300 == 0 and len(message["body"]) > 2:
                message = message | {"body": message["body"][:-2] + b" " + message["body"][-1:]}
            await send(message)

        await self.app(scope, receive, garble)


class Abrupt(Faulty):
    """Is plain uvicorn, on a machine that is busy for a moment when SIGTERM comes: it ends as that does."""


class Busy(uvicorn.Server):
    def handle_exit(self, *signal) -> None:
        time.sleep(0.3)
        super().handle_exit(*signal)


FAULTS = {"stale": Stale, "young": Young, "late": Late, "wrong": Wrong, "abrupt": Abrupt}


async def main(fault: str, settings: Settings) -> None:
    logs.configure("json", "info", settings.served_by)
    with lifecycle.listen(settings.host, settings.port) as listener:
        async with create_app(settings) as app:
            faulty = FAULTS[fault](app.asgi)
            if fault == "abrupt":
                await Busy(uvicorn.Config(faulty, lifespan="off", log_config=None)).serve([listener])
                return

            def ends() -> None:
                app.replica.draining = True

            options = ServerOptions(faulty, app.server_options.limits)
            await lifecycle.Server(options, on_draining=ends).serve([listener])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], replace(Settings.from_env(os.environ), port=int(sys.argv[3]))))
