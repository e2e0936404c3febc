"""How a metric is declared: with its labels, each from a closed set, so that no client can make up new series.

A part of the house declares its own, in a module `metrics`:

    RUNS = counter("courtyard_task_runs", "Runs of tasks.", outcome=("done", "failed", "handed_back"))

Names are `courtyard_<noun>_<verb>_<unit>`; that of a counter gets `_total` when it is written out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

# When each series began: half as many lines again, which hardly anybody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
# The values themselves, or a sentence that says which closed set they are from.
Label: TypeAlias = Sequence[str] | str

REGISTRY = CollectorRegistry()
DECLARED: "dict[str, Declaration]" = {}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Of one metric. More than all routes with all their answers have; only a fault of ours reaches it.
MOST_SERIES = 10_000
OTHER = "(other)"


@dataclass(frozen=True)
class Declaration:
    """What is known of a metric.

    Attributes:
        name: without the endings that the format adds.
        kind: of Prometheus.
        description: one sentence.
        labels: name → where its values come from.
    """

    name: str
    kind: Kind
    description: str
    labels: Mapping[str, Label] = field(default_factory=dict)

    @property
    def written(self) -> str:
        """The name as it is scraped."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _declare(name: str, kind: Kind, description: str, labels: Mapping[str, Label]) -> Declaration:
    if name in DECLARED:
        raise ValueError(f"{name} is declared twice")
    DECLARED[name] = declaration = Declaration(name, kind, description, labels)
    return declaration


def _all_values(labels: Mapping[str, Label]) -> Iterable[tuple[str, ...]]:
    """Return all series of a metric whose values are all known; nothing of another."""
    known = [values for values in labels.values() if not isinstance(values, str)]
    return product(*known) if labels and len(known) == len(labels) else ()


def counter(name: str, description: str, **labels: Label) -> Counter:
    """Declare what only goes up. Series whose labels are known are there from the beginning, at 0."""
    _declare(name, "counter", description, labels)
    made = Counter(name, description, tuple(labels), registry=REGISTRY)
    for values in _all_values(labels):
        made.labels(*values)
    return made


def gauge(name: str, description: str, **labels: Label) -> Gauge:
    """Declare what goes up and down."""
    _declare(name, "gauge", description, labels)
    made = Gauge(name, description, tuple(labels), registry=REGISTRY)
    for values in _all_values(labels):
        made.labels(*values)
    return made


class LabelledHistogram:
    """A histogram whose children are kept at hand: finding one through the library costs more than observing."""

    def __init__(self, name: str, description: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._histogram = Histogram(name, description, labels, buckets=buckets, registry=REGISTRY)
        self._children: dict[tuple[str, ...], Histogram] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count one observation."""
        child = self._children.get(labels)
        if child is None:
            if len(self._children) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            child = self._children[labels] = self._histogram.labels(*labels)
        child.observe(value)


def histogram(name: str, description: str, buckets: Sequence[float] = SECONDS, **labels: Label) -> LabelledHistogram:
    """Declare how something is spread, such as times."""
    _declare(name, "histogram", description, labels)
    return LabelledHistogram(name, description, tuple(labels), buckets)


class Reading:
    """What is not counted but read off at each scrape."""

    def __init__(self, name: str, kind: Literal["counter", "gauge"], description: str, **labels: Label) -> None:
        self._declaration = _declare(name, kind, description, labels)

    def of(self, values: Mapping[tuple[str, ...], float]) -> CounterMetricFamily | GaugeMetricFamily:
        """Return what is read now: the values of the labels → the value."""
        declared = self._declaration
        family = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
        made = family(declared.name, declared.description, labels=tuple(declared.labels))
        for labels, value in values.items():
            made.add_metric(labels, value)
        return made
