"""How the operations on a workspace's life, invitations, ownership and services are asked for in `test_permissions.py`.

What would change the cast takes place in a workspace of its own, or is undone.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import httpx2

from courtyard.kernel.database import UnitOfWork
from courtyard.kernel.workspaces.models import InvitationRow
from tests.factories import PASSWORD, Workspace, ok, unique

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


def address(word: str = "invited") -> str:
    return f"{unique(word)}@example.org"


async def invited(cast: "Cast", email: str | None, workspace: Workspace | None = None) -> dict[str, Any]:
    """Invite somebody, to the workspace of the cast unless told otherwise."""
    workspace = workspace or cast.workspace
    new = {"email": email, "roles": ["member"]}
    made: dict[str, Any] = ok(await workspace.owner.http.post(f"{workspace.path}/invitations", json=new))
    return made


async def token_to(cast: "Cast", email: str) -> str:
    mail = await cast.mailbox.wait_for(email, "workspaces.invitation")
    return mail.link.rpartition("/")[2]


async def linked(workspace: Workspace) -> dict[str, Any]:
    made: dict[str, Any] = ok(
        await workspace.owner.http.post(f"{workspace.path}/invitation-links", json={"roles": ["member"]})
    )
    return made


async def served(cast: "Cast") -> str:
    """Make a service account and return its path."""
    services = f"{cast.workspace.path}/services"
    made = ok(await cast.workspace.owner.http.post(services, json={"name": "Bot", "roles": ["member"]}))
    return f"{services}/{made['id']}"


# -------------------------------------------------------------------------------------------------- life-cycle


@asks
async def get_settings(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/settings")


@asks
async def change_settings(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    change = {"sections": {"workspaces": {"time_zone": "Europe/Helsinki"}}}
    return await http.patch(f"{cast.workspace.path}/settings", json=change)


@asks
async def archive_workspace(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    answer = await http.post(f"{cast.workspace.path}/archive")
    ok(await cast.workspace.owner.http.post(f"{cast.workspace.path}/unarchive"))
    return answer


@asks
async def unarchive_workspace(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    ok(await cast.workspace.owner.http.post(f"{cast.workspace.path}/archive"))
    answer = await http.post(f"{cast.workspace.path}/unarchive")
    ok(await cast.workspace.owner.http.post(f"{cast.workspace.path}/unarchive"))
    return answer


@asks
async def delete_workspace(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    answer = await http.delete(cast.workspace.path, params={"confirm": cast.workspace.slug})
    if answer.is_success:
        ok(await cast.workspace.owner.http.post(f"{cast.workspace.path}/restore"))
    return answer


@asks
async def restore_workspace(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    owner = cast.workspace.owner.http
    ok(await owner.delete(cast.workspace.path, params={"confirm": cast.workspace.slug}))
    answer = await http.post(f"{cast.workspace.path}/restore")
    if not answer.is_success:
        ok(await owner.post(f"{cast.workspace.path}/restore"))
    return answer


@asks
async def leave_workspace(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    workspace = await cast.make.workspace()
    if identity != "nobody" and cast.people[identity].email is not None:
        await cast.make.join(workspace, cast.people[identity], "member")
    return await http.delete(f"{workspace.path}/members/me")


# ------------------------------------------------------------------------------------------------- invitations


@asks
async def invite(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/invitations", json={"email": address(), "roles": ["member"]})


@asks
async def list_invitations(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/invitations")


@asks
async def get_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/invitations/{(await invited(cast, address()))['id']}")


@asks
async def resend_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    invitation = await invited(cast, address())
    runtime = cast.make.server.runtime
    unit = UnitOfWork(runtime.placement)
    an_hour_ago = runtime.clock.now() - timedelta(hours=1)
    await unit.update(InvitationRow, {"id": UUID(invitation["id"])}, mailed_at=an_hour_ago)
    await unit.commit()
    return await http.post(f"{cast.workspace.path}/invitations/{invitation['id']}/resend")


@asks
async def withdraw_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(f"{cast.workspace.path}/invitations/{(await invited(cast, address()))['id']}")


@asks
async def preview_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    email = address()
    await invited(cast, email)
    return await http.post("/invitations/preview", json={"token": await token_to(cast, email)})


@asks
async def decline_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    email = address()
    await invited(cast, email)
    return await http.post("/invitations/decline", json={"token": await token_to(cast, email)})


@asks
async def register_by_invitation(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    email = address()
    await invited(cast, email)
    new = {"token": await token_to(cast, email), "name": "New", "password": PASSWORD}
    return await http.post("/invitations/register", json=new)


async def invited_elsewhere(cast: "Cast", identity: str) -> tuple[dict[str, Any], str]:
    """Invite this kind of caller to a workspace of its own, or somebody else where the caller has no address."""
    email = None if identity == "nobody" else cast.people[identity].email
    email = email or address()
    return await invited(cast, email, await cast.make.workspace()), email


@asks
async def accept_invitation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    _, email = await invited_elsewhere(cast, identity)
    return await http.post("/invitations/accept", json={"token": await token_to(cast, email)})


@asks
async def list_my_invitations(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/me/invitations")


@asks
async def accept_my_invitation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    invitation, email = await invited_elsewhere(cast, identity)
    await token_to(cast, email)
    return await http.post(f"/me/invitations/{invitation['id']}/accept")


@asks
async def decline_my_invitation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    invitation, email = await invited_elsewhere(cast, identity)
    await token_to(cast, email)
    return await http.post(f"/me/invitations/{invitation['id']}/decline")


@asks
async def make_invitation_link(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/invitation-links", json={"roles": ["member"]})


@asks
async def list_invitation_links(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/invitation-links")


@asks
async def withdraw_invitation_link(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    link_id = (await linked(cast.workspace))["link"]["id"]
    return await http.delete(f"{cast.workspace.path}/invitation-links/{link_id}")


@asks
async def preview_invitation_link(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    token = (await linked(cast.workspace))["token"]
    return await http.post("/invitation-links/preview", json={"token": token})


@asks
async def join_by_invitation_link(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    token = (await linked(await cast.make.workspace()))["token"]
    return await http.post("/invitation-links/join", json={"token": token})


# --------------------------------------------------------------------------------------------------- ownership


async def offered(cast: "Cast") -> str:
    """Let the ownership of the workspace be offered to somebody, and return its path."""
    path = f"{cast.workspace.path}/ownership"
    await cast.workspace.owner.http.delete(path)
    member = await cast.make.member(cast.workspace, "member")
    ok(await cast.workspace.owner.http.post(path, json={"account_id": str(member.id)}))
    return path


async def offered_elsewhere(cast: "Cast", identity: str) -> str:
    """Offer a workspace of its own to this kind of caller, or to somebody else where the caller cannot own one."""
    workspace = await cast.make.workspace()
    known = None if identity == "nobody" else cast.people[identity]
    person = await cast.make.person() if known is None or known.email is None else known
    await cast.make.join(workspace, person, "member")
    path = f"{workspace.path}/ownership"
    ok(await workspace.owner.http.post(path, json={"account_id": str(person.id)}))
    return path


@asks
async def offer_ownership(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    path = await offered(cast)
    ok(await cast.workspace.owner.http.delete(path))
    member = await cast.make.member(cast.workspace, "member")
    return await http.post(path, json={"account_id": str(member.id)})


@asks
async def get_ownership_offer(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(await offered(cast))


@asks
async def withdraw_ownership(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(await offered(cast))


@asks
async def accept_ownership(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await offered_elsewhere(cast, identity)}/accept")


@asks
async def decline_ownership(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await offered_elsewhere(cast, identity)}/decline")


# ---------------------------------------------------------------------------------------------------- services


@asks
async def make_service(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/services", json={"name": "Bot", "roles": ["member"]})


@asks
async def list_services(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/services")


@asks
async def get_service(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(await served(cast))


@asks
async def change_service(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch(await served(cast), json={"name": "Other"})


@asks
async def remove_service(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(await served(cast))


@asks
async def issue_service_key(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await served(cast)}/keys", json={"name": "Key"})


@asks
async def list_service_keys(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{await served(cast)}/keys")


@asks
async def revoke_service_key(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    path = await served(cast)
    issued = ok(await cast.workspace.owner.http.post(f"{path}/keys", json={"name": "Key"}))
    return await http.delete(f"{path}/keys/{issued['api_key']['id']}")


@asks
async def get_workspace_places(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/places")
