"""Four replicas that take a million entries at the same time: how long it takes, in what memory, and how often Redis is read."""

import time
from contextlib import ExitStack

from redis import Redis

from loadtest.bench.contenders import redis_server
from loadtest.bench.growth import changed, offer_of, publish, serving, until
from loadtest.bench.many import entries
from loadtest.bench.process import free_port, megabytes_held, peak_of
from loadtest.bench.table import table

REPLICAS = 4


def fleet(count: int) -> str:
    """The table: at the start, and when a catalogue that differs in 1 % takes its place. Raises MissingToolError."""
    first, second = offer_of(entries(count)), offer_of(changed(entries(count)))
    with ExitStack() as stack:
        url = stack.enter_context(redis_server())
        redis, ports = Redis.from_url(url), [free_port() for _ in range(REPLICAS)]
        rows = []
        publish(url, first)
        began, sent = time.perf_counter(), _sent(redis)
        pids = [stack.enter_context(serving(url, port)) for port in ports]
        peaks = [stack.enter_context(peak_of(pid)) for pid in pids]
        for what, offered in (("started", first), ("adopted", second)):
            if offered is second:
                peaks = [stack.enter_context(peak_of(pid)) for pid in pids]
                began, sent = time.perf_counter(), _sent(redis)
                publish(url, second)
            seconds = max(until(port, offered.digest, began) for port in ports)
            read = (_sent(redis) - sent) / len(offered.payload) / REPLICAS
            held, most = (max(measured) for measured in (map(megabytes_held, pids), (peak() for peak in peaks)))
            size = offered.size / 1e6
            rows.append([what, f"{seconds:.1f}", f"{held:.0f}", f"{most:.0f}", f"{most / size:.2f}", f"{read:.2f}"])
    head = ["four replicas on one core", "all of them after, s", "memory of each, MB", "peak of each, MB", "× JSON"]
    return f"{count:,} entries.\n\n" + table([*head, "payload read by each, times"], rows)


def _sent(redis: "Redis") -> int:
    """Bytes that Redis has sent so far."""
    return int(redis.info("stats")["total_net_output_bytes"])
