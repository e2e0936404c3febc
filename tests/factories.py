"""People, workspaces and conversations for tests, made through the API, each with a name that no other has."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2

from courtyard.kernel.accounts import NewAccount, create_person
from courtyard.kernel.context import Context
from courtyard.kernel.http import API
from tests.running import RunningServer
from tests.sockets import Json, Socket

PASSWORD = "correct horse battery"


def unique(word: str) -> str:
    """Return a name that nothing else has."""
    return f"{word}-{uuid4().hex[:12]}"


def ok(response: httpx2.Response) -> Json:
    """Return the body of an answer that must be a success."""
    assert response.is_success, (
        f"{response.request.method} {response.request.url}: {response.status_code} {response.text}"
    )
    return response.json() if response.content else None


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Return the document of an answer that must be this problem."""
    assert (response.status_code, response.headers.get("content-type")) == (status, "application/problem+json"), (
        response.text
    )
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"urn:courtyard:problem:{code}"
    assert document["request_id"] == response.headers["x-request-id"]
    return document


@dataclass
class Person:
    """Somebody who is signed in: a registered person or an anonymous visitor.

    Attributes:
        id: of the account.
        name: as others see it.
        email: None for a visitor.
        login: the whole answer to the login.
        http: a client that carries the access token; its paths begin behind `/api/v1`.
    """

    id: UUID
    name: str
    email: str | None
    login: dict[str, Any] = field(repr=False)
    http: httpx2.AsyncClient = field(repr=False)

    @property
    def token(self) -> str:
        """The access token."""
        return str(self.login["access_token"])

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Workspace:
    """A workspace with its owner.

    Attributes:
        id: of the workspace.
        slug: its short name.
        owner: who made it.
        path: of the workspace, behind `/api/v1`.
    """

    id: UUID
    slug: str
    owner: Person

    @property
    def path(self) -> str:
        """The path of the workspace, behind `/api/v1`."""
        return f"/workspaces/{self.slug}"

    @property
    def conversations(self) -> str:
        """The path of its conversations, behind `/api/v1`."""
        return f"{self.path}/chat/conversations"


@dataclass
class Conversation:
    """A conversation with the two who talk.

    Attributes:
        id: of the conversation.
        workspace: where it takes place.
        visitor: who opened it.
        assignee: who has claimed it, None while it waits.
    """

    id: UUID
    workspace: Workspace
    visitor: Person
    assignee: Person | None = None

    @property
    def path(self) -> str:
        """The path of the conversation, behind `/api/v1`."""
        return f"{self.workspace.conversations}/{self.id}"

    @property
    def messages(self) -> str:
        """The path of its messages, behind `/api/v1`."""
        return f"{self.path}/messages"

    @property
    def topic(self) -> str:
        """Where its events are told."""
        return f"chat.conversation:{self.id}"


class Factory:
    """Makes what tests need, on one server.

    Args:
        server: where.
    """

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        # Nobody in particular; paths begin behind `/api/v1`.
        self.nobody = server.client(base_url=server.url + API)
        self._sockets: list[Socket] = []

    async def person(self, name: str = "Ada", *, email: str | None = None) -> Person:
        """Let somebody have an account and log in."""
        email = email or f"{unique('person')}@example.org"
        await self.account(email, name)
        login = ok(await self.nobody.post("/sessions", json={"email": email, "password": PASSWORD}))
        return self.signed_in(login)

    async def account(self, email: str, name: str, password: str = PASSWORD) -> UUID:
        """Make an account as `courtyard create-admin` does: registering takes a mail, and a test that is long."""
        context = Context(self.server.runtime, None, None, "factory")
        try:
            account = await create_person(context, NewAccount(email=email, name=name, password=password))
            await context.commit()
        finally:
            await context.rollback()
        return account.id

    async def visitor(self, name: str = "Visitor") -> Person:
        """Let an anonymous visitor in."""
        return self.signed_in(ok(await self.nobody.post("/sessions/anonymous", json={"name": name})))

    def signed_in(self, login: dict[str, Any]) -> Person:
        """Return whom the answer to a login is about."""
        account = login["account"]
        headers = {"Authorization": f"Bearer {login['access_token']}"}
        client = self.server.client(base_url=self.server.url + API, headers=headers)
        return Person(UUID(account["id"]), account["name"], account["email"], login, client)

    async def workspace(self, *, owner: Person | None = None, slug: str | None = None) -> Workspace:
        """Make a workspace, with an owner of its own unless one is given."""
        owner = owner or await self.person("Olga")
        made = ok(await owner.http.post("/workspaces", json={"slug": slug or unique("w"), "name": "Workspace"}))
        return Workspace(UUID(made["id"]), made["slug"], owner)

    async def member(self, workspace: Workspace, *roles: str, name: str = "Max") -> Person:
        """Register somebody and make them a member with these roles (`chat.volunteer` unless told otherwise)."""
        person = await self.person(name)
        await self.join(workspace, person, *roles)
        return person

    async def join(self, workspace: Workspace, person: Person, *roles: str) -> None:
        """Make somebody who is there a member."""
        new = {"email": person.email, "roles": roles or ["chat.volunteer"]}
        ok(await workspace.owner.http.post(f"{workspace.path}/members", json=new))

    async def conversation(
        self,
        workspace: Workspace | None = None,
        *,
        visitor: Person | None = None,
        claimed_by: Person | None = None,
        **new: Any,
    ) -> Conversation:
        """Open a conversation, with a workspace and a visitor of its own unless they are given.

        Args:
            workspace: where.
            visitor: who opens it.
            claimed_by: who claims it at once.
            new: what goes into it, such as `subject` or `message`.
        """
        workspace = workspace or await self.workspace()
        visitor = visitor or await self.visitor()
        opened = ok(await visitor.http.post(workspace.conversations, json=new))
        conversation = Conversation(UUID(opened["id"]), workspace, visitor, claimed_by)
        if claimed_by is not None:
            ok(await claimed_by.http.post(f"{conversation.path}/claim"))
        return conversation

    async def socket(self, person: Person | None, **options: Any) -> Socket:
        """Connect a socket as somebody. It is closed with the test."""
        socket = Socket(self.server.url)
        self._sockets.append(socket)
        await socket.connect(None if person is None else person.token, **options)
        return socket

    async def close(self) -> None:
        """Close the sockets that were connected here."""
        for socket in self._sockets:
            await socket.close()
