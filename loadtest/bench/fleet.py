"""Four replicas that adopt a million entries at the same time: how long it takes, in what memory, and how often Redis is read."""

import time
from contextlib import ExitStack

from redis import Redis

from loadtest.bench import replica
from loadtest.bench.process import ServerProcess, memory_mb, peak_memory_mb
from loadtest.bench.table import formatted

REPLICAS = 4

_COLUMNS = {
    "four replicas on one core": "",
    "all of them after, s": ".1f",
    "memory of each, MB": ".0f",
    "peak of each, MB": ".0f",
    "× JSON": ".2f",
    "payload read by each, times": ".2f",
}


def measure(count: int) -> str:
    """The table: at the start, and when a catalogue that differs in 1 % takes its place. Raises UnsupportedError."""
    first, second = replica.prepared(count), replica.prepared(count, changed=True)
    with ExitStack() as stack:
        url = stack.enter_context(replica.redis_server())
        redis = Redis.from_url(url)
        replica.publish(url, first)
        began, sent = time.perf_counter(), _sent_bytes(redis)
        servers = [stack.enter_context(replica.replica(url)) for _ in range(REPLICAS)]
        started = adoption(first, servers, began, redis, sent)
        began, sent = time.perf_counter(), _sent_bytes(redis)
        replica.publish(url, second)
        adopted = adoption(second, servers, began, redis, sent)
    return f"{count:,} entries.\n\n" + formatted(_COLUMNS, [["started", *started], ["adopted", *adopted]])


def adoption(
    catalogue: replica.Prepared, servers: list[ServerProcess], began: float, redis: "Redis", sent: int
) -> tuple[float, ...]:
    """The figures once all have adopted *catalogue*; Redis had sent *sent* bytes before."""
    with ExitStack() as watched:
        peaks = [watched.enter_context(peak_memory_mb(server.pid)) for server in servers]
        seconds = max(replica.seconds_until_adopted(server.port, catalogue.digest, began) for server in servers)
        held, most = max(memory_mb(server.pid) for server in servers), max(peak() for peak in peaks)
    read = (_sent_bytes(redis) - sent) / len(catalogue.payload) / len(servers)
    return seconds, held, most, most / (catalogue.size / 1e6), read


def _sent_bytes(redis: "Redis") -> int:
    return int(redis.info("stats")["total_net_output_bytes"])
