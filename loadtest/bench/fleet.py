"""Four replicas that take a million entries at the same time: how long it takes, in what memory, and how often Redis is read."""

import time
from contextlib import ExitStack

from redis import Redis

from loadtest.bench.contenders import redis_server
from loadtest.bench.process import megabytes_held, peak_of
from loadtest.bench.scaling import Offer, changed, offer_of, publish, serving, until
from loadtest.bench.synthetic_catalogue import entries
from loadtest.bench.table import table
from loadtest.targets import free_port

REPLICAS = 4


def fleet(count: int) -> str:
    """The table: at the start, and when a catalogue that differs in 1 % takes its place. Raises MissingToolError."""
    first, second = offer_of(entries(count)), offer_of(changed(entries(count)))
    with ExitStack() as stack:
        url = stack.enter_context(redis_server())
        redis, ports = Redis.from_url(url), [free_port() for _ in range(REPLICAS)]
        publish(url, first)
        began, sent = time.perf_counter(), _sent(redis)
        pids = [stack.enter_context(serving(url, port)) for port in ports]
        rows = [["started", *_taken(first, ports, pids, began, redis, sent)]]
        began, sent = time.perf_counter(), _sent(redis)
        publish(url, second)
        rows.append(["adopted", *_taken(second, ports, pids, began, redis, sent)])
    head = ["four replicas on one core", "all of them after, s", "memory of each, MB", "peak of each, MB", "× JSON"]
    return f"{count:,} entries.\n\n" + table([*head, "payload read by each, times"], rows)


def _taken(offer: Offer, ports: list[int], pids: list[int], began: float, redis: "Redis", sent: int) -> list[str]:
    """What it costs until all answer from *offer*; Redis had *sent* so many bytes before."""
    with ExitStack() as watched:
        peaks = [watched.enter_context(peak_of(pid)) for pid in pids]
        seconds = max(until(port, offer.digest, began) for port in ports)
        held, most = max(map(megabytes_held, pids)), max(peak() for peak in peaks)
    read = (_sent(redis) - sent) / len(offer.payload) / len(ports)
    return [f"{seconds:.1f}", f"{held:.0f}", f"{most:.0f}", f"{most / (offer.size / 1e6):.2f}", f"{read:.2f}"]


def _sent(redis: "Redis") -> int:
    """Bytes that Redis has sent so far."""
    return int(redis.info("stats")["total_net_output_bytes"])
