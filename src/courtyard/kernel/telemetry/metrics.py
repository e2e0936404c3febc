"""Prometheus metrics: `courtyard_<noun>_<verb>_<unit>`, with labels from closed sets."""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# When each series began: half as many lines again, which hardly anybody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(namespace="courtyard", registry=REGISTRY)


class LabelledHistogram:
    """A histogram whose children are kept at hand: finding one through the library costs more than observing."""

    def __init__(self, name: str, description: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._histogram = Histogram(name, description, labels, buckets=buckets, registry=REGISTRY)
        self._children: dict[tuple[str, ...], Histogram] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count one observation."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._histogram.labels(*labels)
        child.observe(value)


REQUESTS = LabelledHistogram(
    "courtyard_request_answer_seconds",
    "Time from the first byte of a request to the end of its answer.",
    ("method", "route", "status"),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SOCKET_EVENTS = LabelledHistogram(
    "courtyard_socket_event_answer_seconds",
    "Time from a socket event to its acknowledgement.",
    ("event", "outcome"),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SOCKETS = Gauge("courtyard_sockets_open", "Connected sockets.", registry=REGISTRY)
SOCKETS_CUT = Counter("courtyard_sockets_cut", "Sockets that were cut.", ["reason"], registry=REGISTRY)
for _reason in ("session_ended", "too_slow"):
    SOCKETS_CUT.labels(_reason)
MAILS = Counter("courtyard_mail_delivered", "Attempts to deliver a mail.", ["outcome"], registry=REGISTRY)
for _outcome in ("sent", "postponed", "refused", "expired"):
    MAILS.labels(_outcome)
TASKS = Counter("courtyard_tasks_ended", "Tries of tasks that have ended.", ["task", "outcome"], registry=REGISTRY)
TASK_SECONDS = LabelledHistogram(
    "courtyard_task_run_seconds",
    "Time that one try of a task took.",
    ("task",),
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800),
)
TASK_WAIT_SECONDS = LabelledHistogram(
    "courtyard_task_wait_seconds",
    "Time from when a task could have begun until it did.",
    ("queue",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1_800, 3_600),
)
LIMITS_REFUSED = Counter(
    "courtyard_limits_requests_refused", "What a rate limit has refused.", ["policy"], registry=REGISTRY
)
LIMITS_STORE_FAILURES = Counter(
    "courtyard_limits_store_failures", "Times that the shared store of limits did not answer.", registry=REGISTRY
)
LIMITS_DROPPED = Counter(
    "courtyard_limits_keys_dropped",
    "Keys of limits that were forgotten before their time, to make room.",
    registry=REGISTRY,
)
STORAGE_FAILURES = Counter(
    "courtyard_storage_requests_failed", "What the storage of files has not done.", ["operation"], registry=REGISTRY
)
for _operation in ("open", "write", "read", "stat", "remove", "list", "sign"):
    STORAGE_FAILURES.labels(_operation)
FILES_UPLOADED = Counter("courtyard_files_uploaded", "Uploads that have ended.", ["outcome"], registry=REGISTRY)
for _outcome in ("stored", "refused", "broken_off", "storage_failed"):
    FILES_UPLOADED.labels(_outcome)
FILE_BYTES = Counter("courtyard_files_bytes", "Bytes of files.", ["direction"], registry=REGISTRY)
for _direction in ("received", "sent"):
    FILE_BYTES.labels(_direction)
FILES_REMOVED = Counter(
    "courtyard_files_removed", "Files that were removed from the storage.", ["reason"], registry=REGISTRY
)
for _reason in ("removed", "orphan"):
    FILES_REMOVED.labels(_reason)
PICTURES = Counter("courtyard_pictures_cleaned", "Pictures that were worked on.", ["outcome"], registry=REGISTRY)
for _outcome in ("done", "refused", "too_slow"):
    PICTURES.labels(_outcome)
