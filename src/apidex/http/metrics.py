"""Metrics for Prometheus. Requests are counted here; other values are read at the scrape from their owners.

No name that was searched is ever a label.
"""

import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import prometheus_client as prometheus
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from apidex import __version__, logs
from apidex.http.connection_stats import ConnectionStats
from apidex.http.response_cache import ResponseCache
from apidex.replication.freshness import State
from apidex.replication.refresher import Refresher

_BUCKETS = (0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


_STATUSES = (200, 500, 503)
"""Statuses that have a series before the first response: what is missing before an increase has no rate."""


class RouteMetrics:
    """Requests to one route: plain numbers, since they change with every request and are read every few seconds."""

    def __init__(self) -> None:
        self.by_status = dict.fromkeys(_STATUSES, 0)
        self.seconds = 0.0
        self.by_bucket = [0] * (len(_BUCKETS) + 1)

    def observe(self, status: int, seconds: float) -> None:
        """Count one response, which began *seconds* after the head of its request was complete."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.seconds += seconds
        self.by_bucket[bisect_left(_BUCKETS, seconds)] += 1


class Metrics(Collector):
    """The metrics of one replica, which keeps its responses in *cache*."""

    def __init__(self, refresher: Refresher, cache: ResponseCache[Any, Any]) -> None:
        self._refresher, self._cache = refresher, cache
        self._routes = defaultdict[str, RouteMetrics](RouteMetrics)
        self.connections = ConnectionStats()
        self.registry = prometheus.CollectorRegistry()
        self.registry.register(self)
        for collector in (prometheus.ProcessCollector, prometheus.GCCollector):
            collector(registry=self.registry)

    def route(self, name: str) -> RouteMetrics:
        """The counters of a route, by the path that the OpenAPI document gives it."""
        return self._routes[name]

    def collect(self) -> Iterator[Metric]:
        """All metrics except those of the process, at this moment."""
        yield from self._requests()
        yield from self._replica()
        yield from self._connections()
        lookups = {"hit": self._cache.hits, "miss": self._cache.misses}
        about = "Lookups in the response cache: hits + misses"
        yield _counter("apidex_response_cache_lookups", about, "outcome", lookups)
        yield GaugeMetricFamily("apidex_response_cache_bytes", "Memory of the response cache", self._cache.size)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "apidex_requests", "Requests answered, by route and status", labels=["route", "status"]
        )
        seconds = HistogramMetricFamily(
            "apidex_request_seconds",
            "Time from the head of a request to the beginning of its response, by route",
            labels=["route"],
        )
        bounds = [*map(str, _BUCKETS), "+Inf"]
        for name, route in self._routes.items():
            for status, count in route.by_status.items():
                requests.add_metric([name, str(status)], count)
            seconds.add_metric([name], list(zip(bounds, accumulate(route.by_bucket), strict=True)), route.seconds)
        yield requests
        yield seconds

    def _connections(self) -> Iterator[Metric]:
        stats = self.connections
        yield GaugeMetricFamily("apidex_connections", "Open connections", stats.open)
        yield CounterMetricFamily("apidex_connections_accepted", "Connections accepted so far", stats.accepted)
        yield GaugeMetricFamily(
            "apidex_requests_in_flight", "Requests that are being answered by ASGI", stats.in_flight
        )
        yield GaugeMetricFamily(
            "apidex_event_loop_lag_seconds", "Last measured iteration of the event loop", stats.loop_lag
        )
        yield _counter("apidex_connections_timed_out", "Connections closed by a timer", "timer", stats.closed)
        yield _counter("apidex_shed", "Requests and connections shed", "reason", stats.shed)

    def _replica(self) -> Iterator[Metric]:
        refresher, current, stats = self._refresher, self._refresher.current, self._refresher.stats
        info = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("apidex_build", "This release", info)
        yield CounterMetricFamily("apidex_log_lines_lost", "Log lines that could not be written", logs.sink.lost)
        for name, about, value in (
            ("apidex_catalogue_age_seconds", "Time since the upstream validated the catalogue", refresher.age()),
            ("apidex_catalogue_entries", "Entries of the catalogue", len(current.catalogue)),
            ("apidex_catalogue_stamp_seconds", "Order of the catalogue, as seconds since 1970", current.stamp / 1000),
            ("apidex_catalogue_shared", "1 if the catalogue is the fleet's copy", current.shared),
            (
                "apidex_refresh_last_turn_timestamp_seconds",
                "When the refresh task last took a turn, in seconds since 1970",
                refresher.clock.wall() - refresher.supervision.since_last_turn(),
            ),
            (
                "apidex_redis_reachable",
                "1 if Redis can be read, written to and asked to run scripts",
                stats.redis_reachable,
            ),
        ):
            yield GaugeMetricFamily(name, about, value)
        for name, about, label, counts in (
            ("apidex_refreshes", "Fetches from the upstream", "outcome", stats.refreshes),
            ("apidex_refresh_failures", "Refreshes that gave no catalogue", "reason", stats.failures),
            ("apidex_redis_errors", "Operations on Redis that gave nothing usable", "kind", stats.redis_errors),
            ("apidex_leases", "Attempts to take the lease for a fetch", "outcome", stats.leases),
            ("apidex_publications", "Attempts to publish a catalogue", "outcome", stats.publications),
            ("apidex_disk_errors", "Failures of the last good copy on disk", "kind", stats.copy_errors),
            ("apidex_adoptions", "Catalogues that replaced another", "origin", stats.adoptions),
        ):
            yield _counter(name, about, label, counts)
        family = GaugeMetricFamily("apidex_catalogue_state", "1 for the catalogue's state", labels=["state"])
        for state in State:
            family.add_metric([state.value], state is refresher.state())
        yield family


def _counter(name: str, about: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family
