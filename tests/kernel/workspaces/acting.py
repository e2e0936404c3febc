"""What people do about roles in tests, each in one call."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx2

from courtyard.kernel.accounts import rights_changed, sessions_of
from courtyard.kernel.context import Context
from courtyard.kernel.workspaces.models import WorkspaceRow
from tests.factories import Conversation, Person, Workspace, ok, unique
from tests.running import RunningServer


def member_path(workspace: Workspace, person: Person) -> str:
    return f"{workspace.path}/members/{person.id}"


async def set_roles(workspace: Workspace, by: Person, person: Person, *roles: str) -> httpx2.Response:
    return await by.http.patch(member_path(workspace, person), json={"roles": roles})


async def grant(
    workspace: Workspace,
    by: Person,
    person: Person,
    role: str,
    on: Conversation | None = None,
    until: datetime | None = None,
) -> httpx2.Response:
    new: dict[str, Any] = {"role": role}
    if on is not None:
        new |= {"scope_type": "chat.conversation", "scope_id": str(on.id)}
    if until is not None:
        new["expires_at"] = until.isoformat()
    return await by.http.post(f"{member_path(workspace, person)}/grants", json=new)


async def suspend(workspace: Workspace, by: Person, person: Person) -> httpx2.Response:
    return await by.http.post(f"{member_path(workspace, person)}/suspend")


async def resume(workspace: Workspace, by: Person, person: Person) -> httpx2.Response:
    return await by.http.post(f"{member_path(workspace, person)}/resume")


async def remove(workspace: Workspace, by: Person, person: Person) -> httpx2.Response:
    return await by.http.delete(member_path(workspace, person))


async def make_role(workspace: Workspace, by: Person, *permissions: str, **fields: Any) -> str:
    """Make a role with a name of its own, and return the name."""
    name = f"custom.{unique('role').replace('-', '_')}"
    new = {"name": name, "description": "A role", "permissions": permissions, **fields}
    ok(await by.http.post(f"{workspace.path}/roles", json=new))
    return name


async def own_permissions(workspace: Workspace, person: Person) -> dict[str, Any]:
    answer: dict[str, Any] = ok(await person.http.get(f"{workspace.path}/me/permissions"))
    return answer


async def version_of(workspace: Workspace, person: Person) -> int:
    return int(ok(await workspace.owner.http.get(member_path(workspace, person)))["version"])


@contextlib.asynccontextmanager
async def inside(server: RunningServer) -> AsyncIterator[Context]:
    """Do something that there is no route for; it is committed."""
    context = Context(server.runtime, None, None, "test")
    try:
        yield context
        await context.commit()
    finally:
        await context.rollback()


async def prove_second_factor(server: RunningServer, person: Person) -> None:
    """Let the login of somebody have been by a password and a code."""
    runtime = server.runtime
    session_id = runtime.tokens.verify(person.token, runtime.clock.now()).session_id
    async with inside(server) as context:
        await sessions_of(runtime).prove(context, session_id, ["password", "totp"])
        context.after_commit(runtime.identity.forget)


async def want_second_factor(server: RunningServer, workspace: Workspace, of: str) -> None:
    """Let a workspace want a second factor of some."""
    async with inside(server) as context:
        await context.db.update(
            WorkspaceRow, {"id": workspace.id}, settings={"workspaces": {"require_second_factor": of}}
        )
        await rights_changed(context, [workspace.owner.id])
