"""Workspaces that are moved while they are used: nothing that was acknowledged is lost, whatever ends the command."""

import asyncio

import pytest

from courtyard.kernel.database import FENCED_MESSAGE
from courtyard.kernel.relocation.copying import Copier
from courtyard.kernel.relocation.errors import CannotMove
from courtyard.kernel.relocation.mover import Mover
from tests.factories import ok
from tests.kernel.relocation.conftest import Street, Writer
from tests.services import Kind

pytestmark = pytest.mark.slow


async def test_rows_move_and_the_old_ones_go(street: Street) -> None:
    conversation = await street.conversation()
    main, url = street.make.server.runtime.placement.main.url, await street.empty_database()
    workspace_id = conversation.workspace.id
    before = await street.rows(main, workspace_id)
    await street.move(workspace_id, url)
    assert await street.rows(url, workspace_id) == before
    await street.send(conversation, "there")
    assert await street.texts(conversation) == ["there", "2", "1", "0"]
    # What work in the background takes up is not in two places.
    assert not {"mail", "task"} & {*await street.rows(main, workspace_id)}
    await street.about(workspace_id, Mover.clean)
    assert await street.rows(main, workspace_id) == {}


async def test_there_and_back_again(street: Street) -> None:
    conversation = await street.conversation()
    workspace_id, url = conversation.workspace.id, await street.empty_database()
    await street.move(workspace_id, url)
    with pytest.raises(CannotMove, match="--clean"):
        await street.move(workspace_id, None)
    await street.about(workspace_id, Mover.clean)
    await street.send(conversation, "there")
    await street.move(workspace_id, None)
    await street.send(conversation, "back")
    await street.about(workspace_id, Mover.clean)
    assert await street.texts(conversation) == ["back", "there", "2", "1", "0"]
    assert await street.rows(url, workspace_id) == {}


async def test_clients_write_meanwhile_and_nothing_is_lost(street: Street) -> None:
    conversation = await street.conversation(20)
    other = await street.conversation()
    url = await street.empty_database()
    async with (
        Writer(street, conversation, "a") as writer,
        Writer(street, conversation, "b") as second,
        Writer(street, other, "other") as neighbour,
    ):
        await street.move(conversation.workspace.id, url)
    texts = await street.texts(conversation)
    assert sorted(texts) == sorted([*writer.sent, *second.sent, *(f"{number}" for number in range(20))])
    assert max(writer.refused_seconds, second.refused_seconds) < 10
    assert neighbour.refused == []
    assert len(await street.texts(other)) == 3 + len(neighbour.sent)


async def test_what_others_are_told_is_told_once(street: Street) -> None:
    """Events that are copied happen to nobody anew, and what waits to be told waits in one place."""
    conversation = await street.conversation()
    workspace = conversation.workspace
    endpoints = f"{workspace.path}/webhooks/endpoints"
    new = {"url": "https://receiver.invalid/", "events": ["chat.message.*"]}
    endpoint = ok(await workspace.owner.http.post(endpoints, json=new))["endpoint"]
    deliveries = f"{endpoints}/{endpoint['id']}/deliveries"

    async def told() -> list[str]:
        return [each["event_id"] for each in ok(await workspace.owner.http.get(deliveries))["items"]]

    await street.send(conversation, "before")
    async with asyncio.timeout(10):
        while len(await told()) < 1:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.05)
    before = await told()
    for url in (await street.empty_database(), None):
        await street.move(workspace.id, url)
        await street.make.server.app.webhooks.turn()
        assert await told() == before
        await street.about(workspace.id, Mover.clean)
    await street.send(conversation, "after")
    await street.make.server.app.webhooks.turn()
    assert len(await told()) == 2


@pytest.mark.parametrize("step", ["copy", "drain", "merge"])
async def test_a_command_that_dies_is_gone_on_with(street: Street, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = await street.conversation()
    workspace_id, url = conversation.workspace.id, await street.empty_database()
    with monkeypatch.context() as patched:
        whole = getattr(Copier, step)

        async def dies(self: Copier, *arguments: object) -> object:
            await whole(self, *arguments)
            raise KeyboardInterrupt

        patched.setattr(Copier, step, dies)
        with pytest.raises(KeyboardInterrupt):
            await street.move(workspace_id, url)
    if step != "merge":
        await street.send(conversation, "meanwhile")
    await street.move(workspace_id, url)
    await street.send(conversation, "there")
    texts = await street.texts(conversation)
    assert texts == ["there", *(["meanwhile"] if step != "merge" else []), "2", "1", "0"]
    await street.about(workspace_id, Mover.clean)


async def test_it_can_be_rolled_back_until_it_has_switched(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = await street.conversation()
    workspace_id, url = conversation.workspace.id, await street.empty_database()

    async def dies(_: Mover) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Mover, "_switch", dies)
        with pytest.raises(KeyboardInterrupt):
            await street.move(workspace_id, url)
    await street.about(workspace_id, Mover.roll_back)
    assert await street.rows(url, workspace_id) == {}
    await street.send(conversation, "here")
    await street.move(workspace_id, url)
    with pytest.raises(CannotMove, match="move it back"):
        await street.about(workspace_id, Mover.roll_back)
    assert await street.texts(conversation) == ["here", "2", "1", "0"]


async def test_a_process_that_has_not_followed_cannot_write_into_the_old_place(street: Street) -> None:
    conversation = await street.conversation()
    await street.move(conversation.workspace.id, await street.empty_database())
    main = street.make.server.runtime.placement.main
    connection = await main.writers.acquire()
    try:
        with pytest.raises(Exception, match="moved"):
            await connection.execute("UPDATE chat_message SET text = 'late'", ())
    finally:
        main.writers.release(connection)
    assert FENCED_MESSAGE


async def test_a_copy_that_differs_is_refused(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = await street.conversation()
    url = await street.empty_database()
    whole = Copier.copy

    async def loses(self: Copier) -> None:
        await whole(self)
        async with self.writing() as connection:
            await connection.exec_driver_sql("DELETE FROM chat_message WHERE number = 2")

    monkeypatch.setattr(Copier, "copy", loses)
    with pytest.raises(CannotMove, match="chat_message: 3 rows there, 2 here"):
        await street.move(conversation.workspace.id, url)
    await street.send(conversation, "still here")


async def test_two_names_of_one_database(street: Street) -> None:
    if street.kind == "sqlite":
        pytest.skip("a path has one form")
    conversation = await street.conversation()
    url = await street.empty_database()
    await street.move(conversation.workspace.id, url)
    await street.about(conversation.workspace.id, Mover.clean)
    before = await street.rows(url, conversation.workspace.id)
    with pytest.raises(CannotMove, match="already"):
        await street.move(conversation.workspace.id, f"{url}?application_name=other")
    assert await street.rows(url, conversation.workspace.id) == before


@pytest.mark.services
async def test_from_one_kind_to_the_other_and_back(street: Street) -> None:
    other: Kind = "postgresql" if street.kind == "sqlite" else "sqlite"
    conversation = await street.conversation()
    workspace_id, url = conversation.workspace.id, await street.empty_database(other)
    async with Writer(street, conversation, "a") as writer:
        await street.move(workspace_id, url)
    await street.about(workspace_id, Mover.clean)
    await street.move(workspace_id, None)
    await street.about(workspace_id, Mover.clean)
    await street.send(conversation, "back")
    texts = await street.texts(conversation)
    assert sorted(texts) == sorted(["back", *writer.sent, "0", "1", "2"])
