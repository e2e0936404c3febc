"""How the operations on roles are asked for, for the walk of `test_permissions`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import httpx2

from tests.factories import ok, unique

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast


async def suspend_member(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    other = await cast.make.member(cast.workspace, "member")
    return await http.post(f"{cast.workspace.path}/members/{other.id}/suspend")


async def resume_member(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    other = await cast.make.member(cast.workspace, "member")
    path = f"{cast.workspace.path}/members/{other.id}"
    ok(await cast.workspace.owner.http.post(f"{path}/suspend"))
    return await http.post(f"{path}/resume")


async def list_grants(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/members/{cast.people['volunteer'].id}/grants")


async def granted(cast: "Cast", http: httpx2.AsyncClient) -> tuple[str, httpx2.Response]:
    """Give a new member a role on a conversation; return the path of the member's grants, and the answer."""
    other, conversation = await cast.make.member(cast.workspace, "member"), await cast.conversation("opener")
    path = f"{cast.workspace.path}/members/{other.id}/grants"
    new = {"role": "chat.volunteer", "scope_type": "chat.conversation", "scope_id": str(conversation.id)}
    return path, await http.post(path, json=new)


async def grant_role(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return (await granted(cast, http))[1]


async def revoke_grant(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    path, answer = await granted(cast, cast.workspace.owner.http)
    return await http.delete(f"{path}/{ok(answer)['id']}")


async def custom_role(cast: "Cast") -> str:
    """Make a role; return its path."""
    name = f"custom.{unique('role').replace('-', '_')}"
    new = {"name": name, "description": "Reads", "permissions": ["workspaces.member.read"]}
    ok(await cast.workspace.owner.http.post(f"{cast.workspace.path}/roles", json=new))
    return f"{cast.workspace.path}/roles/{name}"


async def create_role(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"name": f"custom.{unique('role').replace('-', '_')}", "description": "Reads", "permissions": []}
    answer = await http.post(f"{cast.workspace.path}/roles", json=new)
    if answer.is_success:
        # There is an end to how many a workspace has.
        ok(await http.delete(f"{cast.workspace.path}/roles/{new['name']}"))
    return answer


async def get_role(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/roles/chat.volunteer")


async def change_role(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch(await custom_role(cast), json={"permissions": []})


async def delete_role(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(await custom_role(cast))


async def list_permissions(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/members/{cast.people['volunteer'].id}/permissions")


async def get_own_permissions(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/me/permissions")


async def explain_permission(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    question = {"account": str(cast.people["volunteer"].id), "permission": "chat.message.send"}
    return await http.get(f"{cast.workspace.path}/why", params=question)


ASK: "dict[str, Callable[[Cast, str, httpx2.AsyncClient], Awaitable[httpx2.Response]]]" = {
    ask.__name__: ask
    for ask in (
        suspend_member,
        resume_member,
        list_grants,
        grant_role,
        revoke_grant,
        create_role,
        get_role,
        change_role,
        delete_role,
        list_permissions,
        get_own_permissions,
        explain_permission,
    )
}
