"""Stand-ins at the wire: a clock that tests move, an upstream that tests break, and servers that misbehave on real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec

from apidex.catalogue.entry import Entry
from apidex.errors import CodecError, StoreError, UpstreamError
from apidex.replication.freshness import LONGEST_LEAD
from apidex.replication.metadata import ACCEPT, REJECT, StoredCatalogue, StoredState
from apidex.replication.upstream import Fetched, NotModified
from apidex.replication.validators import Validators

WINTER = 1_800_000_000.0
"""A moment in January 2027."""


class FakeClock:
    """Moves when it is told to, and only then."""

    def __init__(self, wall: float = WINTER) -> None:
        self._steady, self._wall = 1_000.0, wall

    def steady(self) -> float:
        return self._steady

    def wall(self) -> float:
        return self._wall

    def passes(self, seconds: float) -> None:
        self._steady += seconds
        self._wall += seconds

    def is_set(self, seconds: float) -> None:
        """Someone moves the calendar; the steady clock does not care."""
        self._wall += seconds


def entry(name: str, **other) -> Entry:
    cells = {"description": f"About {name}", "auth": "", "https": True, "cors": "yes", "link": "https://example.org/"}
    return Entry(name=name, **(cells | {"category": "Things"} | other))


def publicapis(*items: str | Entry) -> bytes:
    """An upstream answer with these entries; a name stands for an ordinary one."""
    entries = [entry(item) if isinstance(item, str) else item for item in items]
    return msgspec.json.encode({"count": len(entries), "entries": entries})


def file_of(folder: Path, *items: str | Entry) -> str:
    """The URL of a file in *folder* with these entries."""
    path = folder / "entries.json"
    path.write_bytes(publicapis(*items))
    return path.as_uri()


class FakeUpstream:
    """Answers what it was told to, and counts."""

    source = "https://upstream.example/entries"

    def __init__(self, *items: str | Entry) -> None:
        self.asked: list[Validators] = []
        self.has(*(items or ("Cat Facts", "Cats", "Dogs", "Songlink / Odesli", "Pokéapi", "What's on the menu?")))

    def has(self, *items: str | Entry) -> None:
        self.sends(publicapis(*items))

    def sends(self, body: bytes) -> None:
        self._body, self._error, self._hangs = body, None, False

    def goes_down(self, kind: str = "connect", retry_after: float | None = None) -> None:
        self._error = UpstreamError(kind, f"the upstream is down ({kind})", retry_after)

    def hangs(self) -> None:
        self._hangs = True

    async def fetch(self, validators: Validators) -> Fetched | NotModified:
        self.asked.append(validators)
        if self._hangs:
            await asyncio.Event().wait()
        if self._error:
            raise self._error
        tag = f'"{hash(self._body)}"'
        return NotModified(validators) if validators.etag == tag else Fetched(self._body, Validators(etag=tag))


UNWRITABLE = ("oom", "readonly")
"""What Redis refuses with when it can be read, but not written to."""


class FakeRedis:
    """What one Redis holds for a fleet, and its clock; FakeStore is how a replica reaches it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.error: StoreError | None = None
        self.flush()

    def flush(self) -> None:
        self.stored: StoredCatalogue | None = None
        self.payload: bytes | None = None
        self.stored_before: StoredCatalogue | None = None
        self.payload_before: bytes | None = None
        self.override = ""
        self.failures, self.retry_at, self.activate_at = 0, 0.0, 0.0
        self.holder, self.held_until = "", 0.0

    def goes_down(self, kind: str = "connect") -> None:
        self.error = StoreError(kind, f"Redis is down ({kind})")

    def comes_back(self) -> None:
        self.error = None

    def now(self) -> float:
        return self.clock.wall()

    def state(self) -> StoredState:
        unwritable = self.error if self.error and self.error.reason in UNWRITABLE else None
        activate_at = self.activate_at if self.activate_at <= self.now() + LONGEST_LEAD.total_seconds() else 0.0
        state = (self.now(), self.stored, self.failures, self.retry_at, activate_at, self.override)
        return StoredState(*state, unwritable=unwritable)

    def may_write(self, expected: int | None) -> bool:
        return (self.stored.stamp if self.stored else None) == expected

    def stored_at(self) -> float:
        stored_at = self.stored.validated_at if self.stored else 0.0
        return stored_at if stored_at <= self.now() else 0.0


def loaded(payload: bytes | None) -> bytes | CodecError:
    return CodecError("missing", "no payload") if payload is None else payload


class FakeStore:
    """The contract of `RedisStore` without a network; test_store.py holds it to the same as a real Redis."""

    url = "redis://fake"

    def __init__(self, redis: FakeRedis, *, is_embedded: bool = False) -> None:
        self.redis, self.is_embedded = redis, is_embedded

    async def reach(self, verb: str) -> None:
        """On the way to Redis; the simulation puts its faults here."""
        error = self.redis.error
        if error and not (error.reason in UNWRITABLE and verb in ("read", "load")):
            raise error

    async def come_back(self, verb: str) -> None:
        """On the way back from Redis, when what was asked is done."""

    @asynccontextmanager
    async def _trip(self, verb: str) -> AsyncIterator[FakeRedis]:
        await self.reach(verb)
        yield self.redis
        await self.come_back(verb)

    async def read(self) -> StoredState:
        async with self._trip("read") as redis:
            is_lost = redis.stored is not None and redis.payload is None
            return replace(redis.state(), unreadable="missing" if is_lost else None)

    async def load(self) -> tuple[StoredState, bytes | CodecError]:
        async with self._trip("load") as redis:
            return redis.state(), loaded(redis.payload)

    async def publish(self, catalogue: StoredCatalogue, payload: bytes, expected: int | None, lead: timedelta) -> float:
        async with self._trip("publish") as redis:
            validated_at = min(catalogue.validated_at, redis.now())
            done = redis.may_write(expected) and validated_at >= redis.stored_at()
            if done:
                activate_at = redis.now() + lead.total_seconds()
                is_waiting = redis.activate_at > redis.now()
                is_same = redis.stored is not None and redis.stored.digest == catalogue.digest
                if redis.payload is not None and not is_same:
                    if is_waiting and lead:
                        return 0
                    redis.stored_before, redis.payload_before = redis.stored, redis.payload
                if is_same and is_waiting:
                    activate_at = min(activate_at, redis.activate_at)
                redis.stored, redis.payload = replace(catalogue, validated_at=validated_at), payload
                redis.override = "" if redis.override == ACCEPT else redis.override
                redis.activate_at = activate_at
                redis.failures, redis.retry_at = 0, 0.0
            return redis.activate_at if done else 0

    async def load_before(self) -> tuple[StoredState, bytes | CodecError]:
        async with self._trip("load") as redis:
            return replace(redis.state(), catalogue=redis.stored_before), loaded(redis.payload_before)

    async def roll_back(self, lead: timedelta) -> bool:
        async with self._trip("publish") as redis:
            bad, good = redis.stored, redis.stored_before
            if bad is None or good is None:
                return False
            stamp, now = max(int(redis.now() * 1000), bad.stamp + 1), redis.now()
            redis.stored = replace(good, stamp=stamp, validated_at=now, size_checked=True, validators=Validators())
            redis.payload, redis.stored_before, redis.payload_before = redis.payload_before, None, None
            redis.failures, redis.retry_at, redis.activate_at = 0, 0.0, now + lead.total_seconds()
            redis.override = REJECT + bad.digest
            return True

    async def accept(self) -> None:
        async with self._trip("publish") as redis:
            redis.override, redis.failures, redis.retry_at = ACCEPT, 0, 0.0

    async def confirm(self, stamp: int, validated_at: float, validators: Validators) -> bool:
        async with self._trip("confirm") as redis:
            done = redis.may_write(stamp)
            if done:
                validated_at = min(validated_at, redis.now())
                if validated_at > redis.stored_at():
                    redis.stored = replace(redis.stored, validated_at=validated_at, validators=validators)
                redis.failures, redis.retry_at = 0, 0.0
            return done

    async def back_off(self, failures: int, wait: timedelta) -> None:
        async with self._trip("back_off") as redis:
            redis.failures, redis.retry_at = failures, redis.now() + wait.total_seconds()

    async def drop(self, stamp: int) -> bool:
        async with self._trip("drop") as redis:
            done = redis.may_write(stamp)
            if done:
                redis.stored = redis.payload = None
                redis.failures, redis.retry_at = 0, 0.0
            return done

    async def reset(self) -> None:
        async with self._trip("reset") as redis:
            redis.stored = redis.payload = None

    async def lease(self, token: str, ttl: timedelta) -> bool:
        async with self._trip("lease") as redis:
            done = redis.now() >= redis.held_until
            if done:
                redis.holder, redis.held_until = token, redis.now() + ttl.total_seconds()
            return done

    async def renew(self, token: str, ttl: timedelta) -> bool:
        async with self._trip("renew") as redis:
            done = redis.holder == token and redis.now() < redis.held_until
            if done:
                redis.held_until = redis.now() + ttl.total_seconds()
            return done

    async def release(self, token: str) -> None:
        async with self._trip("release") as redis:
            if redis.holder == token:
                redis.held_until = 0.0


Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class WireServer:
    """A server on a real socket of this machine that answers each request as *behaves* says, and keeps the heads it was sent."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.behaves: Handler = answers(b"")
        self.url = ""
        self._connections: dict[asyncio.Task, asyncio.StreamWriter] = {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[asyncio.current_task()] = writer
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self.behaves(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _end(self) -> None:
        """Break off what is open, and wait until it is closed: the event loop may end next."""
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def wire_server() -> AsyncIterator[WireServer]:
    wire = WireServer()
    server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield wire
    finally:
        server.close()
        await wire._end()


@asynccontextmanager
async def redis_that_answers(answer: Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[str]:
    """The URL of a Redis that accepts every client, and gives this *answer* to what it reads."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while words := await reader.read(65_536):
                writer.write(b"+OK\r\n" * (words.count(b"CLIENT") + words.count(b"AUTH")) + await answer(words))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answers(body: bytes, status: str = "200 OK", **headers: str) -> Handler:
    """An ordinary answer."""

    async def behave(head, reader, writer) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return behave


async def hangs(head, reader, writer) -> None:
    """Accepts, and never answers."""
    await reader.read()


async def resets(head, reader, writer) -> None:
    """Breaks the connection off in the middle of the answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
    await writer.drain()
    writer.transport.abort()


async def never_ends(head, reader, writer) -> None:
    """An answer without an end, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def trickles(head, reader, writer) -> None:
    """A byte now and then, so that no single wait is long."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


def bomb() -> bytes:
    """256 MiB of nothing, as gzip."""
    return gzip.compress(bytes(2**28), 9)
