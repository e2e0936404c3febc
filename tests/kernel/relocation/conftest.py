"""A workspace that people use, and databases that it can be moved to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

import pytest
from sqlalchemy import func, select

from courtyard.kernel.context import Context
from courtyard.kernel.database import Database, Prepared
from courtyard.kernel.relocation import service
from courtyard.kernel.relocation.mover import Mover
from courtyard.kernel.relocation.moves import find_move
from courtyard.kernel.relocation.tables import workspace_tables
from courtyard.kernel.settings import DatabaseSettings
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, ok
from tests.services import Databases, Kind


class Street:
    """A server, a workspace in which a visitor writes, and databases.

    Attributes:
        make: makes people and things there.
        said: what moves have told.
    """

    def __init__(self, make: Factory, databases: Databases, kind: Kind) -> None:
        self.make = make
        self.kind = kind
        self._databases = databases
        self.said: list[str] = []

    async def empty_database(self, kind: Kind | None = None) -> str:
        """Make an empty database and return its URL."""
        return await self._databases.new(kind or self.kind, main=False, migrated=False)

    async def conversation(self, messages: int = 3) -> Conversation:
        """Make a workspace with a conversation of so many messages."""
        conversation = await self.make.conversation(await self.make.workspace(), message={"text": "0"})
        for number in range(1, messages):
            await self.send(conversation, f"{number}")
        return conversation

    async def send(self, conversation: Conversation, text: str) -> None:
        """Send a message that must be taken."""
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": text}))

    async def texts(self, conversation: Conversation) -> list[str]:
        """Return the messages of a conversation, the newest first."""
        found: list[str] = []
        path: str | None = f"{conversation.messages}?limit=200"
        while path:
            page = ok(await conversation.visitor.http.get(path))
            found += [item["text"] for item in page["items"]]
            path = f"{conversation.messages}?limit=200&cursor={page['next']}" if page["next"] else None
        return found

    async def rows(self, url: str, workspace_id: UUID) -> dict[str, int]:
        """Return how many rows each table of a database has of a workspace."""
        database = Database(url, DatabaseSettings())
        try:
            counts = {}
            for table in workspace_tables(self.make.server.runtime.parts):
                count = select(func.count()).select_from(table).where(table.c.workspace_id == workspace_id)
                (counts[table.name],) = await database.fetch(Prepared(count, int, across_workspaces=True), {})
        finally:
            await database.close()
        return {name: count for name, count in counts.items() if count}

    async def move(self, workspace_id: UUID, url: str | None, pause_seconds: float = 10.0) -> None:
        """Move a workspace, as the command does."""
        async with self.operator() as context:
            await service.move(context, workspace_id, url, self.said.append, pause_seconds)

    async def about(self, workspace_id: UUID, work: Callable[[Mover], Any]) -> None:
        """Do something about the move of a workspace: `Mover.clean`, `Mover.roll_back`."""
        async with self.operator() as context:
            found = await find_move(context.outside().db, workspace_id)
            await service.with_mover(context, found, self.said.append, work)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Context]:
        """Open the context of a command."""
        context = Context(self.make.server.runtime, None, None, "test")
        try:
            yield context
            await context.commit()
        finally:
            await context.rollback()


class Writer:
    """Somebody who writes without a pause, again where it was refused.

    Attributes:
        sent: what was acknowledged.
        refused_seconds: the longest time for which nothing was taken.
    """

    def __init__(self, street: Street, conversation: Conversation, name: str) -> None:
        self._street = street
        self._conversation = conversation
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.sent: list[str] = []
        self.refused: list[int] = []
        self.refused_seconds = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        assert self._task is not None
        await self._task

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while not self._stopped:
            text = f"{self._name}-{len(self.sent)}"
            answer = await self._conversation.visitor.http.post(self._conversation.messages, json={"text": text})
            if answer.is_success:
                self.refused_seconds = max(self.refused_seconds, loop.time() - last)
                last = loop.time()
                self.sent.append(text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
                assert answer.headers["retry-after"]
                self.refused.append(answer.status_code)
                await asyncio.sleep(0.05)


@pytest.fixture
async def street(databases: Databases, database_kind: Kind, server_factory: ServerFactory) -> AsyncIterator[Street]:
    """A server with a main database of its own."""
    make = Factory(await server_factory(database=await databases.new(database_kind)))
    yield Street(make, databases, database_kind)
    await make.close()
