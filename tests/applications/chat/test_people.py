"""Who is who in a conversation: what visitors are told of the staff, and nothing beyond."""

import pytest

from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import set_roles


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def vera(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, name="Vera Vogel")


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace, vera: Person) -> Conversation:
    visitor = await make.visitor("Viktor")
    return await make.conversation(workspace, visitor=visitor, claimed_by=vera)


async def people(conversation: Conversation, person: Person) -> list[tuple[str, str, str | None]]:
    items = ok(await person.http.get(f"{conversation.path}/people"))
    # A visitor learns no more of staff than this: no address, no workspace role, no session.
    assert all(set(item) == {"account_id", "name", "role"} for item in items)
    return [(item["account_id"], item["name"], item["role"]) for item in items]


async def test_everybody_who_is_or_was_in_it(
    make: Factory, workspace: Workspace, conversation: Conversation, vera: Person
) -> None:
    susi = await make.member(workspace, "chat.supervisor", name="Susi")
    for person in (susi, workspace.owner):
        ok(await person.http.post(f"{conversation.path}/join"))
    ok(await vera.http.post(f"{conversation.path}/leave"))
    await make.member(workspace, name="Not in it")
    expected: list[tuple[str, str, str | None]] = [
        (str(conversation.visitor.id), "Viktor", "visitor"),
        (str(vera.id), "Vera Vogel", "volunteer"),
        (str(susi.id), "Susi", "supervisor"),
        (str(workspace.owner.id), "Olga", "administrator"),
    ]
    assert await people(conversation, conversation.visitor) == expected
    assert await people(conversation, vera) == expected
    ok(await set_roles(workspace, workspace.owner, vera, "member"))
    expected[1] = (str(vera.id), "Vera Vogel", None)
    assert await people(conversation, conversation.visitor) == expected
    stranger = await make.visitor()
    problem(await stranger.http.get(f"{conversation.path}/people"), 404, "not_found")


async def test_a_name_for_visitors(
    make: Factory, workspace: Workspace, conversation: Conversation, vera: Person
) -> None:
    path = f"{workspace.path}/chat/profile"
    assert ok(await vera.http.get(path)) == {"account_id": str(vera.id), "display_name": None}
    for name, shown in (("Vera", "Vera"), ("V.", "V."), (None, "Vera Vogel")):
        changed = ok(await vera.http.patch(path, json={"display_name": name}))
        assert changed == ok(await vera.http.get(path)) == {"account_id": str(vera.id), "display_name": name}
        assert (await people(conversation, conversation.visitor))[1][1] == shown
    # In another workspace they are somebody else.
    ok(await vera.http.patch(path, json={"display_name": "V."}))
    other = await make.workspace()
    await make.join(other, vera)
    elsewhere = await make.conversation(other, claimed_by=vera)
    assert (await people(elsewhere, vera))[1][1] == "Vera Vogel"
    for wrong in ("", "two\nlines", "x" * 201, 7):
        document = problem(await vera.http.patch(path, json={"display_name": wrong}), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/display_name"]
    problem(await conversation.visitor.http.patch(path, json={"display_name": "Vera"}), 403, "forbidden")
