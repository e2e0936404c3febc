"""People who upload files and read them back, and do not give up."""

import asyncio
import contextlib
import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import httpx2

from courtyard.kernel.http import API
from tests.factories import Person, Workspace, ok
from tests.faults.load import DEADLINE_SECONDS, PAUSE_SECONDS
from tests.faults.shelf import KIND

MIB = 1 << 20
# Beyond what is stored as one part.
LARGE = 9 * MIB
# Between two uploads of one client; what is to be shown needs clients, not a machine that does nothing else.
PACE_SECONDS = 0.25


class Uploads:
    """Uploads as fast as they are answered, each again until it is acknowledged, while others are read.

    Args:
        workspace: where.
        person: whose files they are.
        urls: of the servers, one uploader and one reader for each.

    Attributes:
        acknowledged: the digest of every file that the server has confirmed, by id.
        longest_seconds: the longest time between the first try of an upload and its acknowledgement.
        refusals: the problems that the server answered uploads with.
        reads: how many files were read, each as it was uploaded.
    """

    def __init__(self, workspace: Workspace, person: Person, urls: Sequence[str]) -> None:
        self._path = f"{API}{workspace.path}/files"
        self._person = person
        self._urls = urls
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[str, str] = {}
        self.longest_seconds = 0.0
        self.refusals: Counter[str] = Counter()
        self.reads = 0

    @property
    def count(self) -> int:
        """How many uploads were acknowledged."""
        return len(self.acknowledged)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator["Uploads"]:
        """Upload until the block ends, then until the last file is acknowledged."""
        for url in self._urls:
            self._tasks += [asyncio.create_task(self._upload(url)), asyncio.create_task(self._read(url))]
        try:
            yield self
            self._ended = True
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def more(self, count: int) -> None:
        """Return when so many more are acknowledged."""
        goal = self.count + count
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.count < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def check(self, url: str) -> None:
        """Read every file that was acknowledged."""
        slots = asyncio.Semaphore(8)

        async def one(http: httpx2.AsyncClient, file_id: str) -> None:
            async with slots:
                await self._compare(http, file_id)

        async with self._client(url) as http:
            await asyncio.gather(*(one(http, file_id) for file_id in self.acknowledged))

    def _client(self, url: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=url, trust_env=False, timeout=40, headers=self._person.headers)

    async def _upload(self, url: str) -> None:
        size = LARGE
        async with self._client(url) as http:
            while not self._ended:
                await self._send(http, os.urandom(size))
                size = random.randrange(100_000)
                await asyncio.sleep(PACE_SECONDS)

    async def _send(self, http: httpx2.AsyncClient, content: bytes) -> None:
        started, key, digest = time.monotonic(), str(uuid4()), hashlib.sha256(content).hexdigest()
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await http.post(
                    self._path, params={"kind": KIND}, content=content, headers={"idempotency-key": key}
                )
                if answer.is_success:
                    break
                self.refusals[f"{answer.status_code} {answer.json()['code']}"] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        file = ok(answer)
        assert file["sha256"] == digest
        self.acknowledged[file["id"]] = digest
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)

    async def _read(self, url: str) -> None:
        async with self._client(url) as http:
            while not self._ended:
                if self.acknowledged:
                    await self._compare(http, random.choice([*self.acknowledged]))
                    self.reads += 1
                await asyncio.sleep(PACE_SECONDS)

    async def _compare(self, http: httpx2.AsyncClient, file_id: str) -> None:
        answer = await http.get(f"{self._path}/{file_id}/content")
        assert answer.is_success, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == self.acknowledged[file_id]
