"""A process of Courtyard without its web server: services and stores are called as an edge calls them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.clock import Clock
from courtyard.kernel.context import Context, Principal
from courtyard.kernel.errors import Problem
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings
from courtyard.kernel.workspaces import DatabaseIdentity
from tests.services import PARTS


class Installation:
    """One process.

    Args:
        settings: what it is configured with; the database is built already.
        clock: the time.

    Attributes:
        runtime: the process.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.runtime = Runtime.create(settings, PARTS, DatabaseIdentity(), clock=clock)

    @asynccontextmanager
    async def context(self, principal: Principal | None = None) -> AsyncIterator[Context]:
        """Open a context, and commit or undo what is done in it as the web layer does."""
        context = Context(self.runtime, principal, None, "test")
        try:
            yield context
            await context.commit()
        except Problem as problem:
            if problem.commits:
                await context.commit()
            raise
        finally:
            await context.rollback()

    async def account(self, **values: Any) -> UUID:
        """Make an account of a person without any way in."""
        account_id = new_id()
        async with self.context() as context:
            made = {
                "kind": "person",
                "name": "Ada",
                "created_at": context.now,
                "version": 1,
                "must_change_password": False,
                "rights_epoch": 0,
                **values,
            }
            await context.db.insert(AccountRow, id=account_id, **made)
        return account_id
