"""Subscribing: what was missed, then what comes, each number once and in order."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.clients import Listener
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, Person, ok
from tests.sockets import Json, Socket

WRITERS = 8


async def send(person: Person, conversation: Conversation, text: str = "hello") -> None:
    ok(await person.http.post(conversation.messages, json={"text": text}))


async def talk(conversation: Conversation, messages: int) -> None:
    for number in range(messages):
        await send(conversation.visitor, conversation, str(number))


def wish(conversation: Conversation, **more: Json) -> dict[str, Json]:
    return {"workspace": conversation.workspace.slug, "topic": conversation.topic, **more}


def numbers(socket: Socket) -> list[int]:
    return [event["number"] for event in socket.all("event")]


async def refused(socket: Socket, event: str, status: int, code: str, **payload: Json) -> dict[str, Any]:
    answer = await socket.call(event, payload)
    assert (answer["problem"]["status"], answer["problem"]["code"]) == (status, code)
    document: dict[str, Any] = answer["problem"]
    return document


class TestReplay:
    """A conversation that was opened (1) and in which three messages were written (2, 3, 4)."""

    @pytest.fixture
    async def conversation(self, make: Factory) -> Conversation:
        conversation = await make.conversation()
        await talk(conversation, 3)
        return conversation

    @pytest.mark.parametrize(("after", "replayed"), [(0, [1, 2, 3, 4]), (2, [3, 4]), (4, []), (None, [])])
    async def test_what_was_missed_comes_first(
        self, after: int | None, replayed: list[int], make: Factory, conversation: Conversation
    ) -> None:
        socket = await make.socket(conversation.visitor)
        more = {} if after is None else {"after": after}
        subscribed = await socket.ok("subscribe", **wish(conversation, **more))
        # What is replayed arrives before the acknowledgement, or at the same time.
        assert subscribed == {"number": 4, "present": [str(conversation.visitor.id)]}
        await send(conversation.visitor, conversation)
        await socket.wait_for("event", len(replayed) + 1)
        assert numbers(socket) == [*replayed, 5]

    async def test_an_event_says_everything(self, make: Factory, conversation: Conversation) -> None:
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", **wish(conversation, after=0))
        first, second, *_ = await socket.wait_for("event", 4)
        assert set(first) == {"workspace_id", "topic", "number", "id", "name", "actor_id", "data", "created_at"}
        assert first["workspace_id"] == str(conversation.workspace.id)
        assert first["topic"] == conversation.topic
        assert first["actor_id"] == str(conversation.visitor.id)
        assert (first["name"], second["name"]) == ("chat.conversation.opened", "chat.message.sent")
        assert second["data"]["message"]["text"] == "0"

    async def test_replay_and_live_say_the_same(self, make: Factory, conversation: Conversation) -> None:
        live = await make.socket(conversation.visitor)
        await live.ok("subscribe", **wish(conversation))
        await send(conversation.visitor, conversation, 'sträng \u2028 😀 \\ " \n</script>')
        late = await make.socket(conversation.visitor)
        await late.ok("subscribe", **wish(conversation, after=4))
        assert await live.wait_for("event") == await late.wait_for("event")

    async def test_subscribing_again_begins_where_it_is_told(self, make: Factory, conversation: Conversation) -> None:
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", **wish(conversation, after=3))
        await socket.ok("subscribe", **wish(conversation, after=2))
        await send(conversation.visitor, conversation)
        await socket.wait_for("event", 4)
        assert numbers(socket) == [4, 3, 4, 5]

    async def test_a_number_that_does_not_exist(self, make: Factory, conversation: Conversation) -> None:
        socket = await make.socket(conversation.visitor)
        document = await refused(socket, "subscribe", 409, "ahead_of_log", **wish(conversation, after=5))
        assert document["number"] == 4
        await socket.ok("subscribe", **wish(conversation, after=document["number"]))

    async def test_a_replay_of_many_pages(self, make: Factory, conversation: Conversation) -> None:
        await talk(conversation, 450)
        for transport in ("websocket", "polling"):
            socket = await make.socket(conversation.visitor, transports=[transport])
            await socket.ok("subscribe", **wish(conversation, after=0))
            await socket.wait_for("event", 454)
            assert numbers(socket) == list(range(1, 455))

    async def test_too_much_was_missed(self, server_factory: ServerFactory) -> None:
        server = await server_factory(events={"replay_limit": 3})
        make = Factory(server)
        conversation = await make.conversation()
        await talk(conversation, 3)
        socket = await make.socket(conversation.visitor)
        document = await refused(socket, "subscribe", 409, "replay_too_long", **wish(conversation, after=0))
        assert document["number"] == 4
        assert numbers(socket) == []
        await socket.ok("subscribe", **wish(conversation, after=1))
        await socket.wait_for("event", 3)
        assert numbers(socket) == [2, 3, 4]
        await make.close()


class TestUnderLoad:
    async def test_no_gap_no_duplicate_no_disorder(self, make: Factory) -> None:
        """Listeners come at any moment, with any number, while eight write at once."""
        workspace = await make.workspace()
        writers = [await make.member(workspace) for _ in range(WRITERS)]
        sections = {"chat": {"capacity": WRITERS}}
        ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json={"sections": sections}))
        conversation = await make.conversation(workspace, claimed_by=writers[0])
        for writer in writers[1:]:
            ok(await writer.http.post(f"{conversation.path}/join"))
        # Opened; for each a change of the staff and what was done; and what they write.
        total = 1 + WRITERS * 2 + WRITERS * 12
        url, token, slug = make.server.url, writers[0].token, workspace.slug

        async def write(writer: Person) -> None:
            for number in range(12):
                await send(writer, conversation, f"{writer.id} {number}")

        async def listen(after: int) -> Listener:
            listener = Listener(url, token, slug, conversation.topic, after=after)
            async with listener:
                await listener.reach(total)
            return listener

        async with Listener(url, token, slug, conversation.topic) as first:
            writing = [asyncio.create_task(write(writer)) for writer in writers]
            listening = []
            for moment in (2, 10, 30, 60, 90):
                await first.reach(moment)
                listening += [asyncio.create_task(listen(after)) for after in (0, moment // 2, moment)]
            await asyncio.gather(*writing)
            listeners = await asyncio.gather(*listening)
            await first.reach(total)
        for listener in (first, *listeners):
            assert listener.faults == []
            assert listener.number == total
            assert listener.events == first.events[-len(listener.events) :]
        texts = [event["data"]["message"]["text"] for event in first.events if event["name"] == "chat.message.sent"]
        for writer in writers:
            own = [text for text in texts if text.startswith(str(writer.id))]
            assert own == [f"{writer.id} {number}" for number in range(12)]

    async def test_cut_off_again_and_again(self, make: Factory) -> None:
        conversation = await make.conversation()
        visitor = conversation.visitor
        url, slug = make.server.url, conversation.workspace.slug
        async with Listener(url, visitor.token, slug, conversation.topic) as listener:
            for number in range(60):
                await send(visitor, conversation, str(number))
                if number % 10 == 5:
                    await listener.cut()
            await listener.reach(61)
        assert listener.faults == []
        assert listener.cuts >= 3
        assert [event["number"] for event in listener.events] == list(range(1, 62))

    async def test_two_connections_of_one_account(self, make: Factory) -> None:
        conversation = await make.conversation()
        sockets = [await make.socket(conversation.visitor) for _ in range(2)]
        for socket in sockets:
            await socket.ok("subscribe", **wish(conversation, after=0))
        await sockets[0].ok(
            "chat.message.send",
            workspace=conversation.workspace.slug,
            conversation_id=str(conversation.id),
            text="to myself",
        )
        first, second = [await socket.wait_for("event", 2) for socket in sockets]
        assert first == second
        await sockets[0].close()
        await send(conversation.visitor, conversation)
        await sockets[1].wait_for("event", 3)


class TestUnsubscribe:
    async def test_nothing_comes_any_more(self, make: Factory) -> None:
        conversation = await make.conversation()
        socket, witness = [await make.socket(conversation.visitor) for _ in range(2)]
        for each in (socket, witness):
            await each.ok("subscribe", **wish(conversation, after=1))
        assert await socket.ok("unsubscribe", **wish(conversation)) is None
        await send(conversation.visitor, conversation)
        await witness.wait_for("event")
        # An event on the way would have come before this.
        await socket.ok("unsubscribe", **wish(conversation))
        assert numbers(socket) == []
        await socket.ok("subscribe", **wish(conversation, after=1))
        await socket.wait_for("event")

    async def test_the_last_one_takes_the_topic_along(self, make: Factory) -> None:
        conversation = await make.conversation()
        dispatcher = make.server.runtime.dispatcher
        before = dispatcher.topics
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", **wish(conversation))
        assert dispatcher.topics == before + 1
        await socket.ok("unsubscribe", **wish(conversation))
        assert dispatcher.topics == before
        await socket.ok("subscribe", **wish(conversation))
        await socket.close()
        async with asyncio.timeout(5):
            while dispatcher.topics > before:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

    async def test_a_failed_subscription_leaves_nothing(self, make: Factory) -> None:
        conversation = await make.conversation()
        dispatcher = make.server.runtime.dispatcher
        before = dispatcher.topics
        socket = await make.socket(conversation.visitor)
        await refused(socket, "subscribe", 409, "ahead_of_log", **wish(conversation, after=9))
        assert dispatcher.topics == before


class TestWhoMayListen:
    async def test_a_conversation(self, make: Factory) -> None:
        workspace = await make.workspace()
        conversation = await make.conversation(workspace)
        for person in (workspace.owner, await make.member(workspace), conversation.visitor):
            socket = await make.socket(person)
            await socket.ok("subscribe", **wish(conversation))
        strangers = (await make.visitor(), await make.person(), (await make.workspace()).owner)
        for person in strangers:
            socket = await make.socket(person)
            await refused(socket, "subscribe", 404, "not_found", **wish(conversation, after=0))
            assert numbers(socket) == []

    async def test_the_queue(self, make: Factory) -> None:
        workspace = await make.workspace()
        queue = {"workspace": workspace.slug, "topic": "chat.queue"}
        member = await make.socket(await make.member(workspace))
        await member.ok("subscribe", **queue)
        for person in (await make.visitor(), await make.person(), (await make.workspace()).owner):
            socket = await make.socket(person)
            await refused(socket, "subscribe", 403, "forbidden", **queue)
        conversation = await make.conversation(workspace)
        (event,) = await member.wait_for("event")
        assert event["data"]["case"]["id"] == str(conversation.id)

    async def test_a_conversation_under_the_name_of_another_workspace(self, make: Factory) -> None:
        conversation, own = await make.conversation(), await make.workspace()
        for person in (own.owner, conversation.visitor):
            socket = await make.socket(person)
            await refused(socket, "subscribe", 404, "not_found", workspace=own.slug, topic=conversation.topic)

    async def test_the_workspace_may_be_named_by_its_id(self, make: Factory) -> None:
        conversation = await make.conversation()
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", workspace=str(conversation.workspace.id), topic=conversation.topic)
        await socket.ok("unsubscribe", **wish(conversation))
        await refused(socket, "typing", 409, "not_subscribed", **wish(conversation, typing=True))

    @pytest.mark.parametrize(
        "topic", ["chat.nothing", "chat.queue:{id}", "chat.conversation", "chess.game:{id}", "accounts.account:{id}"]
    )
    async def test_a_topic_that_nobody_declares(self, topic: str, make: Factory) -> None:
        workspace = await make.workspace()
        socket = await make.socket(workspace.owner)
        topic = topic.replace("{id}", str(uuid4()))
        for event, more in (("subscribe", {}), ("typing", {"typing": True})):
            await refused(socket, event, 404, "unknown_topic", workspace=workspace.slug, topic=topic, **more)

    async def test_an_id_in_another_spelling_is_the_same_topic(self, make: Factory) -> None:
        conversation = await make.conversation()
        spelling = f"chat.conversation:{conversation.id.hex}----"
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", **wish(conversation))
        await socket.ok("unsubscribe", workspace=conversation.workspace.slug, topic=spelling)
        await refused(socket, "typing", 409, "not_subscribed", **wish(conversation, typing=True))

    async def test_an_id_that_is_none(self, make: Factory) -> None:
        conversation = await make.conversation()
        socket = await make.socket(conversation.visitor)
        topic = f"chat.conversation:{'-' * 36}"
        for event in ("subscribe", "unsubscribe"):
            await refused(socket, event, 404, "unknown_topic", workspace=conversation.workspace.slug, topic=topic)

    async def test_too_many(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(realtime={"max_subscriptions": 2}))
        workspace = await make.workspace()
        socket = await make.socket(workspace.owner)
        conversations = [await make.conversation(workspace) for _ in range(3)]
        for conversation in conversations[:2]:
            await socket.ok("subscribe", **wish(conversation))
        await refused(socket, "subscribe", 429, "too_many_subscriptions", **wish(conversations[2]))
        # The same once more is not one more.
        await socket.ok("subscribe", **wish(conversations[0]))
        await socket.ok("unsubscribe", **wish(conversations[1]))
        await socket.ok("subscribe", **wish(conversations[2]))
        await make.close()
