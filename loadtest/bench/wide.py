"""Every operation among a million entries: how long other requests wait beside it, and its CPU and memory.

The requests are those of `every_route`. The other requests are a probe every 3 ms. A hundred people who type are measured too.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from loadtest.bench import honest_clients, replica
from loadtest.bench.every_route import RouteRequest, every_request, known_values
from loadtest.bench.latency_probe import probed
from loadtest.bench.process import ServerProcess, cpu_seconds, discard, get, memory_mb, on_all_cores, peak_memory_mb
from loadtest.bench.synthetic_catalogue import entries
from loadtest.bench.table import Cell, formatted

_COLUMNS = {
    "route": "",
    "requests": ",.0f",
    "others waited, ms": ".1f",
    "CPU, ms": ",.0f",
    "peak memory, MB": ",.0f",
    "× JSON": ".2f",
    "longest wait beside": "",
}

_PEOPLE, _KEYS_A_SECOND = 100, 8

_TYPED = {
    "people": ",.0f",
    "requests": ",.0f",
    "failed": "",
    "p99, ms": ".1f",
    "longest, ms": ".1f",
    "CPU for each, ms": ".2f",
}


_ROUNDS, _LONG = 3, 0.008
"""A request beside which others waited longer, in seconds, is sent in each round: what it causes, it causes every time."""


class _Asked(NamedTuple):
    """A request, how long others waited beside it at most, its CPU, both in seconds, and the largest memory during it, in MB."""

    request: RouteRequest
    wait: float
    cpu: float
    peak: float


def measure(count: int, seconds: float) -> str:
    """The table of all routes, and that of people who type for so long."""
    catalogue = replica.prepared(count)
    with replica.replicas(catalogue) as (server,):
        waited, memory = _waited(server), memory_mb(server.pid)
        with on_all_cores(server.pid):
            typed = _typed(server, count, seconds)
        rows = list(_rows(server, catalogue.size / 1e6))
    quiet = f"A probe alone waits {waited * 1000:.1f} ms at most in 3 s. Memory at rest: {memory:,.0f} MB."
    return f"{count:,} entries. {quiet}\n\n{formatted(_COLUMNS, rows)}\n{formatted(_TYPED, [typed])}"


def _waited(server: ServerProcess) -> float:
    """The longest wait without other requests."""
    with probed(server.port) as waits:
        time.sleep(3)
    return waits.longest()


def _rows(server: ServerProcess, json_mb: float) -> Iterator[tuple[Cell, ...]]:
    """A row for each route: the maximum over all its requests."""
    document = msgspec.json.decode(get(server.port, "/-/openapi.json").body)
    asked = _asked(server, list(every_request(document, _known(server))))
    for _ in range(_ROUNDS - 1):
        places = [place for place, each in enumerate(asked) if each.wait > _LONG]
        for place, again in zip(places, _asked(server, [asked[place].request for place in places]), strict=True):
            asked[place] = min(asked[place], again, key=attrgetter("wait"))
    by_route: dict[str, list[_Asked]] = {}
    for each in asked:
        by_route.setdefault(each.request.route, []).append(each)
    for route, found in by_route.items():
        longest = max(found, key=attrgetter("wait"))
        cpu, peak = max(each.cpu for each in found) * 1000, max(each.peak for each in found)
        beside = f"`{longest.request.path}` {longest.request.headers['accept-encoding']}"
        yield route, len(found), longest.wait * 1000, cpu, peak, peak / json_mb, beside


def _known(server: ServerProcess) -> Mapping[str, str]:
    """Values of the catalogue for parameters that depend on it."""
    version = get(server.port, "/v1/catalogue").headers["catalogue-version"]
    facets = msgspec.json.decode(get(server.port, "/v1/search?limit=1").body)["facets"]
    return known_values(version, facets)


def _asked(server: ServerProcess, requests: Sequence[RouteRequest]) -> list[_Asked]:
    """What each of *requests* costs, one after the other."""
    costs = []
    with probed(server.port) as waits:
        for request in requests:
            before = cpu_seconds(server.pid)
            with peak_memory_mb(server.pid) as peak:
                began = time.monotonic()
                discard(server.port, request.path, request.headers)
                ended = time.monotonic()
            cpu, most = cpu_seconds(server.pid) - before, max(peak(), memory_mb(server.pid))
            costs.append((request, began, ended, cpu, most))
    return [_Asked(request, waits.longest(began, ended), cpu, most) for request, began, ended, cpu, most in costs]


def _typed(server: ServerProcess, count: int, seconds: float) -> tuple[Cell, ...]:
    """A hundred people type different names key by key, with the requests of the page. The server may use all cores."""
    random = Random(11)
    names = [item.name for item in islice(entries(count), 20_000)]
    people = [[*_page_requests(random.sample(names, 20))] for _ in range(_PEOPLE)]
    before = cpu_seconds(server.pid)
    honest = honest_clients.ask(
        server.port,
        seconds,
        people,
        interval=1 / _KEYS_A_SECOND,
        kind="typist",
        headers="Accept-Encoding: gzip, deflate, br, zstd\r\n",
    )
    cpu = (cpu_seconds(server.pid) - before) / honest.sent * 1000
    failed = ", ".join(f"{number} {reason}" for reason, number in honest.failed.items()) or "0"
    return _PEOPLE, honest.sent, failed, honest.p99, honest.longest, cpu


def _page_requests(names: list[str]) -> Iterator[str]:
    for name in names:
        yield "/v1/categories"
        for end in range(1, len(name) + 1):
            if name[:end].strip():
                yield f"/v1/search?{urlencode({'q': name[:end], 'limit': 20})}"
