"""What a catalogue costs by its size, from a thousand entries to a million: CPU for each search, memory, Redis, time to adopt.

The catalogues are those of `synthetic_catalogue`. They are put into Redis as a replica would, and read by replicas on one core.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import quote

import msgspec

from apidex.catalogue import codec
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.indexing import builder
from apidex.replication.store import StoredCatalogue, open_store
from apidex.replication.validators import NO_VALIDATORS
from loadtest.bench.contenders import Contender, redis_server
from loadtest.bench.latency_probe import Waits, ask
from loadtest.bench.process import answer, discard, give_way, megabytes_held, peak_of, running, wait_for
from loadtest.bench.synthetic_catalogue import entries
from loadtest.bench.table import table
from loadtest.bench.wrk import drive
from loadtest.targets import free_port

SIZES = (1000, 10_000, 100_000, 1_000_000)

_LIMIT = 2**31

_SECONDS = 3
"""How long requests come while something else goes on."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a catalogue of *count* entries costs. Sizes in MB, times in the unit that they are named with."""

    count: int
    json: float
    payload: float
    build_s: float
    search_us: float
    start_s: float
    adopt_s: float
    adopt_busy_s: float
    memory: float
    peak: float
    p99_ms: float
    p99_adopting_ms: float
    longest_ms: float
    wide_s: float
    beside_wide_ms: float
    memory_of_wide: float


def scaling(sizes: tuple[int, ...]) -> list[Grown]:
    """Measure each size, the smallest first. Raises MissingToolError."""
    return [_measured(count) for count in sizes]


def shown(grown: list[Grown]) -> str:
    """The table."""
    return table([*_COLUMNS], [[show(it) for show in _COLUMNS.values()] for it in grown])


def plot(grown: list[Grown], file: Path) -> None:
    """Draw what grows, each on scales of its own, as an SVG."""
    import matplotlib as mpl  # takes longer than a short run

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "apidex", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(_CURVES), figsize=(15, 3), layout="constrained")
    counts = [it.count for it in grown]
    for axis, (title, name) in zip(axes, _CURVES.items(), strict=True):
        axis.plot(counts, [getattr(it, name) for it in grown], marker="o", color="#1f5fa8")
        axis.set(xscale="log", yscale="log", title=title, xlabel="entries")
        axis.grid(visible=True, which="major", alpha=0.3)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


_CURVES = {
    "search, µs CPU": "search_us",
    "built in, s": "build_s",
    "command to answer, s": "start_s",
    "adopted after, s": "adopt_s",
    "memory, MB": "memory",
    "in Redis, MB": "payload",
}
"""What the plot shows, by the name of the figure."""


_COLUMNS: dict[str, Callable[[Grown], str]] = {
    "entries": lambda it: f"{it.count:,}",
    "JSON, MB": lambda it: f"{it.json:.1f}",
    "in Redis, MB": lambda it: f"{it.payload:.2f}",
    "built in, s": lambda it: f"{it.build_s:.2f}",
    "search, µs CPU": lambda it: f"{it.search_us:,.0f}",
    "command to answer, s": lambda it: f"{it.start_s:.2f}",
    "adopted after, s": lambda it: f"{it.adopt_s:.2f}",
    "under requests, s": lambda it: f"{it.adopt_busy_s:.2f}",
    "memory, MB": lambda it: f"{it.memory:.0f}",
    "memory × JSON": lambda it: f"{it.memory / it.json:.2f}",
    "peak while adopting, MB": lambda it: f"{it.peak:.0f}",
    "peak × JSON": lambda it: f"{it.peak / it.json:.2f}",
    "p99, ms": lambda it: f"{it.p99_ms:.2f}",
    "while adopting, ms": lambda it: f"{it.p99_adopting_ms:.2f}",
    "longest, ms": lambda it: f"{it.longest_ms:.1f}",
    "widest answer, s": lambda it: f"{it.wide_s:.2f}",
    "others beside it, p99 ms": lambda it: f"{it.beside_wide_ms:.2f}",
    "memory more, MB": lambda it: f"{it.memory_of_wide:.0f}",
}
"""What the table shows, and how."""


def _measured(count: int) -> Grown:
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder, url, port = Path(name), stack.enter_context(redis_server()), free_port()
        first, second = offer_of(entries(count)), offer_of(changed(entries(count)))
        paths, build = own_words(count), _build(first)
        publish(url, first)
        began = time.perf_counter()
        replica = Contender(stack.enter_context(serving(url, port)), port)
        start = until(port, first.digest, began)
        search = drive(replica, paths, {}, 2, folder)
        memory = megabytes_held(replica.pid)
        before = ask(port, paths[:20], _SECONDS)
        busy, meanwhile, peak = _adoption(replica, paths[:20], url, second)
        publish(url, first)
        adopted = until(port, first.digest, time.perf_counter())
        wide, beside, more = _wide(replica, paths[:20])
        return Grown(
            *(count, first.size / 1e6, len(first.payload) / 1e6, build, search.cpu, start, adopted, busy, memory, peak),
            *(before.p99, meanwhile.p99, meanwhile.longest, wide, beside, more),
        )


def own_words(count: int) -> list[str]:
    """Paths that ask for words which one or two names have, more of them than are kept."""
    return [f"/{quote(word)}" for word in _words(count)]


def _words(count: int) -> list[str]:
    return list(dict.fromkeys(item.name.split()[-2] for item in islice(entries(count), 60_000) if " " in item.name))


def changed(items: Iterable[Entry]) -> Iterator[Entry]:
    """The same, but that every hundredth entry says something else."""
    for number, item in enumerate(items):
        yield msgspec.structs.replace(item, description="changed") if number % 100 == 0 else item


@dataclass(frozen=True, slots=True)
class Offer:
    """A catalogue that is ready to be published."""

    digest: str
    size: int
    count: int
    payload: bytes


def offer_of(items: Iterable[Entry]) -> Offer:
    """The catalogue of *items*, as a replica publishes it."""
    catalogue = Catalogue.of(items)
    payload = codec.to_bytes(Parsed(catalogue, Report("publicapis", len(catalogue))))
    return Offer(catalogue.digest, len(catalogue.canonical), len(catalogue), payload)


def _build(offer: Offer) -> float:
    """Seconds from the payload to what a replica answers from."""
    began = time.perf_counter()
    builder.from_payload(offer.payload, _LIMIT)
    return time.perf_counter() - began


def publish(url: str, offer: Offer) -> None:
    """Put it into Redis, as a replica does."""

    async def put() -> None:
        timeout = timedelta(seconds=5)
        async with open_store(url, password="", ca="", prefix="apidex", timeout=timeout, max_bytes=_LIMIT) as store:
            stored = await store.read()
            catalogue = StoredCatalogue(
                int(stored.now * 1000), offer.digest, offer.count, True, stored.now, "bench", NO_VALIDATORS
            )
            if not await store.publish(catalogue, offer.payload, stored.catalogue.stamp if stored.catalogue else None):
                raise RuntimeError("the fence refused the catalogue")

    asyncio.run(put())


def publish_many(url: str, count: int) -> str:
    """Put a catalogue of *count* entries into Redis; its digest."""
    offer = offer_of(entries(count))
    publish(url, offer)
    return offer.digest


@contextmanager
def replica_at(url: str, port: int, digest: str) -> Iterator[int]:
    """A replica that answers from the catalogue with this digest."""
    with serving(url, port) as pid:
        until(port, digest, time.perf_counter())
        yield pid


def serving(url: str, port: int) -> AbstractContextManager[int]:
    """A replica, as it ships but for the limits of size, that has just been started."""
    environ = {
        "APIDEX_PORT": str(port),
        "APIDEX_REDIS_URL": url,
        "APIDEX_UPSTREAM": "http://127.0.0.1:1/nobody",
        "APIDEX_UPSTREAM_LIMIT_BYTES": str(_LIMIT),
        "APIDEX_STARTUP_TIMEOUT_SECONDS": "60",
        "APIDEX_POLL_SECONDS": "0.5",
        "APIDEX_LOG_LEVEL": "error",
    }
    return running([sys.executable, "-m", "apidex", "serve"], **environ)


def until(port: int, digest: str, began: float) -> float:
    """Seconds since *began* until the replica answers from the catalogue with this digest."""
    wait_for(port, "/-/readyz")
    while msgspec.json.decode(answer(port, "/v1/catalogue").body)["digest"] != digest:
        time.sleep(0.02)
    return time.perf_counter() - began


def _adoption(replica: Contender, paths: list[str], url: str, offer: Offer) -> tuple[float, Waits, float]:
    """Publish while requests come: seconds until the replica answers from it, the first requests, and its peak of memory."""
    took: list[float] = []

    def wait() -> None:
        give_way()
        took.append(until(replica.port, offer.digest, published))

    thread = Thread(target=wait)
    publish(url, offer)
    published = time.perf_counter()
    with peak_of(replica.pid) as peak:
        thread.start()
        waits = ask(replica.port, paths, _SECONDS)
        while thread.is_alive():
            ask(replica.port, paths, 1)
    return took[0], waits, peak()


def _wide(replica: Contender, paths: list[str]) -> tuple[float, float, float]:
    """Ask for what most names have, while other requests come: seconds that it takes, the p99 of the others, memory more."""
    took: list[float] = []

    def read() -> None:
        give_way()
        began = time.perf_counter()
        discard(replica.port, "/a")
        took.append(time.perf_counter() - began)

    thread, before = Thread(target=read), megabytes_held(replica.pid)
    with peak_of(replica.pid) as peak:
        thread.start()
        waits = ask(replica.port, paths, _SECONDS)
        thread.join()
    return took[0], waits.p99, max(0.0, peak() - before)
