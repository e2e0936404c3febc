"""The metrics of a process in Prometheus' text format: what was counted, and what is read off at each scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from courtyard import __version__
from courtyard.kernel.events import RedisBus
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.telemetry import DECLARED, REGISTRY, Reading
from courtyard.site.preparation import named_databases

_POOL = {"database": "`database`, and what else the placement names.", "pool": ("readers", "writers")}

INFO = Reading(
    "courtyard_info", "gauge", "What runs here, told by the label; always 1.", version="The version of Courtyard."
)
ALLOWED = Reading("courtyard_database_connections_allowed", "gauge", "Size of a pool.", **_POOL)
USED = Reading("courtyard_database_connections_used", "gauge", "Connections in use.", **_POOL)
WAITING = Reading("courtyard_database_connections_waited_for", "gauge", "What waits for a free connection.", **_POOL)
REFUSED = Reading(
    "courtyard_database_connections_refused",
    "counter",
    "Times that no connection became free in time, or too many waited.",
    **_POOL,
)
TOPICS = Reading("courtyard_topics_open", "gauge", "Topics that somebody listens to.")
FOUND = Reading("courtyard_events_found", "counter", "Events that no process told of, found by the sweep.")
DROPPED = Reading("courtyard_bus_signals_dropped", "counter", "Signals to other processes that were dropped.")

INTRODUCTION = """\
# Metrics

Made from the code by `courtyard metrics --write`; do not edit it by hand.

Every process has its own at `/metrics`, in Prometheus' text format: [Monitor](../howto/monitor.md) says how to collect
them. The values of all labels come from closed sets, so no client can make up new series. Besides these, each process
tells of its memory, processor time and open files (`courtyard_process_…`). With several worker processes behind one
port, all of them are told of, each with its number as label `worker`.
"""


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
        yield INFO.of({(__version__,): 1})
        pools = {
            (name, kind): pool
            for name, database in named_databases(runtime).items()
            for kind, pool in (("readers", database.readers), ("writers", database.writers))
        }
        yield ALLOWED.of({labels: pool.size for labels, pool in pools.items()})
        yield USED.of({labels: pool.in_use for labels, pool in pools.items()})
        yield WAITING.of({labels: pool.waiting for labels, pool in pools.items()})
        yield REFUSED.of({labels: pool.refused for labels, pool in pools.items()})
        yield TOPICS.of({(): runtime.dispatcher.topics})
        yield FOUND.of({(): runtime.dispatcher.found_by_sweep})
        if isinstance(runtime.bus, RedisBus):
            yield DROPPED.of({(): runtime.bus.dropped})


def metrics_page() -> str:
    """Return the reference page as Markdown: every metric that a part of the house declares."""
    sections = [INTRODUCTION]
    for _, one in sorted(DECLARED.items()):
        section = f"## `{one.written}`\n\n{one.description}\n\nType: {one.kind}\n"
        if one.labels:
            rows = [
                f"| `{name}` | {values if isinstance(values, str) else ', '.join(f'`{each}`' for each in values)} |\n"
                for name, values in one.labels.items()
            ]
            section += f"\n| label | values |\n| --- | --- |\n{''.join(rows)}"
        sections.append(section)
    return "\n".join(sections)
