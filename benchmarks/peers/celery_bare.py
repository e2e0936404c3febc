"""Celery with a task that does nothing and no result, otherwise as it comes."""

import os
from typing import Any

from celery import Celery

from benchmarks.tally import strike

app: Any = Celery("bare", broker=os.environ["_BENCH_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_default_queue="bare",
    broker_transport_options={"global_keyprefix": os.environ["_BENCH_PREFIX"]},
    broker_connection_retry_on_startup=True,
)


@app.task(name="bare.strike")  # type: ignore[untyped-decorator]
def stroke() -> None:
    """Do nothing."""
    strike()
