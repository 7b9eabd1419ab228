"""Each trouble of Redis with each of the upstream: what a replica says is true, what it asks is bounded, and it recovers.

Each cell is a fleet of two replicas with sockets of its own, on one real Redis: one that had a catalogue before the trouble, and
one that is started in it. No verdict rests on seconds: replicas are given polls, and asked how many they took.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import pytest

import fakes
from apidex.app import App, create_app
from apidex.settings import Settings
from conftest import client_of
from fakes import Handler, WireServer, answers, publicapis, redis_that_answers, wire_server
from processes import HANG
from proxy import Proxy
from redis_server import RedisServer

pytestmark = pytest.mark.real

POLL, REFRESH, UPSTREAM_TIMEOUT = 0.5, 2.0, 3.0
POLLS = 6
"""For how many polls of each replica a trouble lasts at least; the upstream is asked twice by then where it may be."""

BODY = publicapis("Cats", *"abcdefgh")
TAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


async def well(head, reader, writer) -> None:
    is_known = TAG.encode() in head
    await answers(b"" if is_known else BODY, "304 Not Modified" if is_known else "200 OK", etag=TAG)(
        head, reader, writer
    )


async def slow(head, reader, writer) -> None:
    await asyncio.sleep(1)
    await well(head, reader, writer)


UPSTREAMS: dict[str, tuple[Handler, str | None]] = {
    "well": (well, None),
    "slow, 1 s": (slow, None),
    "hanging": (fakes.hangs, "timeout"),
    "failing": (answers(b"", "503 Service Unavailable"), "status"),
    "gone": (well, "connect"),
}
"""How it behaves, and why a fetch fails."""


async def of_a_cluster(words: bytes) -> bytes:
    return b"-MOVED 3999 127.0.0.1:1\r\n" * words.count(b"EVAL")


class TroubledRedis:
    """A Redis behind a proxy, with a user for the test that no trouble keeps out."""

    def __init__(self, server: RedisServer, timeout: float) -> None:
        self.timeout = timeout
        self.server, self.proxy = server, Proxy(server.port)
        self.url = f"redis://:right@127.0.0.1:{self.proxy.port}/0"
        self.server.login = {"password": "right"}
        self.tell("ACL SETUSER tester on >tester ~* &* +@all")
        self.server.login = {"username": "tester", "password": "tester"}

    def tell(self, command: str) -> None:
        self.server.tell(*command.split())

    def drops_clients(self) -> None:
        mode = self.proxy.mode
        self.proxy.becomes("reset")
        self.proxy.becomes(mode)

    def leads_to(self, port: int) -> None:
        self.proxy._behind = port
        self.drops_clients()

    def has_password(self, password: str) -> None:
        self.tell(f"ACL SETUSER default resetpass >{password}")
        self.drops_clients()


@dataclass
class Trouble:
    """What befalls Redis, and how it ends; why it cannot be used meanwhile, and whether it can be read."""

    begins: Callable[[TroubledRedis], object]
    ends: Callable[[TroubledRedis], object]
    reason: str | None
    is_readable: bool = False


@dataclass
class Flaps:
    """Refuses connections every other second."""

    task: asyncio.Task | None = None

    def begins(self, server: TroubledRedis) -> None:
        async def flap() -> None:
            while True:
                for mode in ("refuse", "pass"):
                    server.proxy.becomes(mode)
                    await asyncio.sleep(1)

        self.task = asyncio.ensure_future(flap())

    def ends(self, server: TroubledRedis) -> None:
        self.task.cancel()
        server.proxy.becomes("pass")


def by_commands(begins: str, ends: str, reason: str, **more) -> Trouble:
    """A trouble that two commands begin and end."""
    return Trouble(lambda it: it.tell(begins), lambda it: it.tell(ends), reason, **more)


FLAPS = Flaps()
TROUBLES = {
    "refuses": Trouble(lambda it: it.proxy.becomes("refuse"), lambda it: it.proxy.becomes("pass"), "connect"),
    "hangs": Trouble(lambda it: it.server.pauses(), lambda it: it.server.goes_on(), "timeout"),
    "read-only": by_commands("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "readonly", is_readable=True),
    "full": by_commands("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "oom", is_readable=True),
    "no scripts": by_commands("ACL SETUSER default -@scripting", "ACL SETUSER default +@all", "auth"),
    "wrong password": Trouble(lambda it: it.has_password("other"), lambda it: it.has_password("right"), "auth"),
    "MOVED": Trouble(lambda it: it.leads_to(it.cluster_port), lambda it: it.leads_to(it.server.port), "cluster"),
    "empty": Trouble(lambda it: it.tell("FLUSHALL"), lambda it: None, None, is_readable=True),
    "flaps every second": Trouble(FLAPS.begins, FLAPS.ends, "flaps"),
}


class Member:
    """A replica, and what it says of itself. It counts its polls."""

    def __init__(self, app: App, client: httpx.AsyncClient) -> None:
        self.client, self.polls = client, 0
        supervision = app.replica.refresher.supervision
        heartbeat = supervision.heartbeat

        def counted() -> None:
            self.polls += 1
            heartbeat()

        supervision.heartbeat = counted

    async def says(self) -> dict:
        return (await self.client.get("/v1/catalogue")).json()

    async def has_polled(self, times: int) -> None:
        until = self.polls + times
        while self.polls < until:
            await asyncio.sleep(0.05)


@dataclass
class Cell:
    """A fleet, its upstream, and what is wrong with what it says and does."""

    redis: TroubledRedis
    prefix: str
    wire: WireServer
    stack: AsyncExitStack
    members: list[Member] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    last_well: float = 0.0

    def __post_init__(self) -> None:
        self.proxy = Proxy(int(self.wire.url.rstrip("/").rpartition(":")[2]))
        self.stack.callback(self.proxy.closes)

    async def starts_one(self) -> None:
        spans = {
            "poll": POLL,
            "refresh": REFRESH,
            "redis_timeout": self.redis.timeout,
            "upstream_timeout": UPSTREAM_TIMEOUT,
        }
        settings = Settings(
            upstream=f"http://127.0.0.1:{self.proxy.port}/",
            redis_url=self.redis.url,
            redis_prefix=self.prefix,
            startup_timeout=timedelta(0),
            state_dir=None,
            **{name: timedelta(seconds=seconds) for name, seconds in spans.items()},
        )
        app = await self.stack.enter_async_context(create_app(settings))
        self.members.append(Member(app, await self.stack.enter_async_context(client_of(app.asgi))))

    def upstream_becomes(self, name: str) -> None:
        behaves = UPSTREAMS[name][0]

        async def noted(head, reader, writer) -> None:
            await behaves(head, reader, writer)
            if behaves in (well, slow):
                self.last_well = time.monotonic()

        self.wire.behaves = noted
        self.proxy.becomes("refuse" if name == "gone" else "pass")

    def expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    async def check(self, trouble: Trouble, upstream: str) -> str:
        """Compare what each replica says with what is so; return what they say."""
        said = []
        for name, member in zip(("held", "started"), self.members, strict=True):
            now, view = time.monotonic(), await member.says()
            said.append(view["state"])
            self._check_redis(name, view["redis"], trouble)
            self._check_upstream(name, view, UPSTREAMS[upstream][1])
            is_well = UPSTREAMS[upstream][1] is None
            if view["state"] != "bundled":
                self.expect(view["age"] > now - self.last_well - 0.5, f"{name}: its age {view['age']} is too young")
                is_fresh = view["age"] <= view["max_age"]
                self.expect(
                    view["state"] == ("fresh" if is_fresh else "stale"), f"{name}: {view['state']} at {view['age']}"
                )
            self.expect(
                view["state"] == "fresh" or not is_well, f"{name}: {view['state']}, with an upstream that is well"
            )
            self.expect(view["state"] != "bundled" or not trouble.is_readable, f"{name}: did not take what Redis holds")
        return "/".join(said)

    def _check_redis(self, name: str, view: dict, trouble: Trouble) -> None:
        if trouble.reason == "flaps":
            self.expect(view["last_error"], f"{name}: no error of Redis")
            return
        is_usable = trouble.reason is None
        self.expect(view["reachable"] == is_usable, f"{name}: reachable {view['reachable']}")
        self.expect(view["shared"] == is_usable, f"{name}: shared {view['shared']}")
        if not is_usable:
            reason = view["last_error"] and view["last_error"]["reason"]
            self.expect(reason == trouble.reason, f"{name}: Redis's error is {view['last_error']}")

    def _check_upstream(self, name: str, view: dict, reason: str | None) -> None:
        upstream = view["upstream"]
        failed = upstream["last_failure"]
        if reason is None:
            self.expect(failed is None, f"{name}: {failed}")
        elif failed:
            self.expect(failed["reason"] == reason, f"{name}: {failed}")
            # a fresh catalogue of another replica ends the failures in a row
            self.expect(upstream["failed_in_a_row"] or view["state"] == "fresh", f"{name}: no failure in a row")
        elif upstream["failures"] or view["state"] == "stale":
            self.expect(trouble_is_anothers(view), f"{name}: grows stale without a failure")

    async def are_together(self) -> bool:
        """Whether both answer from the same catalogue, share it, and say that Redis can be used."""
        views = [await member.says() for member in self.members]
        is_shared = all(view["redis"]["reachable"] and view["redis"]["shared"] for view in views)
        return is_shared and len({view["version"] for view in views}) == 1

    async def are_fresh(self) -> bool:
        return all([(await member.says())["state"] == "fresh" for member in self.members])

    async def polls_until(self, holds: Callable[[], Awaitable[bool]]) -> int:
        """Return how many polls pass until it *holds*, of the replica that polls less: a busy machine delays one."""
        began, before = time.monotonic(), [member.polls for member in self.members]
        while not await holds() and time.monotonic() - began < HANG:
            await asyncio.sleep(0.05)
        self.expect(await holds(), f"not recovered: {[await member.says() for member in self.members]}")
        return min(member.polls - polls for member, polls in zip(self.members, before, strict=True))


def trouble_is_anothers(view: dict) -> bool:
    """In a fleet that shares Redis, one replica asks for all: the others know of its failures by the back-off."""
    return view["redis"]["reachable"] and view["upstream"]["next_refresh_in"] > 0


@asynccontextmanager
async def fleets(server: TroubledRedis, row: str) -> AsyncIterator[dict[str, Cell]]:
    """A cell for each upstream, whose first replica shares what a well upstream has sent."""
    async with AsyncExitStack() as stack:
        cells = {}
        for number, upstream in enumerate(UPSTREAMS):
            wire = await stack.enter_async_context(wire_server())
            cells[upstream] = Cell(server, f"{row.replace(' ', '-').replace(',', '')}-{number}", wire, stack)
            cells[upstream].upstream_becomes("well")
            await cells[upstream].starts_one()
        for cell in cells.values():
            await cell.polls_until(cell.are_together)
        yield cells


async def asked(cell: Cell) -> int:
    """Return how often the upstream was asked: by its own count, or by the replicas', where nothing reached it."""
    views = [(await member.says())["upstream"]["refreshes"] for member in cell.members]
    by_replicas = sum(sum(view.values()) - view.get("fenced", 0) for view in views)
    return max(len(cell.wire.heads), by_replicas)


def bound(cell: Cell, trouble: Trouble, upstream: str, seconds: float) -> int:
    """Return how often the upstream may be asked: after a failure, half an interval passes at least."""
    spacing = REFRESH / 2 if UPSTREAMS[upstream][1] else REFRESH
    askers = 1 if trouble.reason is None else len(cell.members)
    return math.ceil(askers * (seconds / spacing + 1)) + 1


async def has_trouble(cell: Cell, trouble: Trouble, upstream: str) -> str:
    """Let the trouble last, and check what is said and asked in it; return that, for the table."""
    began, before = time.monotonic(), await asked(cell)
    cell.upstream_becomes(upstream)
    await cell.starts_one()
    await asyncio.gather(*(member.has_polled(POLLS) for member in cell.members))
    for _ in range(POLLS):
        cell.wrong.clear()
        said = await cell.check(trouble, upstream)
        if not cell.wrong:
            break
        await asyncio.gather(*(member.has_polled(1) for member in cell.members))
    requests, allowed = await asked(cell) - before, bound(cell, trouble, upstream, time.monotonic() - began)
    cell.expect(requests <= allowed, f"the upstream was asked {requests} times; allowed are {allowed}")
    return f"{said}, asked {requests} of {allowed}"


async def recovers(cell: Cell, row: str, upstream: str) -> str:
    """Wait until both replicas share a fresh catalogue; return after how many polls, for the table."""
    waits = [(await member.says())["upstream"]["next_refresh_in"] for member in cell.members]
    in_flight = {"hanging": UPSTREAM_TIMEOUT, "slow, 1 s": 1}.get(upstream, 0)
    backing_off = math.ceil((max(waits) + in_flight) / POLL)
    together = await cell.polls_until(cell.are_together)
    fresh = together + await cell.polls_until(cell.are_fresh)
    allowed = 3 if row == "hangs" else 2  # its time-out is short, so that a busy machine may lose an answer
    # a fetch that began in the trouble may still bring a catalogue, and the other replica gets that by a poll
    fetching = math.ceil(in_flight / POLL) if UPSTREAMS[upstream][1] is None else 0
    cell.expect(together <= allowed + fetching, f"together after {together} polls")
    cell.expect(fresh <= allowed + backing_off, f"fresh after {fresh} polls, of which {backing_off} may wait")
    return f"together after {together} polls, fresh after {fresh} of {allowed + backing_off}"


@pytest.mark.parametrize("row", TROUBLES)
async def test_in_every_cell_reports_are_true_requests_are_bounded_and_the_fleet_recovers(row, tmp_path):
    trouble = TROUBLES[row]
    with RedisServer(tmp_path, "--requirepass", "right") as server:
        troubled = TroubledRedis(server, timeout=1 if row == "hangs" else 10)
        async with redis_that_answers(of_a_cluster) as cluster, fleets(troubled, row) as cells:
            troubled.cluster_port = int(cluster.rpartition(":")[2])
            trouble.begins(troubled)
            told = await asyncio.gather(*(has_trouble(cell, trouble, name) for name, cell in cells.items()))
            trouble.ends(troubled)
            for cell in cells.values():
                cell.upstream_becomes("well")
            recovered = await asyncio.gather(*(recovers(cell, row, name) for name, cell in cells.items()))
            wrong = {name: cell.wrong for name, cell in cells.items() if cell.wrong}
        troubled.proxy.closes()
    for name, *cell in zip(cells, told, recovered, strict=True):
        print(f"| Redis {row} | upstream {name} | {' | '.join(cell)} |")
    assert not wrong
