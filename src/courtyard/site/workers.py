"""The metrics of all worker processes of one `courtyard serve`: whichever of them is scraped, all are told of.

They share one port, so that a scraper cannot ask each. Each answers the others on a socket in a folder that the
supervisor makes, and whoever is scraped puts the answers together, with a label that says whose they are.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from typing_extensions import override

log = structlog.get_logger()

# Names the folder to the workers; no setting, because no operator chooses it.
FOLDER = "_COURTYARD_WORKERS"
LABEL = "worker"
ANSWER_SECONDS = 2.0
LONGEST_ANSWER = 64 * 1024 * 1024


class Workers:
    """The workers, from the inside of one of them.

    Args:
        folder: where their sockets are; None where there is one process alone.
        own: makes the metrics of this process.
    """

    def __init__(self, folder: Path | None, own: Callable[[], bytes]) -> None:
        self._folder = folder
        self._own = own
        self._server: asyncio.Server | None = None

    @classmethod
    def of_environment(cls, own: Callable[[], bytes]) -> "Workers":
        """Return the workers that this process is one of."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder) if folder else None, own)

    async def start(self) -> None:
        """Begin to answer the others."""
        if self._folder is not None:
            path = self._folder / f"{os.getpid()}.sock"
            try:
                self._server = await asyncio.start_unix_server(self._answer, path)
            except OSError as error:
                # Such as a path that is too long. No reason not to serve.
                log.warning("metrics.worker_unheard", path=str(path), error=str(error))

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None and self._folder is not None:
            self._server.close()
            (self._folder / f"{os.getpid()}.sock").unlink(missing_ok=True)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self._own())
            await writer.drain()
        writer.close()

    async def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format; those of this process where it is alone."""
        if self._folder is None:
            return self._own()
        sockets = sorted(self._folder.glob("*.sock"))
        others = [path for path in sockets if path.stem != str(os.getpid())]
        texts = await asyncio.gather(*map(_ask, others))
        answers = {str(os.getpid()): self._own()}
        answers |= {path.stem: text for path, text in zip(others, texts, strict=True) if text is not None}
        return await asyncio.to_thread(together, answers)


async def _ask(path: Path) -> bytes | None:
    """Return what another worker says; None where it has gone, or is too slow."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return b"".join([part async for part in _parts(reader)])
            finally:
                writer.close()
    except ConnectionRefusedError:
        # It was killed.
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - of a folder in memory or nearly so
    except (OSError, TimeoutError) as error:
        log.warning("metrics.worker_silent", worker=path.stem, error=f"{type(error).__name__}: {error}")
    return None


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    total = 0
    while (part := await reader.read(65_536)) and total < LONGEST_ANSWER:
        total += len(part)
        yield part


def together(answers: Mapping[str, bytes]) -> bytes:
    """Return several expositions as one, with the label `worker` on each series."""
    families: dict[str, Metric] = {}
    for worker, text in answers.items():
        for family in text_string_to_metric_families(text.decode()):
            kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for one in family.samples:
                kept.add_sample(one.name, {**one.labels, LABEL: worker}, one.value)
    registry = CollectorRegistry()
    registry.register(_Collected(families.values()))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    @override
    def collect(self) -> Iterator[Metric]:
        yield from self._families
