"""The metrics of a process in Prometheus' text format: what was counted, and what is read off at each scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from courtyard import __version__
from courtyard.kernel.events import RedisBus
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.telemetry import REGISTRY
from courtyard.site.preparation import named_databases


def exposition(runtime: Runtime) -> bytes:
    """Return every metric of this process."""
    state = CollectorRegistry()
    state.register(_State(runtime))
    return generate_latest(REGISTRY) + generate_latest(state)


class _State(Collector):
    """What the parts of a process know about themselves."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @override
    def collect(self) -> Iterator[Metric]:
        runtime = self._runtime
        yield InfoMetricFamily("courtyard", "What runs here.", value={"version": __version__})
        labels = ["database", "pool"]
        size = GaugeMetricFamily("courtyard_database_connections_allowed", "Size of a pool.", labels=labels)
        used = GaugeMetricFamily("courtyard_database_connections_used", "Connections in use.", labels=labels)
        for name, database in named_databases(runtime).items():
            for kind, pool in (("readers", database.readers), ("writers", database.writers)):
                size.add_metric([name, kind], pool.size)
                used.add_metric([name, kind], pool.in_use)
        yield size
        yield used
        yield GaugeMetricFamily(
            "courtyard_topics_open", "Topics that somebody listens to.", value=runtime.dispatcher.topics
        )
        yield CounterMetricFamily(
            "courtyard_events_found",
            "Events that no process told of, found by the sweep.",
            value=runtime.dispatcher.found_by_sweep,
        )
        if isinstance(runtime.bus, RedisBus):
            yield CounterMetricFamily(
                "courtyard_bus_signals_dropped",
                "Signals to other processes that were dropped.",
                value=runtime.bus.dropped,
            )
