"""How the operations on mail are asked for in `test_permissions.py`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import httpx2

from courtyard.kernel.mail import rules
from tests.factories import ok

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}
WORDS = {"subject": "{{ inviter }} asks you", "text": "Come, {{ link }}"}
TEMPLATE = "mail/templates/workspaces.invitation"


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


def token(cast: "Cast", subject: str = "somebody@example.org", workspace_id: UUID | None = None) -> str:
    """Return what stands in the link of an invitation."""
    workspace_id = workspace_id or cast.workspace.id
    return rules.stop_token(cast.make.server.runtime.digests, workspace_id, subject, "workspaces.invitations")


@asks
async def list_mails(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/mail/messages")


@asks
async def get_mail(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    messages, owner = f"{cast.workspace.path}/mail/messages", cast.workspace.owner.http
    if not ok(await owner.get(messages))["items"]:
        new = {"email": "mail-of-the-row@example.org", "roles": ["member"]}
        ok(await owner.post(f"{cast.workspace.path}/invitations", json=new))
    (mail, *_) = ok(await owner.get(messages))["items"]
    return await http.get(f"{messages}/{mail['id']}")


@asks
async def list_mail_templates(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/mail/templates")


@asks
async def get_mail_template(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/{TEMPLATE}/fi")


@asks
async def set_mail_template(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.put(f"{cast.workspace.path}/{TEMPLATE}/fi", json=WORDS)


@asks
async def drop_mail_template(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    ok(await cast.workspace.owner.http.put(f"{cast.workspace.path}/{TEMPLATE}/fi", json=WORDS))
    return await http.delete(f"{cast.workspace.path}/{TEMPLATE}/fi")


@asks
async def preview_mail_template(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/{TEMPLATE}/fi/preview", json=WORDS)


@asks
async def list_mail_preferences(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/mail/preferences")


@asks
async def change_mail_preferences(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    wanted = {"wanted": {"workspaces.invitations": True}}
    return await http.patch(f"{cast.workspace.path}/mail/preferences", json=wanted)


@asks
async def get_mail_preference(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/mail/preference", params={"token": token(cast)})


@asks
async def change_mail_preference(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch("/mail/preference", params={"token": token(cast)}, json={"wanted": True})


@asks
async def unsubscribe(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/mail/unsubscribe", params={"token": token(cast)})


@asks
async def read_outbox(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/mail/outbox")
