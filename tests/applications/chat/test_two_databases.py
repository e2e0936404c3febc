"""Two workspaces in two databases: the chat works in both, and neither knows of the other's rows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from sqlalchemy import func, select
from typing_extensions import override

from courtyard.applications.chat.models import ConversationRow, MessageRow
from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.database import Database, Placement, Prepared
from courtyard.kernel.events import EventRow, TopicRow
from courtyard.kernel.http import IdempotencyKeyRow
from courtyard.kernel.settings import DatabaseSettings
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, Person, ok, problem
from tests.services import Databases, Kind

TABLES = (ConversationRow, MessageRow, EventRow, TopicRow, IdempotencyKeyRow)


class TwoDatabases(Placement):
    """Moves chosen workspaces into a database of their own; all others stay in the main one.

    Attributes:
        moved: who lives elsewhere.
    """

    def __init__(self, main: Database, other: Database) -> None:
        self._main, self._other = main, other
        self.moved: set[UUID] = set()

    @property
    @override
    def main(self) -> Database:
        return self._main

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        return self._other if workspace_id in self.moved else self._main

    @override
    def databases(self) -> Sequence[Database]:
        return (self._main, self._other)


class Pair:
    """A conversation in the main database and one in the other, each with its volunteer."""

    def __init__(self, make: Factory, placement: TwoDatabases) -> None:
        self.make = make
        self.placement = placement
        self.conversations: list[Conversation] = []
        self.volunteers: list[Person] = []

    async def open(self) -> None:
        for moved in (False, True):
            workspace = await self.make.workspace()
            if moved:
                self.placement.moved.add(workspace.id)
            self.volunteers.append(await self.make.member(workspace))
            self.conversations.append(await self.make.conversation(workspace, message={"text": "hello"}))

    async def rows(self, database: Database, workspace_id: UUID) -> dict[str, int]:
        """Return how many rows each table of a database has for a workspace."""
        return {
            table.__tablename__: (
                await database.fetch(
                    Prepared(
                        select(func.count()).select_from(table).where(table.workspace_id == workspace_id),
                        int,
                        across_workspaces=True,
                    ),
                    {},
                )
            )[0]
            for table in TABLES
        }


@pytest.fixture
async def pair(databases: Databases, database_kind: Kind, server_factory: ServerFactory) -> AsyncIterator[Pair]:
    main, other = (
        Database(url, DatabaseSettings())
        for url in (await databases.shared(database_kind), await databases.new(database_kind, main=False))
    )
    placement = TwoDatabases(main, other)
    # The server closes the databases of its placement.
    server = await server_factory(placement=placement)
    pair = Pair(Factory(server), placement)
    await pair.open()
    yield pair
    await pair.make.close()


async def test_the_chat_works_in_both(pair: Pair) -> None:
    for conversation, volunteer in zip(pair.conversations, pair.volunteers, strict=True):
        ok(await volunteer.http.post(f"{conversation.path}/claim"))
        headers = {"Idempotency-Key": "same-in-both"}
        for _ in range(2):
            sent = await volunteer.http.post(conversation.messages, json={"text": "How can I help?"}, headers=headers)
            assert ok(sent)["number"] == 3
        ok(await conversation.visitor.http.post(f"{conversation.path}/close"))
        items = ok(await conversation.visitor.http.get(conversation.messages))["items"]
        assert [message["text"] for message in items] == ["How can I help?", "", "hello"]
        queue = ok(await volunteer.http.get(conversation.workspace.conversations))["items"]
        assert [item["id"] for item in queue] == [str(conversation.id)]


async def test_rows_are_where_they_belong(pair: Pair) -> None:
    headers = {"Idempotency-Key": "key"}
    for conversation in pair.conversations:
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "again"}, headers=headers))
    nothing = dict.fromkeys((table.__tablename__ for table in TABLES), 0)
    main, other = pair.placement.databases()
    for conversation, home, elsewhere in zip(pair.conversations, (main, other), (other, main), strict=True):
        found = await pair.rows(home, conversation.workspace.id)
        assert found == {
            "chat_conversation": 1,
            "chat_message": 2,
            # Opened (conversation and queue), two messages.
            "event": 4,
            "event_topic": 2,
            "idempotency_key": 1,
        }
        assert await pair.rows(elsewhere, conversation.workspace.id) == nothing


async def test_the_other_database_has_no_table_of_the_main_side(pair: Pair) -> None:
    _, other = pair.placement.databases()
    with pytest.raises(Exception, match="account"):
        await other.fetch(Prepared(select(func.count()).select_from(AccountRow), int), {})


async def test_nothing_leaks_from_one_to_the_other(pair: Pair) -> None:
    first, second = pair.conversations
    for conversation, stranger in ((first, pair.volunteers[1]), (second, pair.volunteers[0])):
        own = second if conversation is first else first
        for path in (conversation.path, f"{own.workspace.conversations}/{conversation.id}"):
            problem(await stranger.http.get(path), 404, "not_found")
            problem(await stranger.http.post(f"{path}/claim"), 404, "not_found")
        assert ok(await stranger.http.get(conversation.workspace.conversations))["items"] == []


async def test_sockets_hear_both(pair: Pair) -> None:
    for conversation, volunteer in zip(pair.conversations, pair.volunteers, strict=True):
        socket = await pair.make.socket(volunteer)
        slug = conversation.workspace.slug
        subscribed = await socket.ok("subscribe", workspace=slug, topic=conversation.topic, after=0)
        assert subscribed["number"] == 2
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "live"}))
        heard = await socket.wait_for("event", 3)
        assert [event["number"] for event in heard] == [1, 2, 3]
        assert heard[2]["data"]["message"]["text"] == "live"
        assert {event["workspace_id"] for event in heard} == {str(conversation.workspace.id)}


async def test_the_sweep_looks_into_both(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no hint told of is found in each database."""
    dispatcher = pair.make.server.runtime.dispatcher
    sockets = []
    for conversation in pair.conversations:
        socket = await pair.make.socket(conversation.visitor)
        await socket.ok("subscribe", workspace=conversation.workspace.slug, topic=conversation.topic)
        sockets.append(socket)
    with monkeypatch.context() as patched:
        patched.setattr(dispatcher, "committed", lambda _: None)
        for conversation in pair.conversations:
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": "untold"}))
    assert [socket.all("event") for socket in sockets] == [[], []]
    await dispatcher.sweep()
    for socket in sockets:
        (event,) = await socket.wait_for("event")
        assert event["data"]["message"]["text"] == "untold"


async def test_both_are_used_at_once(pair: Pair) -> None:
    answers = await asyncio.gather(
        *(
            conversation.visitor.http.post(conversation.messages, json={"text": f"{turn}"})
            for turn in range(10)
            for conversation in pair.conversations
        )
    )
    numbers = sorted(ok(answer)["number"] for answer in answers)
    assert numbers == sorted([*range(2, 12)] * 2)
