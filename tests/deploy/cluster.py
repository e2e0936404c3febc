"""A whole installation on this machine: two servers, two workers of Celery, a scheduler and nginx, on PostgreSQL, Redis
and RabbitMQ.

`make cluster` starts it, lets a visitor and a volunteer talk through the proxy, and leaves it up until Ctrl-C; tests
start it to break it.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from courtyard.demo.conversation import play
from courtyard.demo.people import PASSWORD
from courtyard.demo.transcript import Transcript
from tests.deploy.nginx import Nginx
from tests.faults.load import Server
from tests.kernel.tasks.crews import ROOT, install_probe, own_vhost
from tests.processes import PROGRAM, Process
from tests.services import Databases, RedisSpace

SERVERS = ("one", "other")
WORKERS = ("worker-one", "worker-other")
START_SECONDS = 60.0
PLAY_SECONDS = 60.0


class Beside(Process):
    """`courtyard worker` or `courtyard scheduler`, with the settings of a server."""

    def __init__(self, server: Server, name: str, *command: str) -> None:
        super().__init__([*PROGRAM, *command], server.folder / f"{name}.log", server._environment)

    @override
    async def start(self) -> None:
        """Start it, and return when it says that it has."""
        await super().start()
        async with asyncio.timeout(START_SECONDS):
            while b"worker.started" not in self.output.read_bytes():
                assert self.runs, self.output.read_text()
                await asyncio.sleep(0.05)


class Cluster:
    """Its processes.

    Attributes:
        database: the address of its database.
        servers: those that answer.
        workers: those that run tasks.
        scheduler: what asks for tasks that are due.
        nginx: what stands in front.
    """

    def __init__(self, folder: Path, database: str, redis: RedisSpace, broker: str, **changes: str) -> None:
        settings = {
            "DATABASE__URL": database,
            "REDIS__URL": redis.url,
            "REDIS__PREFIX": redis.prefix,
            "TASKS__RUNNER": "celery",
            "TASKS__BROKER_URL": broker,
            **changes,
        }
        self.servers = [Server(folder, name, settings) for name in SERVERS]
        self.database = database
        self.nginx = Nginx(folder / "nginx", [server.port for server in self.servers])
        for server in self.servers:
            assert server._environment is not None
            # People, and the links in their mails, go through the proxy.
            server._environment["COURTYARD_SERVER__PUBLIC_URL"] = self.nginx.url
            if "APPLICATIONS" in changes:
                server._environment["PYTHONPATH"] = os.pathsep.join([str(install_probe(folder)), str(ROOT)])
        self.workers = [Beside(self.servers[0], name, "worker") for name in WORKERS]
        self.scheduler = Beside(self.servers[0], "scheduler", "scheduler")

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at the end."""
        return self.nginx.url

    @property
    def processes(self) -> Sequence[Process]:
        """All of them, in the order in which they start."""
        return [*self.servers, *self.workers, self.scheduler, self.nginx]

    async def start(self) -> None:
        """Build the database and start everything."""
        await self.servers[0].migrate()
        await asyncio.gather(*(server.start() for server in self.servers))
        await asyncio.gather(*(each.start() for each in (*self.workers, self.scheduler)))
        await self.nginx.start()

    async def stop(self) -> None:
        """End everything, in good order where that is possible."""
        for each in reversed(self.processes):
            if each.runs:
                await each.stop()
        for server in self.servers:
            await server.close()


@contextlib.asynccontextmanager
async def started(folder: Path, database: str, redis: RedisSpace, **changes: str) -> AsyncIterator[Cluster]:
    """Run a cluster while the block runs.

    Args:
        folder: for its data and what its processes write.
        database: an empty one.
        redis: the part of Redis that it has.
        changes: to the settings of all its processes.
    """
    async with own_vhost() as broker:
        cluster = Cluster(folder, database, redis, broker, **changes)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()


async def _show(*, leave: bool) -> None:
    transcript = Transcript(sys.stdout)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with tempfile.TemporaryDirectory(prefix="courtyard-cluster-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # nginx hands its requests to a child, which is somebody else where root starts it.
        folder.chmod(0o711)  # noqa: ASYNC240 - before there is anything to wait for
        databases, redis = Databases(folder), RedisSpace()
        try:
            await redis.check()
            database = await databases.new("postgresql", migrated=False)
            async with started(folder, database, redis) as cluster:
                transcript.title(
                    "A cluster", f"Two servers, two Celery workers, a scheduler and nginx at {cluster.url}"
                )
                async with asyncio.timeout(PLAY_SECONDS):
                    cast = await play(cluster.url, folder / "data" / "outbox", transcript)
                rows = [("through nginx", cluster.url)]
                rows += [(f"server {number}", server.url) for number, server in enumerate(cluster.servers, 1)]
                rows += [(each.output.stem, f"process {each.pid}, {each.output}") for each in cluster.processes]
                transcript.table("It stays up. Kill what you like:", rows)
                transcript.table(
                    f"Accounts in the workspace `{cast.workspace}`, all with the password {PASSWORD}",
                    [(person.email, person.part) for person in cast.people],
                )
                if not leave:
                    transcript.say("Ctrl-C ends everything and removes the data.")
                    await ended.wait()
        finally:
            await redis.clear()
            await databases.drop()


if __name__ == "__main__":
    try:
        asyncio.run(_show(leave="--exit" in sys.argv[1:]))
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(f"A cluster cannot run here: {missing}")
