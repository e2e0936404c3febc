"""What a request leaves in the log: who did what, from what to what, and nothing that is secret."""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import msgspec
import pytest
from sqlalchemy import select

from courtyard.kernel.accounts.limits import LOGIN_BY_EMAIL
from courtyard.kernel.audit.queries import Filters
from courtyard.kernel.context import Context
from courtyard.kernel.database import INSTALLATION, Database, Prepared, ReadUnit
from courtyard.kernel.http import API
from courtyard.kernel.limits import declared_policies
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.trail import AuditEntryRow, Entry, Origin
from courtyard.server import KERNEL
from tests.applications.chat.test_two_databases import TwoDatabases
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, Workspace, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import RunningServer
from tests.services import Databases, Kind

COLUMNS = AuditEntryRow.__table__.columns
ALL = Prepared(select(*COLUMNS).order_by(AuditEntryRow.id), Entry, across_workspaces=True)


async def stored(server: RunningServer, request_id: str) -> list[Entry]:
    """Return what a request has left, in any workspace and database."""
    statement = Prepared(
        select(*COLUMNS).where(AuditEntryRow.request_id == request_id).order_by(AuditEntryRow.id),
        Entry,
        across_workspaces=True,
    )
    databases = server.runtime.placement.databases()
    return [entry for database in databases for entry in await database.fetch(statement, {})]


def request_of(entry: Entry) -> dict[str, Any]:
    assert entry.request is not None
    part: dict[str, Any] = msgspec.json.decode(entry.request)
    return part


def state(json: str | None) -> dict[str, Any]:
    assert json is not None
    decoded: dict[str, Any] = msgspec.json.decode(json)
    return decoded


async def test_a_change_says_who_did_what_from_what_to_what(server: RunningServer, make: Factory) -> None:
    person = await make.person("Ada")
    answer = await person.http.patch("/me?colour=red", json={"name": "Countess"}, headers={"User-Agent": "tests"})
    ok(answer)
    (entry,) = await stored(server, answer.headers["x-request-id"])
    assert (entry.name, entry.action) == ("accounts:account:updated", "updated")
    assert (entry.actor_kind, entry.actor_id, entry.origin) == ("person", person.id, "http")
    assert (entry.object_type, entry.object_id) == ("account", str(person.id))
    assert entry.workspace_id == INSTALLATION
    assert (state(entry.before), state(entry.after)) == (
        {"name": "Ada", "version": 1},
        {"name": "Countess", "version": 2},
    )
    assert entry.address == "127.0.0.1"
    request = request_of(entry)
    assert (request["method"], request["url"]) == ("PATCH", "/api/v1/me?colour=red")
    assert (request["body"], request["arguments"]) == ({"name": "Countess"}, {"colour": "red"})
    assert request["headers"]["user-agent"] == "tests"
    assert request["headers"]["authorization"] == "[redacted]"


async def test_several_changes_of_one_request_share_its_description(server: RunningServer, make: Factory) -> None:
    owner = await make.person()
    answer = await owner.http.post("/workspaces", json={"slug": unique("w"), "name": "W"})
    workspace_id = UUID(ok(answer)["id"])
    first, second, third = await stored(server, answer.headers["x-request-id"])
    assert [first.name, second.name, third.name] == [
        "workspaces:workspace:created",
        "workspaces:membership:created",
        "workspaces:role_grant:created",
    ]
    # All are about the workspace that is being made.
    assert {each.workspace_id for each in (first, second, third)} == {workspace_id}
    assert (second.object_id, second.request, second.request_entry_id) == (str(owner.id), None, first.id)
    path = f"/workspaces/{workspace_id}/audit/{second.id}"
    assert ok(await owner.http.get(path))["request"] == request_of(first)


async def test_members_come_change_and_go(server: RunningServer, make: Factory) -> None:
    workspace = await make.workspace()
    member = await make.member(workspace, "member")
    path = f"{workspace.path}/members/{member.id}"
    ok(await workspace.owner.http.patch(path, json={"roles": ["chat.volunteer"]}))
    ok(await workspace.owner.http.delete(path))
    query = {"object_type": "membership", "object_id": str(member.id)}
    items = ok(await workspace.owner.http.get(f"{workspace.path}/audit", params=query))["items"]
    assert [item["name"] for item in items] == [
        "workspaces:membership:deleted",
        "workspaces:role:changed",
        "workspaces:membership:created",
    ]
    removed, changed, _ = items
    detail = ok(await workspace.owner.http.get(f"{workspace.path}/audit/{changed['id']}"))
    assert detail["details"] == {"before": ["member"], "after": ["chat.volunteer"]}
    detail = ok(await workspace.owner.http.get(f"{workspace.path}/audit/{removed['id']}"))
    gone = {change["column"]: (change["before"], change["after"]) for change in detail["changes"]}
    assert set(gone) == {"workspace_id", "account_id", "version", "created_at", "suspended_at"}
    query = {"object_type": "role_grant"}
    items = ok(await workspace.owner.http.get(f"{workspace.path}/audit", params=query))["items"]
    assert [item["action"] for item in items] == ["deleted", "created", "deleted", "created", "created"]
    assert server.runtime is make.server.runtime


async def test_a_refused_change_leaves_no_entry(server: RunningServer, make: Factory) -> None:
    workspace = await make.workspace()
    answer = await workspace.owner.http.delete(f"{workspace.path}/members/{workspace.owner.id}")
    problem(answer, 409, "last_owner")
    assert await stored(server, answer.headers["x-request-id"]) == []


async def test_a_change_that_changes_nothing_leaves_no_entry(server: RunningServer, make: Factory) -> None:
    person = await make.person("Ada")
    answer = await person.http.patch("/me", json={})
    assert await stored(server, answer.headers["x-request-id"]) == []
    assert ok(answer)["version"] == 1


# ------------------------------------------------------------------------------------------ events and refusals


async def test_sessions_that_begin_and_end(server: RunningServer, make: Factory) -> None:
    person = await make.person()
    login = await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD})
    (entry,) = await stored(server, login.headers["x-request-id"])
    assert (entry.name, entry.action, entry.object_type) == ("accounts:session:opened", "noted", "session")
    # Nobody was signed in when it came, and yet it is known who it was.
    assert (entry.actor_kind, entry.actor_id) == ("person", person.id)
    assert "body" not in request_of(entry)
    headers = {"Authorization": f"Bearer {ok(login)['access_token']}"}
    logout = await make.nobody.delete("/sessions/current", headers=headers)
    (entry,) = await stored(server, logout.headers["x-request-id"])
    assert (entry.name, entry.actor_id) == ("accounts:session:ended", person.id)


async def test_a_refused_login_is_kept_with_the_account_and_nothing_that_was_typed(
    server: RunningServer, make: Factory
) -> None:
    person = await make.person()
    answer = await make.nobody.post("/sessions", json={"email": person.email, "password": "kanarienvogel"})
    problem(answer, 401, "wrong_credentials")
    (entry,) = await stored(server, answer.headers["x-request-id"])
    assert (entry.name, entry.action, entry.actor_kind) == ("accounts:login:failed", "refused", "nobody")
    assert (entry.object_type, entry.object_id, entry.details) == ("account", str(person.id), None)
    assert "body" not in request_of(entry)
    assert person.email is not None
    assert person.email not in msgspec.json.encode(entry).decode()


async def test_of_an_unknown_address_a_digest_is_kept(server: RunningServer, make: Factory) -> None:
    digests = []
    for typed in ("My-Password@example.org", "my-password@EXAMPLE.org", "other@example.org"):
        answer = await make.nobody.post("/sessions", json={"email": typed, "password": "x"})
        (entry,) = await stored(server, answer.headers["x-request-id"])
        assert (entry.object_id, entry.actor_id) == (None, None)
        assert "example.org" not in msgspec.json.encode(entry).decode().lower()
        digests.append(state(entry.details)["address_digest"])
    assert digests[0] == digests[1] != digests[2]


async def test_a_refresh_token_that_is_shown_again(server: RunningServer, make: Factory) -> None:
    person = await make.person()
    shown = {"refresh_token": person.login["refresh_token"]}
    renewed = ok(await make.nobody.post("/sessions/refresh", json=shown))
    # The token before the present one is good for a moment more; that before it is not.
    ok(await make.nobody.post("/sessions/refresh", json={"refresh_token": renewed["refresh_token"]}))
    answer = await make.nobody.post("/sessions/refresh", json=shown)
    problem(answer, 401, "refresh_token_reused")
    ended, reused = await stored(server, answer.headers["x-request-id"])
    assert (ended.name, ended.object_id) == ("accounts:session:ended", reused.object_id)
    assert (reused.name, state(reused.details)) == ("accounts:session:reused", {"account_id": str(person.id)})
    assert person.login["refresh_token"] not in msgspec.json.encode([ended, reused]).decode()


@pytest.mark.parametrize("change", [False, True])
async def test_a_refused_permission_is_kept_once_a_minute(
    server: RunningServer, make: Factory, *, change: bool
) -> None:
    workspace = await make.workspace()
    member = await make.member(workspace, "member")

    async def ask() -> list[Entry]:
        if change:
            answer = await member.http.patch(workspace.path, json={"name": "Mine"})
        else:
            answer = await member.http.get(f"{workspace.path}/audit")
        problem(answer, 403, "forbidden")
        return await stored(server, answer.headers["x-request-id"])

    (entry,) = await ask()
    assert (entry.name, entry.action, entry.workspace_id) == (
        "access:permission:refused",
        "refused",
        workspace.id,
    )
    assert (entry.actor_kind, entry.actor_id) == ("person", member.id)
    permission = "workspaces.workspace.edit" if change else "audit.entry.read"
    assert state(entry.details) == {"permission": permission, "held_back": 0}
    assert await ask() == []


async def test_a_limit_that_is_reached_is_kept_once_a_minute(server_factory: ServerFactory) -> None:
    policies = {**dict.fromkeys(declared_policies(KERNEL), "100000/minute"), LOGIN_BY_EMAIL.name: "1/minute"}
    server = await server_factory(limits={"enabled": True, "policies": policies})
    make = Factory(server)
    typed = {"email": f"{unique('nobody')}@example.org", "password": "kanarienvogel"}
    kept = []
    for status in (401, 429, 429):
        answer = await make.nobody.post("/sessions", json=typed)
        assert answer.status_code == status
        kept.append(await stored(server, answer.headers["x-request-id"]))
    _, (entry,), again = kept
    assert again == []
    assert (entry.name, entry.action, entry.actor_kind) == ("access:limit:reached", "refused", "nobody")
    assert state(entry.details) == {"policy": LOGIN_BY_EMAIL.name, "held_back": 0}
    assert (request_of(entry)["method"], request_of(entry)["url"]) == ("POST", "/api/v1/sessions")
    assert "body" not in request_of(entry)
    assert typed["email"] not in msgspec.json.encode(entry).decode()


async def test_a_refused_socket_event_is_kept(make: Factory, server: RunningServer) -> None:
    workspace = await make.workspace()
    stranger = await make.person()
    socket = await make.socket(stranger)
    answer = await socket.call("subscribe", {"workspace": workspace.slug, "topic": "chat.queue"})
    assert answer["problem"]["code"] == "forbidden"
    (entry,) = await stored(server, answer["problem"]["request_id"])
    assert (entry.name, entry.origin, entry.actor_id) == ("access:permission:refused", "socket", stranger.id)
    assert (request_of(entry)["method"], request_of(entry)["url"]) == ("EVENT", "subscribe")
    assert request_of(entry)["body"]["topic"] == "chat.queue"
    assert entry.address == "127.0.0.1"


async def test_a_note_goes_with_its_change(server: RunningServer, make: Factory) -> None:
    person = await make.person()

    async def note(*, commits: bool) -> list[Entry]:
        request_id = uuid4().hex
        context = Context(server.runtime, None, None, request_id, Origin("task"))
        context.note("audit:log:exported", object_type="account", object_id=str(person.id), token="kanarienvogel")
        await (context.commit() if commits else context.rollback())
        return await stored(server, request_id)

    assert await note(commits=False) == []
    (entry,) = await note(commits=True)
    assert (entry.actor_kind, entry.origin, entry.request) == ("task", "task", None)
    assert state(entry.details) == {"token": "[redacted]"}
    with pytest.raises(ValueError, match="no part declares"):
        Context(server.runtime, None, None, "").note("audit:log:forgotten")


# -------------------------------------------------------------------------------------------------- secrets


class Canary:
    """A secret in every place of a request that may hold one."""

    def __init__(self) -> None:
        self.secret = f"kanarienvogel{uuid4().hex}"
        self.query = f"?access_token={self.secret}&Password={self.secret}&note=Bearer%20{self.secret}"
        self.headers = {
            "Idempotency-Key": self.secret,
            "X-Api-Key": self.secret,
            "X-Forwarded-Authorization": self.secret,
            "X-Note": f"see Bearer {self.secret}",
            "Referer": f"https://ada:{self.secret}@example.org/",
        }

    async def post(self, client: httpx2.AsyncClient, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        return ok(await client.post(f"{path}{self.query}", json=body, headers=self.headers))


async def the_log(server: RunningServer) -> str:
    rows = await server.runtime.placement.main.fetch(ALL, {})
    return b"".join(msgspec.json.encode(row) for row in rows).decode()


def number(code: str) -> re.Pattern[str]:
    """Return what finds six digits that stand for themselves, not those within an id, a digest or a time."""
    return re.compile(rf"(?<![\w.]){code}(?!\w)")


async def test_no_secret_is_in_any_entry(server: RunningServer, make: Factory) -> None:
    canary = Canary()
    email = f"{unique('person')}@example.org"
    await make.account(email, "Ada", canary.secret)
    credentials = {"email": email, "password": canary.secret}
    login = await canary.post(make.nobody, "/sessions", **credentials, cookies=True)
    secrets = {value for name, value in make.nobody.cookies.items() if name.startswith("courtyard_")}
    changing = {**canary.headers, "X-CSRF-Token": login["csrf_token"]}
    ok(await make.nobody.patch(f"/me{canary.query}", json={"name": "Countess"}, headers=changing))
    new = {"slug": unique("w"), "name": "W"}
    ok(await make.nobody.post(f"/workspaces{canary.query}", json=new, headers=changing))
    problem(
        await make.nobody.post(f"/sessions{canary.query}", json={**credentials, "password": f"{canary.secret}x"}),
        401,
        "wrong_credentials",
    )
    make.nobody.cookies.clear()
    whole = await the_log(server)
    assert "Countess" in whole
    assert secrets
    for secret in (canary.secret, login["csrf_token"], PASSWORD, "$argon2", *secrets):
        assert secret not in whole


async def test_no_secret_of_a_mail_is_in_any_entry(server: RunningServer, make: Factory, mailbox: Mailbox) -> None:
    canary = Canary()
    nobody, secrets, codes = make.nobody, {canary.secret, PASSWORD, "$argon2"}, set()

    async def mailed(email: str, template: str) -> tuple[str, str | None]:
        """Return token and code of a mail, both of which are secret."""
        mail = await mailbox.wait_for(email, template)
        token, code = mail.link.rpartition("/")[2], None
        secrets.add(token)
        if template != "accounts.password_reset":
            code = mail.code
            codes.add(code)
        return token, code

    async def register(by: str) -> tuple[str, str]:
        email = f"{unique('person')}@example.org"
        new = {"email": email, "password": canary.secret, "name": "Ada"}
        challenge_id = (await canary.post(nobody, "/accounts", **new))["challenge_id"]
        token, code = await mailed(email, "accounts.confirm_registration")
        shown = {"token": token} if by == "link" else {"challenge_id": challenge_id, "code": code}
        account = await canary.post(nobody, "/accounts/confirm", by=by, **shown)
        return email, account["id"]

    registered = [await register(by) for by in ("link", "code")]
    email, account_id = registered[1]

    key = {"browser_key": f"{canary.secret}-browser"}
    started = await canary.post(nobody, "/sessions/email", email=email, **key)
    _, code = await mailed(email, "accounts.login")
    proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code}
    login = await canary.post(nobody, "/sessions/email/proof", **proof, **key)
    secrets |= {login["access_token"], login["refresh_token"], login["csrf_token"]}

    person = make.signed_in(login)
    await canary.post(person.http, "/sessions/current/proof", by="password", password=canary.secret)
    changed = f"{canary.secret} changed"
    await canary.post(person.http, "/me/password", current_password=canary.secret, password=changed)
    other = f"{unique('person')}@example.org"
    await canary.post(person.http, "/me/email", email=other)
    token, _ = await mailed(other, "accounts.confirm_email")
    await canary.post(nobody, "/me/email/confirm", by="link", token=token)
    await canary.post(nobody, "/password-resets", email=other)
    token, _ = await mailed(other, "accounts.password_reset")
    await canary.post(nobody, "/password-resets/complete", token=token, password=f"{canary.secret} reset")

    about = Prepared(
        select(AuditEntryRow.name).where(AuditEntryRow.object_id == account_id).order_by(AuditEntryRow.id),
        str,
        across_workspaces=True,
    )
    assert await server.runtime.placement.main.fetch(about, {}) == [
        "accounts:account:created",
        "accounts:password:changed",
        "accounts:email:changed",
        "accounts:password:changed",
    ]
    whole = await the_log(server)
    assert len(secrets) > len(codes) > 2
    for secret in secrets:
        assert secret not in whole
    for code in codes:
        assert not number(code).search(whole)


# ------------------------------------------------------------------------------------------------------- API


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    workspace = await make.workspace()
    for number in range(7):
        ok(await workspace.owner.http.patch(workspace.path, json={"name": f"Name {number}"}))
    return workspace


async def names(person: Person, workspace: Workspace, **query: Any) -> list[str]:
    items = ok(await person.http.get(f"{workspace.path}/audit", params=query))["items"]
    return [item["name"] for item in items]


async def test_pages_follow_one_another_newest_first(workspace: Workspace) -> None:
    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 4}
    while True:
        page = ok(await workspace.owner.http.get(f"{workspace.path}/audit", params=query))
        seen += page["items"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert [one["action"] for one in seen] == ["updated"] * 7 + ["created"] * 3
    assert [one["id"] for one in seen] == sorted((one["id"] for one in seen), reverse=True)


async def test_filters(workspace: Workspace, make: Factory) -> None:
    owner = workspace.owner
    assert len(await names(owner, workspace, action="updated")) == 7
    assert await names(owner, workspace, name="workspaces:membership:created") == ["workspaces:membership:created"]
    assert await names(owner, workspace, actor=str(uuid4())) == []
    assert len(await names(owner, workspace, actor=str(owner.id))) == 10
    assert await names(owner, workspace, object_type="membership") == ["workspaces:membership:created"]
    items = ok(await owner.http.get(f"{workspace.path}/audit"))["items"]
    third, newest = items[2]["created_at"], items[0]["created_at"]
    assert len(await names(owner, workspace, since=third)) == 3
    assert len(await names(owner, workspace, until=third)) == 7
    assert len(await names(owner, workspace, since=third, until=newest, action="updated")) == 2
    for extreme in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        await names(owner, workspace, since=extreme)
        await names(owner, workspace, until=extreme)
    stranger = await make.workspace()
    problem(await stranger.owner.http.get(f"{stranger.path}/audit/{items[0]['id']}"), 404, "not_found")


async def test_an_export_is_complete_and_noted(workspace: Workspace, server: RunningServer) -> None:
    answer = await workspace.owner.http.get(f"{workspace.path}/audit/export", params={"action": "updated"})
    ok_lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert f'filename="audit-{workspace.slug}.ndjson"' in answer.headers["content-disposition"]
    assert [line["after"]["name"] for line in ok_lines] == [f"Name {number}" for number in reversed(range(7))]
    (entry,) = await stored(server, answer.headers["x-request-id"])
    assert (entry.name, state(entry.details)) == (
        "audit:log:exported",
        {"format": "ndjson", "filters": {"action": "updated"}},
    )
    answer = await workspace.owner.http.get(f"{workspace.path}/audit/export", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    # It has its own note already: the lots are read after the commit.
    assert [row["name"] for row in rows[:2]] == ["audit:log:exported", "audit:log:exported"]
    assert len(rows) == 12


async def test_a_long_export_is_made_lot_by_lot(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, server: RunningServer
) -> None:
    from courtyard.kernel.audit import queries  # noqa: PLC0415

    monkeypatch.setattr(queries, "EXPORT_LOT", 2)
    units = [ReadUnit(server.runtime.placement, workspace.id)]
    lots = [len(lot) async for lot in queries.lots(units, Filters())]
    assert lots == [2, 2, 2, 2, 2]


# ------------------------------------------------------------------------------------------- two databases


@pytest.fixture
async def moved(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory
) -> AsyncIterator[tuple[Factory, Workspace]]:
    """A workspace in a database of its own."""
    main, other = (
        Database(url, DatabaseSettings())
        for url in (await databases.shared(database_kind), await databases.new(database_kind, main=False))
    )
    placement = TwoDatabases(main, other)
    make = Factory(await server_factory(placement=placement))
    workspace = await make.workspace()
    placement.moved.add(workspace.id)
    yield make, workspace
    await make.close()


async def test_a_log_that_is_in_two_databases_is_read_as_one(moved: tuple[Factory, Workspace]) -> None:
    make, workspace = moved
    main, other = make.server.runtime.placement.databases()
    await make.member(workspace, "member")
    stranger = await make.person()
    # Of the main side, and then a note of the workspace.
    problem(await stranger.http.get(workspace.path), 403, "forbidden")
    ok(await workspace.owner.http.patch(workspace.path, json={"name": "Moved"}))
    mine = select(AuditEntryRow.id).where(AuditEntryRow.workspace_id == workspace.id)
    found = Prepared(mine, UUID, across_workspaces=True)
    assert [len(await database.fetch(found, {})) for database in (main, other)] == [6, 1]
    assert await names(workspace.owner, workspace, limit=3) == [
        "workspaces:workspace:updated",
        "access:permission:refused",
        "workspaces:role_grant:created",
    ]
    first = ok(await workspace.owner.http.get(f"{workspace.path}/audit", params={"limit": 2}))
    second = ok(await workspace.owner.http.get(f"{workspace.path}/audit", params={"limit": 9, "cursor": first["next"]}))
    assert len(first["items"] + second["items"]) == 7
    for item in first["items"]:
        assert ok(await workspace.owner.http.get(f"{workspace.path}/audit/{item['id']}"))["entry"] == item
    exported = await workspace.owner.http.get(f"{workspace.path}/audit/export")
    assert len(exported.content.splitlines()) == 8


async def test_an_export_may_take_longer_than_a_request(
    make: Factory, server_factory: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has the time of a request, the whole has not."""
    from courtyard.kernel.audit import queries  # noqa: PLC0415

    workspace = await make.workspace()
    slow = await server_factory(server={"request_timeout_seconds": 0.5})
    newest = queries.newest

    async def slowly(*arguments: Any, **options: Any) -> list[Any]:
        await asyncio.sleep(0.2)
        return await newest(*arguments, **options)

    monkeypatch.setattr(queries, "EXPORT_LOT", 1)
    monkeypatch.setattr(queries, "newest", slowly)
    client = slow.client(base_url=slow.url + API, headers=workspace.owner.headers)
    answer = await client.get(f"{workspace.path}/audit/export")
    assert len(answer.content.splitlines()) == 4


async def test_a_running_server_seals_within_seconds(workspace: Workspace) -> None:
    items = ok(await workspace.owner.http.get(f"{workspace.path}/audit"))["items"]

    async def seal_of(item: dict[str, Any]) -> dict[str, Any] | None:
        detail = ok(await workspace.owner.http.get(f"{workspace.path}/audit/{item['id']}"))
        found: dict[str, Any] | None = detail["seal"]
        return found

    numbers = []
    async with asyncio.timeout(20):
        for item in reversed(items):
            while (seal := await seal_of(item)) is None:  # noqa: ASYNC110 - the server works beside the test
                await asyncio.sleep(0.05)
            numbers.append(seal["number"])
    assert numbers == [*range(1, 11)]
