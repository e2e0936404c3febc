"""The official JavaScript client in a process of its own."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.sockets import Json

JS = Path(__file__).parent / "js"
ANSWER_SECONDS = 20.0


class JavaScriptClient:
    """The official JavaScript client.

    Attributes:
        received: name and data of everything that the server sent, in order.
        said: the other lines of the program, in order.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._numbers = count(1)
        self._arrived = asyncio.Condition()
        self.received: list[tuple[str, Json]] = []
        self.said: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, node: str, url: str, token: str, *transports: str) -> "JavaScriptClient":
        """Start the program and wait until it is connected."""
        process = await asyncio.create_subprocess_exec(
            node, str(JS / "client.mjs"), url, token, *transports,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        client = cls(process)
        await client.wait_until(lambda: {"connected": True} in client.said)
        return client

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            async with self._arrived:
                if "id" in said:
                    self._answers.pop(said["id"]).set_result(said["answer"])
                elif "name" in said:
                    self.received.append((said["name"], said["data"]))
                else:
                    self.said.append(said)
                self._arrived.notify_all()

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Return as soon as a condition holds for what has come in."""
        async with asyncio.timeout(ANSWER_SECONDS), self._arrived:
            await self._arrived.wait_for(condition)

    async def tell(self, **order: Json) -> Json:
        """Give an order and return its answer."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, **order}).encode() + b"\n")
        await self._process.stdin.drain()
        return await asyncio.wait_for(answer, ANSWER_SECONDS)

    async def ok(self, event: str, **payload: Json) -> Json:
        """Send an event that must succeed, and return the `data` of its acknowledgement."""
        answer = await self.tell(emit=event, payload=payload)
        assert "problem" not in answer, answer
        return answer["data"]

    def all(self, name: str) -> list[Json]:
        """Return the data of all messages of a name that have come in."""
        return [data for received, data in self.received if received == name]

    async def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), ANSWER_SECONDS)
        await self._reader
