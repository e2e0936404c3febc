"""Limits of socket events, and the address of a connection."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared
from courtyard.kernel.limits import Limits, Policy, TooManyRequests
from courtyard.kernel.realtime import SocketInput, on
from courtyard.kernel.trail import LIMITED, AuditEntryRow, Entry
from tests.conftest import ServerFactory
from tests.factories import Factory
from tests.sockets import Json, Socket

LIMITS_REACHED = Prepared(
    select(*AuditEntryRow.__table__.columns).where(AuditEntryRow.name == LIMITED).order_by(AuditEntryRow.id),
    Entry,
    across_workspaces=True,
)


class Wish(SocketInput, frozen=True):
    """A payload with a field to count by."""

    thing: str


def policy(name: str, by: str) -> Policy:
    return Policy(name=name, description="For a test.", limit="2/day", by=by)


BY_ACCOUNT = policy("test.asks_by_account", "account")
BY_THING = policy("test.asks_by_thing", "body:thing")
BY_ADDRESS = policy("test.says_by_address", "address")


@on("test.ask", permission="signed in", limits=[BY_ACCOUNT, BY_THING])
async def ask(context: ReadContext, data: Wish) -> str:
    """Ask for something."""
    del context
    return data.thing


@on("test.say", permission="signed in", limits=[BY_ADDRESS])
async def say(context: ReadContext, data: SocketInput) -> None:
    """Say something."""


async def serve(server_factory: ServerFactory, **sections: Any) -> Factory:
    server = await server_factory(limits={"enabled": True}, **sections)
    policies = {one.name: one for one in (BY_ACCOUNT, BY_THING, BY_ADDRESS)}
    server.runtime.limits._rules |= Limits(policies, server.settings, server.runtime.signer)._rules
    server.app.realtime._handlers |= {"test.ask": ask, "test.say": say}
    return Factory(server)


def code(answer: Json) -> str:
    return answer["problem"]["code"] if "problem" in answer else "ok"


async def test_an_event_has_limits_like_a_route(server_factory: ServerFactory) -> None:
    make = await serve(server_factory)
    workspace = await make.workspace()
    ada, bob, eve = workspace.owner, await make.person(), await make.person()
    mine, same, other, third = [await make.socket(person) for person in (ada, ada, bob, eve)]
    here = {"workspace": workspace.slug}

    async def asks(socket: Socket, thing: str) -> str:
        return code(await socket.call("test.ask", {**here, "thing": thing}))

    assert [await asks(mine, "a"), await asks(same, "b"), await asks(mine, "c")] == ["ok", "ok", "too_many_requests"]
    assert [await asks(other, "a"), await asks(third, "a")] == ["ok", "too_many_requests"]
    refused = (await third.call("test.ask", {**here, "thing": "a"}))["problem"]
    assert (refused["status"], refused["policy"]) == (429, BY_THING.name)
    # Told once a minute: this was the second time.
    (database,) = make.server.runtime.placement.databases()
    entries = await database.fetch(LIMITS_REACHED, {})
    here_only = [entry for entry in entries if entry.workspace_id == workspace.id]
    kept = [(msgspec.json.decode(entry.details or "")["policy"], entry.actor_id) for entry in here_only]
    assert kept == [(BY_ACCOUNT.name, ada.id), (BY_THING.name, eve.id)]
    await make.close()


def test_an_event_with_limits_documents_the_problem() -> None:
    assert TooManyRequests in ask.problems


@pytest.mark.parametrize(
    ("trusted", "address"), [(["127.0.0.1"], "198.51.100.7"), (["10.0.0.1"], "127.0.0.1"), ([], "127.0.0.1")]
)
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_connection_knows_its_address(
    transport: str, trusted: list[str], address: str, server_factory: ServerFactory
) -> None:
    make = await serve(server_factory, server={"trusted_proxies": trusted})
    person = await make.person()
    headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
    await make.socket(person, headers=headers, transports=[transport])
    (connection,) = make.server.app.realtime._connections.values()
    assert connection.address == address
    await make.close()


async def test_events_are_counted_by_that_address(server_factory: ServerFactory) -> None:
    make = await serve(server_factory)
    workspace = await make.workspace()
    codes = []
    for number in (1, 1, 1, 2):
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        socket = await make.socket(await make.person(), headers=headers)
        codes.append(code(await socket.call("test.say", {"workspace": workspace.slug})))
    assert codes == ["ok", "ok", "too_many_requests", "ok"]
    await make.close()
