"""A server, some of whose workspaces live in databases of their own."""

from collections.abc import AsyncIterator

import pytest

from courtyard.kernel.context import Context
from courtyard.kernel.relocation.service import set_database
from tests.conftest import ServerFactory
from tests.factories import Factory, Workspace
from tests.services import Databases, Kind


class House:
    """A server with a main database of its own.

    Attributes:
        make: makes people and things there.
    """

    def __init__(self, make: Factory, databases: Databases, kind: Kind) -> None:
        self.make = make
        self._databases = databases
        self._kind = kind

    async def shard(self, *, migrated: bool = False) -> str:
        """Make a database for workspaces and return its URL."""
        return await self._databases.new(self._kind, main=False, migrated=migrated)

    async def settle(self, workspace: Workspace, url: str | None) -> None:
        """Let a workspace without rows live in another database."""
        context = Context(self.make.server.runtime, None, None, "test")
        try:
            await set_database(context, workspace.id, url, lambda _: None)
            await context.commit()
        finally:
            await context.rollback()

    async def settled(self) -> tuple[Workspace, str]:
        """Make a workspace with a database of its own, and return both."""
        workspace, url = await self.make.workspace(), await self.shard()
        await self.settle(workspace, url)
        return workspace, url


@pytest.fixture
async def house(databases: Databases, database_kind: Kind, server_factory: ServerFactory) -> AsyncIterator[House]:
    """A server with a main database of its own, in a hurry."""
    server = await server_factory(
        database=await databases.new(database_kind), shards={"answer_seconds": 0.5, "retry_seconds": 0.5, "open": 2}
    )
    make = Factory(server)
    yield House(make, databases, database_kind)
    await make.close()
