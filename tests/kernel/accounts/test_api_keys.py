"""API keys: making them, what they may do, and their end."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import pytest
import socketio
from sqlalchemy import select, update

from courtyard.kernel.accounts import AccountRow, api_keys, find_api_key, has_second_factor
from courtyard.kernel.accounts.models import ApiKeyRow
from courtyard.kernel.accounts.rules import write_api_key
from courtyard.kernel.accounts.schemas.api_keys import IssuedApiKey
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, ReadUnit, UnitOfWork
from courtyard.kernel.errors import NotFound
from courtyard.kernel.http import API
from courtyard.kernel.ids import new_id
from tests.conftest import ServerFactory
from tests.credentials import set_up_app
from tests.factories import Factory, Person, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock, RunningServer
from tests.sockets import Json, Socket

READ = "chat.conversation.read"
OPEN = "chat.conversation.open"


async def new_key(person: Person, **new: Json) -> Json:
    return ok(await person.http.post("/me/api-keys", json={"name": "Importer", **new}))


def program(make: Factory, key: str) -> httpx2.AsyncClient:
    """Return a client that shows a key."""
    headers = {"Authorization": f"Bearer {key}"}
    return make.server.client(base_url=make.server.url + API, headers=headers)


class Stored(msgspec.Struct, frozen=True):
    """What is kept of a key."""

    digest: bytes
    used_at: datetime | None
    methods: list[str]


async def stored(server: RunningServer, key_id: str) -> Stored:
    columns = (getattr(ApiKeyRow, name) for name in Stored.__struct_fields__)
    statement = Prepared(select(*columns).where(ApiKeyRow.id == UUID(key_id)), Stored)
    return await ReadUnit(server.runtime.placement).one(statement)


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """Return as soon as something is so."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.01)


async def test_a_key_is_shown_once_and_kept_as_a_digest(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    issued = await new_key(person, scopes=[READ, OPEN, READ], expires_in_days=30)
    key, described = issued["key"], issued["api_key"]
    assert described["prefix"] == key[:12]
    assert described["scopes"] == [OPEN, READ]
    assert described["used_at"] is None
    assert ok(await person.http.get("/me/api-keys")) == [described]
    kept = await stored(make.server, described["id"])
    assert len(kept.digest) == 32
    assert kept.methods == ["password"]
    assert key not in (await person.http.get("/me/api-keys")).text
    notice = await mailbox.wait_for(person.email or "", "accounts.security_notice")
    assert notice.subject == "An API key was made for your account"
    assert "“Importer”" in notice.text
    assert key not in notice.text


async def test_a_program_acts_for_its_owner(make: Factory) -> None:
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    http = program(make, (await new_key(volunteer))["key"])
    assert ok(await http.get("/me"))["id"] == str(volunteer.id)
    conversation = await make.conversation(workspace)
    ok(await http.post(f"{conversation.path}/claim"))
    assert ok(await http.get(conversation.path))["staff_ids"] == [str(volunteer.id)]
    problem(await http.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")


async def test_a_key_never_changes_the_account_itself(make: Factory) -> None:
    person = await make.person()
    http = program(make, (await new_key(person))["key"])
    for method, path, body in (
        ("POST", "/me/api-keys", {"name": "Another"}),
        ("POST", "/me/totp", None),
        ("POST", "/me/passkeys/options", None),
        ("PATCH", "/me", {"name": "Eve"}),
        ("DELETE", "/me", None),
        ("POST", "/workspaces", {"slug": unique("w"), "name": "Workspace"}),
        ("POST", "/sessions/current/proof", {"by": "password", "password": "correct horse battery"}),
    ):
        problem(await http.request(method, path, json=body), 403, "session_needed")


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key[:20] + ("0" if key[20] != "0" else "1") + key[21:],
        lambda key: key[:-7],
        lambda key: key + "0",
        lambda key: key[:4],
        lambda key: key.swapcase().replace("CYK_", "cyk_"),
    ],
)
async def test_what_only_looks_like_a_key_costs_no_query(
    make: Factory, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    person = await make.person()
    key = change((await new_key(person))["key"])
    asked: list[object] = []

    async def watched(_: ReadUnit, statement: object, **__: object) -> list[object]:
        asked.append(statement)
        return []

    with monkeypatch.context() as patched:
        patched.setattr(ReadUnit, "all", watched)
        assert await find_api_key(make.server.runtime, key) is None
    assert asked == []
    refused = problem(await program(make, key).get("/me"), 401, "unauthenticated")
    assert refused["reason"] == "token_invalid"


async def test_a_key_that_nobody_has_is_refused(make: Factory) -> None:
    problem(await program(make, write_api_key(bytes(32))).get("/me"), 401, "unauthenticated")


async def test_scopes_cut_a_key_down(make: Factory) -> None:
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    conversation = await make.conversation(workspace)
    reading = program(make, (await new_key(volunteer, scopes=[READ]))["key"])
    ok(await reading.get(conversation.path))
    problem(await reading.post(f"{conversation.path}/claim"), 403, "forbidden")
    problem(await reading.get(f"{workspace.path}/members"), 403, "forbidden")
    nothing = program(make, (await new_key(volunteer, scopes=[]))["key"])
    problem(await nothing.get(conversation.path), 404, "not_found")
    # The owner goes on as before.
    ok(await volunteer.http.post(f"{conversation.path}/claim"))


async def test_scopes_cut_down_what_a_relation_gives_too(make: Factory) -> None:
    """Whoever opened a conversation may close it, which no role of theirs in the workspace says."""
    workspace, person = await make.workspace(), await make.person()
    conversation = await make.conversation(workspace, visitor=person)
    reading = program(make, (await new_key(person, scopes=[READ]))["key"])
    ok(await reading.get(conversation.path))
    problem(await reading.post(f"{conversation.path}/close"), 403, "forbidden")
    ok(await program(make, (await new_key(person))["key"]).post(f"{conversation.path}/close"))


async def test_a_scope_gives_nothing_that_the_account_has_not(make: Factory) -> None:
    workspace = await make.workspace()
    member = await make.member(workspace, "member")
    key = await new_key(member, scopes=["workspaces.workspace.edit", "workspaces.workspace.read"])
    http = program(make, key["key"])
    ok(await http.get(workspace.path))
    problem(await http.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")


async def test_a_scope_is_a_permission_that_there_is(make: Factory) -> None:
    person = await make.person()
    new = {"name": "Importer", "scopes": [READ, "chat.conversation.steal"]}
    document = problem(await person.http.post("/me/api-keys", json=new), 400, "unknown_permission")
    assert [fault["pointer"] for fault in document["errors"]] == ["/scopes/1"]
    assert ok(await person.http.get("/me/api-keys")) == []


async def test_a_key_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock))
    person = await make.person()
    key = (await new_key(person, expires_in_days=1))["key"]
    lasting = (await new_key(person))["key"]
    ok(await program(make, key).get("/me"))
    clock.move(days=1, seconds=1)
    make.server.runtime.identity.forget()
    refused = problem(await program(make, key).get("/me"), 401, "unauthenticated")
    assert refused["reason"] == "session_ended"
    ok(await program(make, lasting).get("/me"))


async def test_a_revoked_key_is_refused_at_once(make: Factory, mailbox: Mailbox) -> None:
    person, other = await make.person(), await make.person()
    issued = await new_key(person)
    http, path = program(make, issued["key"]), f"/me/api-keys/{issued['api_key']['id']}"
    ok(await http.get("/me"))
    problem(await other.http.delete(path), 404, "not_found")
    ok(await http.get("/me"))
    await mailbox.wait_for(person.email or "", "accounts.security_notice")
    ok(await person.http.delete(path))
    problem(await http.get("/me"), 401, "unauthenticated")
    assert ok(await person.http.get("/me/api-keys")) == []
    problem(await person.http.delete(path), 404, "not_found")
    notice = await mailbox.wait_for(person.email or "", "accounts.security_notice")
    assert notice.subject == "An API key of your account was revoked"


async def test_a_process_that_was_not_told_refuses_within_a_second(make: Factory) -> None:
    person = await make.person()
    issued = await new_key(person)
    http = program(make, issued["key"])
    ok(await http.get("/me"))
    unit = UnitOfWork(make.server.runtime.placement)
    await unit.update(ApiKeyRow, {"id": UUID(issued["api_key"]["id"])}, revoked_at=make.server.runtime.clock.now())
    await unit.commit()

    async def is_refused() -> bool:
        return not (await http.get("/me")).is_success

    await until(is_refused, seconds=1)


async def test_a_key_ends_with_its_account(make: Factory) -> None:
    person = await make.person()
    http = program(make, (await new_key(person))["key"])
    ok(await http.get("/me"))
    ok(await person.http.post("/me/deactivate"))
    problem(await http.get("/me"), 401, "unauthenticated")
    gone = await make.person()
    http = program(make, (await new_key(gone))["key"])
    ok(await gone.http.delete("/me"))
    problem(await http.get("/me"), 401, "unauthenticated")


async def connect(make: Factory, key: str) -> Socket:
    socket = Socket(make.server.url)
    await socket.connect(key)
    return socket


@pytest.mark.parametrize("told", [True, False])
async def test_the_sockets_of_a_revoked_key_are_cut(make: Factory, told: bool) -> None:  # noqa: FBT001
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    issued, lasting = await new_key(volunteer), await new_key(volunteer)
    socket, other = await connect(make, issued["key"]), await connect(make, lasting["key"])
    wish = {"workspace": workspace.slug, "topic": "chat.queue"}
    await socket.ok("subscribe", **wish)
    await other.ok("subscribe", **wish)
    if told:
        ok(await volunteer.http.delete(f"/me/api-keys/{issued['api_key']['id']}"))
    else:
        unit = UnitOfWork(make.server.runtime.placement)
        await unit.update(ApiKeyRow, {"id": UUID(issued["api_key"]["id"])}, revoked_at=make.server.runtime.clock.now())
        await unit.commit()

    async def is_cut() -> bool:
        return not socket.client.connected

    await until(is_cut, seconds=5)
    # Those of another key of the same account go on.
    await make.server.app.realtime._check_sessions()
    await other.ok("subscribe", **wish)
    make.server.runtime.identity.forget()
    with pytest.raises(socketio.exceptions.ConnectionError):
        await connect(make, issued["key"])
    await other.close()
    await socket.close()


async def test_scopes_hold_on_sockets_too(make: Factory) -> None:
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    conversation = await make.conversation(workspace)
    socket = await connect(make, (await new_key(volunteer, scopes=[READ]))["key"])
    await socket.ok("subscribe", workspace=workspace.slug, topic=conversation.topic)
    claim = {"workspace": workspace.slug, "conversation_id": str(conversation.id)}
    assert (await socket.call("chat.conversation.claim", claim))["problem"]["code"] == "forbidden"
    await socket.close()


async def test_the_last_use_is_noted_once_a_minute(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock, security={"access_token_seconds": 86_400}))
    person = await make.person()
    issued = await new_key(person)
    key_id, http = issued["api_key"]["id"], program(make, issued["key"])
    ok(await http.get("/me"))

    async def last_use() -> datetime | None:
        return (await stored(make.server, key_id)).used_at

    await until(last_use)
    first = await last_use()
    clock.move(seconds=50)
    make.server.runtime.identity.forget()
    ok(await http.get("/me"))
    await api_keys.note_use(make.server.runtime, UUID(key_id))
    assert await last_use() == first
    clock.move(seconds=30)
    make.server.runtime.identity.forget()
    ok(await http.get("/me"))

    async def is_noted() -> bool:
        return await last_use() != first

    await until(is_noted)
    assert ok(await person.http.get("/me/api-keys"))[0]["used_at"] is not None


async def test_a_key_counts_as_the_session_that_made_it(make: Factory) -> None:
    person = await make.person()
    before = await new_key(person)
    await set_up_app(person)
    make.server.runtime.identity.forget()
    after = await new_key(person)
    runtime = make.server.runtime
    principals = [await runtime.identity.authenticate(runtime, each["key"]) for each in (before, after)]
    assert [each.methods for each in principals] == [["api_key", "password"], ["api_key", "password", "totp"]]
    assert [has_second_factor(each.methods) for each in principals] == [False, True]
    assert all(each.by_api_key for each in principals)


async def test_an_account_has_only_so_many(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST", 3)
    person = await make.person()
    kept = [await new_key(person) for _ in range(2)]
    new = {"name": "One more"}
    answers = await asyncio.gather(*(person.http.post("/me/api-keys", json=new) for _ in range(3)))
    assert sorted(each.status_code for each in answers) == [201, 409, 409]
    ok(await person.http.delete(f"/me/api-keys/{kept[0]['api_key']['id']}"))
    await new_key(person)


async def test_a_visitor_has_no_keys(make: Factory) -> None:
    visitor = await make.visitor()
    problem(await visitor.http.post("/me/api-keys", json={"name": "Key"}), 403, "not_for_visitors")


# ---------------------------------------------------------------------------------------------------- services


async def service_account(server: RunningServer) -> UUID:
    unit, account_id = UnitOfWork(server.runtime.placement), new_id()
    now = server.runtime.clock.now()
    await unit.insert(
        AccountRow,
        id=account_id,
        kind="service",
        name="Importer",
        created_at=now,
        version=1,
        must_change_password=False,
        rights_epoch=0,
    )
    await unit.commit()
    return account_id


async def issue(server: RunningServer, account_id: UUID, **changes: Any) -> IssuedApiKey:
    context = Context(server.runtime, None, None, "test")
    wanted = {"name": "Key", "scopes": None, "expires_at": None, **changes}
    try:
        issued = await api_keys.issue(context, account_id, **wanted)
        await context.commit()
    finally:
        await context.rollback()
    return issued


async def test_the_key_of_a_service(make: Factory) -> None:
    server = make.server
    account_id = await service_account(server)
    ends = server.runtime.clock.now() + timedelta(days=1)
    issued = await issue(server, account_id, scopes=[READ], expires_at=ends)
    http = program(make, issued.key)
    assert ok(await http.get("/me"))["kind"] == "service"
    principal = await server.runtime.identity.authenticate(server.runtime, issued.key)
    assert principal.methods == ["api_key"]
    assert has_second_factor(principal.methods)
    assert principal.scopes == frozenset({READ})
    context = Context(server.runtime, None, None, "test")
    listed = await api_keys.list_of(context, account_id)
    assert [each.id for each in listed] == [issued.api_key.id]
    with pytest.raises(NotFound):
        await api_keys.revoke(context, new_id(), issued.api_key.id)
    await api_keys.revoke(context, account_id, issued.api_key.id)
    await context.commit()
    problem(await http.get("/me"), 401, "unauthenticated")


async def test_there_is_no_key_for_an_account_that_is_closed(make: Factory) -> None:
    account_id = await service_account(make.server)
    unit = UnitOfWork(make.server.runtime.placement)
    closed = update(AccountRow).where(AccountRow.id == account_id).values(disabled_at=make.server.runtime.clock.now())
    await unit.execute(Prepared(closed))
    await unit.commit()
    with pytest.raises(NotFound):
        await issue(make.server, account_id)
