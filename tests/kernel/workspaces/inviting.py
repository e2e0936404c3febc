"""Inviting people and answering invitations, for tests."""

from typing import Any

import httpx2

from tests.factories import PASSWORD, Person, Workspace, ok
from tests.mailbox import Mailbox

TEMPLATE = "workspaces.invitation"
NOT_OPEN = (400, "invalid_invitation")


def path(workspace: Workspace) -> str:
    return f"{workspace.path}/invitations"


async def invite(
    workspace: Workspace, email: str | None, *roles: str, by: Person | None = None, **new: Any
) -> httpx2.Response:
    body = {"email": email, "roles": roles or ["member"], **new}
    return await (by or workspace.owner).http.post(path(workspace), json=body)


async def token_of(mailbox: Mailbox, email: str | None) -> str:
    assert email is not None
    mail = await mailbox.wait_for(email, TEMPLATE)
    return mail.link.rpartition("/")[2]


async def accept(person: Person, token: str) -> httpx2.Response:
    return await person.http.post("/invitations/accept", json={"token": token})


async def register(nobody: httpx2.AsyncClient, token: str, **changes: Any) -> httpx2.Response:
    return await nobody.post(
        "/invitations/register", json={"token": token, "name": "Ada", "password": PASSWORD, **changes}
    )


async def roles_in(workspace: Workspace, person: Person) -> list[str]:
    member = await workspace.owner.http.get(f"{workspace.path}/members/{person.id}")
    return [] if member.status_code == 404 else list(ok(member)["roles"])
