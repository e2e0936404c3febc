"""The metrics of a process in Prometheus' text format: what was counted, and what is read off at each scrape."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from courtyard import __version__
from courtyard.kernel.database import Database, Pool
from courtyard.kernel.events import RedisBus
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.shards import Shard
from courtyard.kernel.telemetry import DECLARED, REGISTRY, Reading
from courtyard.site.census import Census

# How many databases of workspaces have series of their own.
MOST_SHARDS = 50
OTHERS = "(other)"
_DATABASE = (
    "`database`, the main one; for one of workspaces `shard-` and a digest of its address, as `courtyard doctor` lists "
    f"them; `{OTHERS}` for all behind the first {MOST_SHARDS}."
)
_POOL = {"database": _DATABASE, "pool": ("readers", "writers")}

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
SHARD_UP = Reading(
    "courtyard_shard_up",
    "gauge",
    "1 where a database of workspaces could be used when this process last tried, 0 where it did not answer or was not "
    "up to date.",
    database=_DATABASE,
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


def exposition(runtime: Runtime, census: Census | None = None) -> bytes:
    """Return every metric of this process.

    Args:
        runtime: the process.
        census: what it counts in the databases; None for nothing.
    """
    state = CollectorRegistry()
    state.register(_State(runtime))
    if census is not None:
        state.register(census)
    return generate_latest(REGISTRY) + generate_latest(state)


class _State(Collector):
    """What the parts of a process know about themselves."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @override
    def collect(self) -> Iterator[Metric]:
        runtime = self._runtime
        main, *shards = runtime.placement.databases()
        yield INFO.of({(__version__,): 1})
        yield from _pools({"database": [main], **labelled(shards)})
        yield SHARD_UP.of({(name,): all(one.is_usable for one in found) for name, found in labelled(shards).items()})
        yield TOPICS.of({(): runtime.dispatcher.topics})
        yield FOUND.of({(): runtime.dispatcher.found_by_sweep})
        if isinstance(runtime.bus, RedisBus):
            yield DROPPED.of({(): runtime.bus.dropped})


def labelled(databases: Iterable[Database]) -> dict[str, list[Shard]]:
    """Return databases of workspaces by the names that metrics give them, which are the same in every process."""
    shards = sorted((each for each in databases if isinstance(each, Shard)), key=lambda shard: shard.name)
    names = list(dict.fromkeys(shard.name for shard in shards))[:MOST_SHARDS]
    found: dict[str, list[Shard]] = {}
    for shard in shards:
        found.setdefault(shard.name if shard.name in names else OTHERS, []).append(shard)
    return found


def _pools(databases: Mapping[str, Sequence[Database]]) -> Iterator[Metric]:
    pools: dict[tuple[str, ...], list[Pool]] = {}
    for name, found in databases.items():
        pools[name, "readers"] = [database.readers for database in found]
        pools[name, "writers"] = [database.writers for database in found]
    yield ALLOWED.of({labels: sum(pool.size for pool in found) for labels, found in pools.items()})
    yield USED.of({labels: sum(pool.in_use for pool in found) for labels, found in pools.items()})
    yield WAITING.of({labels: sum(pool.waiting for pool in found) for labels, found in pools.items()})
    yield REFUSED.of({labels: sum(pool.refused for pool in found) for labels, found in pools.items()})


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
