"""What Prometheus is told. Requests are counted here; everything else is read, when asked for, from where it is counted already.

No name that was searched is ever a label.
"""

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

import prometheus_client as prometheus
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from apidex import __version__
from apidex.http.response_cache import ResponseCache
from apidex.replication.freshness import State
from apidex.replication.refresher import Refresher

_BUCKETS = (0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Route:
    """Requests to one route: plain numbers, since they change with every request and are read every few seconds."""

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.seconds = 0.0
        self.by_bucket = [0] * (len(_BUCKETS) + 1)

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.seconds += seconds
        self.by_bucket[bisect_left(_BUCKETS, seconds)] += 1


class Metrics:
    """The metrics of one replica."""

    def __init__(self, refresher: Refresher) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._routes: dict[str, Route] = {}
        self.registry.register(_Requests(self._routes))
        self.registry.register(_Replica(refresher))
        for collector in (prometheus.ProcessCollector, prometheus.GCCollector):
            collector(registry=self.registry)

    def route(self, name: str) -> Route:
        """The counters of a route, by the path that the OpenAPI document gives it."""
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = Route()
        return route

    def add(self, answers: "ResponseCache[object, object]") -> None:
        """Tell of the answers that are kept, too."""
        self.registry.register(_Answers(answers))


class _Requests(Collector):
    """What the routes have counted."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        requests = CounterMetricFamily(
            "apidex_requests", "Requests answered, by route and status", labels=["route", "status"]
        )
        seconds = HistogramMetricFamily(
            "apidex_request_seconds", "Time from the head of a request to its answer, by route", labels=["route"]
        )
        for name, route in self._routes.items():
            for status, count in route.by_status.items():
                requests.add_metric([name, str(status)], count)
            bounds = [*map(str, _BUCKETS), "+Inf"]
            seconds.add_metric([name], list(zip(bounds, accumulate(route.by_bucket), strict=True)), route.seconds)
        yield requests
        yield seconds


class _Replica(Collector):
    """The catalogue's figures, and those of the Refresher's stats."""

    def __init__(self, refresher: Refresher) -> None:
        self._refresher = refresher

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        yield InfoMetricFamily(
            "apidex_build", "This release", {"version": __version__, "python": platform.python_version()}
        )
        refresher, current, stats = self._refresher, self._refresher.current, self._refresher.stats
        yield _gauge(
            "apidex_catalogue_age_seconds", "Time since the upstream vouched for the catalogue", refresher.age()
        )
        yield _gauge("apidex_catalogue_entries", "Entries of the catalogue", len(current.catalogue))
        yield _gauge("apidex_catalogue_stamp", "Order of the catalogue, in milliseconds", current.stamp)
        yield _state(refresher.state())
        yield _gauge("apidex_catalogue_shared", "1 if the catalogue is the fleet's copy", current.shared)
        yield _gauge("apidex_redis_reachable", "1 if Redis answered the last poll", stats.redis_reachable)
        yield _counter("apidex_refreshes", "Times that the upstream was asked", "outcome", stats.refreshes)
        yield _counter("apidex_refresh_failures", "Refreshes that gave no catalogue", "reason", stats.failures)
        yield _counter("apidex_redis_errors", "Times that Redis gave nothing usable", "kind", stats.redis_errors)
        yield _counter("apidex_leases", "Tries to be the one that asks the upstream", "outcome", stats.leases)
        yield _counter("apidex_publications", "Tries to publish a catalogue", "outcome", stats.publications)
        yield _counter("apidex_adoptions", "Catalogues that took the place of another", "origin", stats.adoptions)


class _Answers(Collector):
    """The figures of the answer cache. Searches = hits + misses."""

    def __init__(self, answers: "ResponseCache[object, object]") -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        lookups = Counter({"hit": self._answers.hits, "miss": self._answers.misses})
        yield _counter(
            "apidex_answer_cache_lookups", "Searches that looked for an answer given before", "outcome", lookups
        )
        yield _gauge("apidex_answer_cache_bytes", "Memory of the answers kept", self._answers.size)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value)


def _counter(name: str, about: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family


def _state(state: State) -> GaugeMetricFamily:
    family = GaugeMetricFamily("apidex_catalogue_state", "1 for the state that the catalogue is in", labels=["state"])
    for each in State:
        family.add_metric([each.value], each is state)
    return family
