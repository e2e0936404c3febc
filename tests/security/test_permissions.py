"""Every route, socket event and topic by every kind of caller, as `permissions.txt` says it.

Something new fails here until it has a row in the table and a way to ask for it below.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import httpx2
import pytest
import socketio
from litestar.handlers import HTTPRouteHandler

from courtyard.kernel.context import EVERYBODY
from courtyard.kernel.http import PUBLIC, SIGNED_IN
from courtyard.server import Server
from tests.conftest import Servers
from tests.factories import PASSWORD, Conversation, Factory, Person, Workspace, ok, unique
from tests.mailbox import Mailbox, ReceivedMail
from tests.security import (
    asking_chat,
    asking_credentials,
    asking_files,
    asking_for_roles,
    asking_mail,
    asking_providers,
    asking_tasks,
    asking_webhooks,
    asking_workspaces,
)
from tests.services import Kind
from tests.sockets import Socket

ROWS = [
    line.split()
    for line in (Path(__file__).parent / "permissions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
IDENTITIES = ROWS[0][1:]
TABLE = {f"{kind} {name}": dict(zip(IDENTITIES, answers, strict=True)) for kind, name, *answers in ROWS[1:]}
# Those whose place is a role in the workspace and nothing else.
BY_ROLE = {
    "member": "member",
    "volunteer": "chat.volunteer",
    "supervisor": "chat.supervisor",
    "administrator": "administrator",
    "owner": "owner",
}
STAFF = ("volunteer", "supervisor", "administrator", "owner")


@dataclass
class Cast:
    """The workspace and everybody who comes to it. They stay for all rows."""

    make: Factory
    workspace: Workspace
    elsewhere: Workspace
    people: dict[str, Person]
    mailbox: Mailbox
    sockets: dict[str, Socket] = field(default_factory=dict)

    async def conversation(self, identity: str, *, claimed: bool = False) -> Conversation:
        """Open a conversation that nobody has touched; `claimed` by staff, by the caller where the caller is staff."""
        staff = self.people[identity if identity in STAFF else "volunteer"]
        opener = self.people["opener"] if identity == "opener" else await self.make.visitor("Opener")
        if identity == "opener":
            await self.end_open_one(opener)
        return await self.make.conversation(self.workspace, visitor=opener, claimed_by=staff if claimed else None)

    async def end_open_one(self, person: Person) -> None:
        """Let somebody have no open conversation, so that they can open one."""
        opened = (await person.http.post(self.workspace.conversations, json={})).json()
        conversation_id = opened.get("conversation_id", opened.get("id"))
        ok(await person.http.post(f"{self.workspace.conversations}/{conversation_id}/close"))

    def colleague_of(self, identity: str) -> Person:
        """Return somebody of the staff who is not this one."""
        return self.people["supervisor" if identity == "volunteer" else "volunteer"]

    async def fresh_session(self, identity: str) -> dict[str, Any]:
        """Return a session of this kind of caller that may be ended."""
        person = self.people.get(identity)
        if person is None or person.email is None:
            login = await self.make.nobody.post("/sessions/anonymous", json={"name": "Visitor"})
        else:
            login = await self.make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD})
        session: dict[str, Any] = ok(login)
        return session


async def make_cast(make: Factory) -> Cast:
    workspace, elsewhere = await make.workspace(), await make.workspace()
    people = {
        "opener": await make.visitor("Opener"),
        "visitor": await make.visitor("Visitor"),
        "person": await make.person("Person"),
        **{name: await make.member(workspace, role, name=name) for name, role in BY_ROLE.items() if name != "owner"},
        "owner": workspace.owner,
        "foreign": elsewhere.owner,
    }
    return Cast(make, workspace, elsewhere, people, Mailbox(make.server.settings.data_path))


@pytest.fixture(scope="module")
def casts() -> dict[Kind, Cast]:
    return {}


@pytest.fixture
async def cast(casts: dict[Kind, Cast], database_kind: Kind, make: Factory) -> Cast:
    """Everybody, on a kind of database."""
    if database_kind not in casts:
        casts[database_kind] = await make_cast(make)
    # Sockets belong to the test, people stay.
    known = casts[database_kind]
    return Cast(make, known.workspace, known.elsewhere, known.people, known.mailbox)


# ------------------------------------------------------------------------------------------------------- HTTP

Ask: TypeAlias = Callable[[Cast, str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


def site(path: str) -> Ask:
    async def ask(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
        return await http.get(cast.make.server.url + path)

    return ask


ASK |= {
    "get_front_page": site("/"),
    "get_explorer": site("/explorer"),
    "get_explorer_file": site("/explorer/explorer.js"),
    "get_openapi": site("/openapi.json"),
    "get_asyncapi": site("/asyncapi.json"),
    "get_live": site("/health/live"),
    "get_ready": site("/health/ready"),
    "get_metrics": site("/metrics"),
    **asking_providers.ASK,
}
ASK |= asking_credentials.ASK
ASK |= asking_files.ASK
ASK |= asking_mail.ASK
ASK |= asking_tasks.ASK
ASK |= asking_webhooks.ASK
ASK |= asking_workspaces.ASK


@asks
async def register(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"email": f"{unique('new')}@example.org", "password": PASSWORD, "name": "New"}
    return await http.post("/accounts", json=new)


def mail_to(cast: Cast, address: str, template: str) -> Awaitable[ReceivedMail]:
    return cast.mailbox.wait_for(address, template)


async def by_code(cast: Cast, started: httpx2.Response, address: str, template: str) -> dict[str, Any]:
    mail = await mail_to(cast, address, template)
    return {"by": "code", "challenge_id": ok(started)["challenge_id"], "code": mail.code}


async def double(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Return the client of somebody else of this kind, with whom the row may do what it likes."""
    if identity == "nobody":
        return http
    return (await (cast.make.visitor() if cast.people[identity].email is None else cast.make.person())).http


@asks
async def confirm_registration(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"email": f"{unique('new')}@example.org", "password": PASSWORD, "name": "New"}
    started = await http.post("/accounts", json=new)
    proof = await by_code(cast, started, new["email"], "accounts.confirm_registration")
    return await http.post("/accounts/confirm", json=proof)


@asks
async def register_visitor(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"email": f"{unique('new')}@example.org", "password": PASSWORD, "name": "New"}
    return await http.post("/me/registration", json=new)


@asks
async def start_email_login(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/sessions/email", json={"email": cast.people["person"].email})


@asks
async def log_in_by_email(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    address = (await cast.make.person()).email or ""
    key = {"browser_key": unique("browser-of-the-row")}
    started = await http.post("/sessions/email", json={"email": address, **key})
    proof = await by_code(cast, started, address, "accounts.login")
    return await http.post("/sessions/email/proof", json={**proof, **key})


@asks
async def list_sessions(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/sessions")


@asks
async def end_session(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    client = await double(cast, identity, http)
    listed = await client.get("/sessions")
    session_id = listed.json()[0]["id"] if listed.is_success else uuid4()
    return await client.delete(f"/sessions/{session_id}")


@asks
async def end_other_sessions(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await double(cast, identity, http)).delete("/sessions")


@asks
async def start_password_reset(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/password-resets", json={"email": cast.people["person"].email})


@asks
async def reset_password(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    address = (await cast.make.person()).email or ""
    ok(await http.post("/password-resets", json={"email": address}))
    token = (await mail_to(cast, address, "accounts.password_reset")).link.rpartition("/")[2]
    return await http.post("/password-resets/complete", json={"token": token, "password": PASSWORD})


@asks
async def change_password(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"current_password": PASSWORD, "password": "another staple of horses"}
    return await (await double(cast, identity, http)).post("/me/password", json=new)


@asks
async def start_email_change(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/me/email", json={"email": f"{unique('new')}@example.org"})


@asks
async def confirm_email_change(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    person, address = await cast.make.person(), f"{unique('new')}@example.org"
    started = await person.http.post("/me/email", json={"email": address})
    proof = await by_code(cast, started, address, "accounts.confirm_email")
    return await http.post("/me/email/confirm", json=proof)


@asks
async def deactivate_me(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await double(cast, identity, http)).post("/me/deactivate")


@asks
async def delete_me(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await double(cast, identity, http)).delete("/me")


@asks
async def log_in(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    email = (cast.people.get(identity) or cast.people["person"]).email or cast.people["person"].email
    return await http.post("/sessions", json={"email": email, "password": PASSWORD})


@asks
async def enter_as_visitor(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/sessions/anonymous", json={"name": "Visitor"})


@asks
async def refresh_session(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    session = await cast.fresh_session(identity)
    return await http.post("/sessions/refresh", json={"refresh_token": session["refresh_token"]})


@asks
async def log_out(cast: Cast, identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    headers = {}
    if identity != "nobody":
        headers["Authorization"] = f"Bearer {(await cast.fresh_session(identity))['access_token']}"
    return await http.delete("/sessions/current", headers=headers)


@asks
async def get_me(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/me")


@asks
async def change_me(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch("/me", json={"name": "Other name"})


@asks
async def create_workspace(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/workspaces", json={"slug": unique("new"), "name": "New"})


@asks
async def list_my_workspaces(_: Cast, __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/workspaces")


@asks
async def get_workspace(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(cast.workspace.path)


@asks
async def change_workspace(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch(cast.workspace.path, json={"name": "Other name"})


@asks
async def list_roles(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/roles")


@asks
async def list_members(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/members")


@asks
async def list_quotas(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/quotas")


@asks
async def get_member(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/members/{cast.people['volunteer'].id}")


@asks
async def add_member(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    new = {"email": (await cast.make.person()).email, "roles": ["member"]}
    return await http.post(f"{cast.workspace.path}/members", json=new)


@asks
async def change_member(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    other = await cast.make.member(cast.workspace, "member")
    return await http.patch(f"{cast.workspace.path}/members/{other.id}", json={"roles": ["chat.volunteer"]})


@asks
async def remove_member(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    other = await cast.make.member(cast.workspace, "member")
    return await http.delete(f"{cast.workspace.path}/members/{other.id}")


@asks
async def list_audit_entries(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/audit")


@asks
async def get_audit_entry(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    entries = ok(await cast.workspace.owner.http.get(f"{cast.workspace.path}/audit?limit=1"))["items"]
    return await http.get(f"{cast.workspace.path}/audit/{entries[0]['id']}")


@asks
async def export_audit_log(cast: Cast, _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/audit/export")


ASK |= asking_for_roles.ASK
ASK |= asking_chat.ASK

# ---------------------------------------------------------------------------------------------------- sockets

Call: TypeAlias = Callable[[Cast, str, Socket], Awaitable[dict[str, Any]]]
CALL: dict[str, Call] = {}


def calls(event: str, *, claimed: bool = False, listens: bool = False, **payload: Any) -> None:
    """Say how a socket event about a conversation is sent.

    Args:
        event: its name.
        claimed: whether the conversation has been claimed before.
        listens: whether the caller tries to listen to it first.
        payload: its fields, with `{id}` for the conversation.
    """

    async def call(cast: Cast, identity: str, socket: Socket) -> dict[str, Any]:
        conversation = await cast.conversation(identity, claimed=claimed)
        if event == "chat.conversation.open":
            await cast.end_open_one(cast.people[identity])
        in_workspace = {"workspace": cast.workspace.slug}
        if listens:
            await socket.call("subscribe", {**in_workspace, "topic": conversation.topic})
        names = {"id": str(conversation.id), "colleague": str(cast.colleague_of(identity).id)}
        answer: dict[str, Any] = await socket.call(event, {**in_workspace, **asking_chat.filled(payload, **names)})
        return answer

    CALL[event] = call


TOPIC = "chat.conversation:{id}"
calls("subscribe", topic=TOPIC)
calls("unsubscribe", topic=TOPIC, listens=True)
calls("typing", topic=TOPIC, typing=True, listens=True)
calls("chat.conversation.open", subject="Help")
calls("chat.conversation.claim", conversation_id="{id}")
calls("chat.conversation.close", conversation_id="{id}")
calls("chat.conversation.reopen", conversation_id="{id}")
calls("chat.conversation.join", claimed=True, conversation_id="{id}")
calls("chat.conversation.leave", claimed=True, conversation_id="{id}")
calls("chat.conversation.take_over", claimed=True, conversation_id="{id}")
calls("chat.conversation.hand_over", claimed=True, conversation_id="{id}", account_id="{colleague}")
calls("chat.conversation.flag", claimed=True, conversation_id="{id}", severity=1)
calls("chat.conversation.unflag", conversation_id="{id}")
calls("chat.conversation.handled", claimed=True, conversation_id="{id}")
calls("chat.staff.add", conversation_id="{id}", account_id="{colleague}")
calls("chat.staff.remove", claimed=True, conversation_id="{id}", account_id="{colleague}")
calls("chat.staff.replace", claimed=True, conversation_id="{id}", account_ids=["{colleague}"])
calls("chat.message.send", claimed=True, conversation_id="{id}", text="hello")
calls("chat.message.see", claimed=True, conversation_id="{id}", number=1)

TOPICS = {
    "chat.conversation": TOPIC,
    "chat.queue": "chat.queue",
    "chat.person": "chat.person:{person}",
    "operations.operation": "operations.operation:{operation}",
}


def told(answer: dict[str, Any]) -> str:
    return str(answer["problem"]["status"]) if "problem" in answer else "ok"


# ------------------------------------------------------------------------------------------------------ walks


def rows(kind: str) -> list[str]:
    return [row.partition(" ")[2] for row in TABLE if row.startswith(f"{kind} ")]


@pytest.mark.parametrize("operation", rows("http"))
async def test_every_route_answers_everybody_as_the_table_says(cast: Cast, operation: str) -> None:
    found = {}
    for identity in IDENTITIES:
        client = cast.make.nobody if identity == "nobody" else cast.people[identity].http
        answer = await ASK[operation](cast, identity, client)
        # To be sent to the next page is a success too.
        found[identity] = "ok" if answer.is_success or answer.has_redirect_location else str(answer.status_code)
    assert found == TABLE[f"http {operation}"]


async def test_every_event_and_topic_answers_everybody_as_the_table_says(cast: Cast) -> None:
    found: dict[str, dict[str, str]] = {row: {} for row in TABLE if not row.startswith("http ")}
    with pytest.raises(socketio.exceptions.ConnectionError):
        await cast.make.socket(None)
    for identity in IDENTITIES[1:]:
        socket = await cast.make.socket(cast.people[identity])
        for event, call in CALL.items():
            found[f"socket {event}"][identity] = told(await call(cast, identity, socket))
        for topic, name in TOPICS.items():
            conversation, operation = await cast.conversation(identity), await asking_tasks.make_task(cast, identity)
            topic_name = name.format(id=conversation.id, operation=operation, person=cast.people[identity].id)
            payload = {"workspace": cast.workspace.slug, "topic": topic_name}
            found[f"topic {topic}"][identity] = told(await socket.call("subscribe", payload))
    assert found == {
        row: {identity: answer for identity, answer in answers.items() if identity != "nobody"}
        for row, answers in TABLE.items()
        if row in found
    }
    assert all(TABLE[row]["nobody"] == "401" for row in found)


async def test_ids_of_another_workspace_lead_nowhere_under_ones_own(cast: Cast) -> None:
    """Whoever may do everything at home gets no further with the ids of others in path, payload or topic."""
    owner, conversation = cast.people["foreign"], await cast.conversation("foreign", claimed=True)
    home = cast.elsewhere.path
    path = f"{cast.elsewhere.conversations}/{conversation.id}"
    entry = ok(await cast.people["owner"].http.get(f"{cast.workspace.path}/audit?limit=1"))["items"][0]
    task_id = await asking_tasks.make_task(cast, "owner")
    answers = [
        await owner.http.get(path),
        await owner.http.get(f"{path}/messages"),
        await owner.http.post(f"{path}/claim"),
        await owner.http.post(f"{path}/close"),
        await owner.http.post(f"{path}/messages", json={"text": "hello"}),
        await owner.http.get(f"{home}/members/{cast.people['volunteer'].id}"),
        await owner.http.patch(f"{home}/members/{cast.people['volunteer'].id}", json={"roles": ["member"]}),
        await owner.http.delete(f"{home}/members/{cast.people['volunteer'].id}"),
        await owner.http.get(f"{home}/audit/{entry['id']}"),
        await owner.http.get(f"{home}/tasks/{task_id}"),
        await owner.http.post(f"{home}/tasks/{task_id}/cancel"),
        await owner.http.get(f"/operations/{task_id}"),
        await owner.http.get(f"/operations/{task_id}/events"),
        await owner.http.post(f"/operations/{task_id}/cancel"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    socket = await cast.make.socket(owner)
    at_home = {"workspace": cast.elsewhere.slug}
    about = {**at_home, "conversation_id": str(conversation.id)}
    acknowledgements = [
        await socket.call("subscribe", {**at_home, "topic": conversation.topic}),
        await socket.call("chat.conversation.claim", about),
        await socket.call("chat.conversation.close", about),
        await socket.call("chat.message.send", {**about, "text": "hello"}),
    ]
    assert [told(answer) for answer in acknowledgements] == ["404"] * len(acknowledgements)
    cursor = ok(await cast.people["owner"].http.get(f"{cast.workspace.conversations}?limit=1"))["next"]
    if cursor is not None:
        assert ok(await owner.http.get(f"{cast.elsewhere.conversations}?cursor={cursor}"))["items"] == []


# ---------------------------------------------------------------------------------------------- completeness


@pytest.fixture(scope="module")
async def app(servers: Servers) -> Server:
    return (await servers.of("sqlite")).app


def routes_of(app: Server) -> Iterator[HTTPRouteHandler]:
    for route in app.http.routes:
        for handler in getattr(route, "route_handlers", ()):
            # The framework answers OPTIONS by itself, which tells the methods of a path.
            if set(handler.http_methods) != {"OPTIONS"}:
                yield handler


def test_every_route_has_a_row(app: Server) -> None:
    names = {str(handler.operation_id) for handler in routes_of(app)}
    assert names == set(rows("http"))
    assert names == set(ASK)


def test_every_route_names_a_rule_that_there_is(app: Server) -> None:
    known = {name for part in app.runtime.parts for name in part.permissions} | {PUBLIC, SIGNED_IN}
    for handler in routes_of(app):
        assert handler.opt["permission"] in known, handler.operation_id


def test_every_socket_event_has_a_row(app: Server) -> None:
    events = {handler.event for part in app.runtime.parts for handler in part.sockets}
    assert events == set(rows("socket"))
    assert events == set(CALL)


def test_every_topic_has_a_row(app: Server) -> None:
    topics = {topic.kind for part in app.runtime.parts for topic in part.topics}
    assert topics == set(rows("topic"))
    assert topics == set(TOPICS)


def rules(app: Server) -> Iterator[tuple[str, str]]:
    """Return the rule that each row of the table is documented with."""
    yield from ((f"http {handler.operation_id}", handler.opt["permission"]) for handler in routes_of(app))
    for part in app.runtime.parts:
        yield from ((f"socket {handler.event}", handler.permission) for handler in part.sockets)
        yield from ((f"topic {topic.kind}", topic.permission) for topic in part.topics)


def test_the_documented_rule_is_the_one_that_holds(app: Server) -> None:
    roles = app.runtime.roles
    for row, rule in rules(app):
        answers = TABLE[row]
        if rule == PUBLIC:
            assert set(answers.values()) == {"ok"}, row
            continue
        assert answers["nobody"] == "401", row
        if rule not in {name for permissions in roles.values() for name in permissions}:
            continue
        for identity, role in BY_ROLE.items():
            granted = rule in roles[role] | roles[EVERYBODY]
            assert (answers[identity] == "ok") == granted, f"{row}: {identity}, {rule}"
