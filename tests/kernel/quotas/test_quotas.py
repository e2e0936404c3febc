"""Quotas: how much a workspace may have, held by the database."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.quotas import Quota, QuotaExceeded, give_back, recount, set_limit, take
from courtyard.kernel.quotas.queries import load_quotas
from courtyard.kernel.quotas.rules import UNLIMITED
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import LimitSettings, SettingsError
from courtyard.kernel.workspaces.quotas import MEMBERS
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem

T = TypeVar("T")


class Shelf:
    """Things that a workspace has, as a table would hold them."""

    def __init__(self) -> None:
        self.things = 0

    async def count(self, _: ReadContext) -> int:
        return self.things


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
def runtime(make: Factory) -> Runtime:
    return make.server.runtime


class Inside:
    """The inside of a workspace."""

    def __init__(self, runtime: Runtime, workspace: Workspace) -> None:
        self._runtime = runtime
        self._workspace = workspace

    async def do(self, action: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Carry something out as an edge does."""
        access = await self._runtime.identity.access(self._runtime, None, self._workspace.slug)
        context = Context(self._runtime, None, access, "test")
        try:
            result = await action(context, *arguments)
            await context.commit()
        finally:
            await context.rollback()
        return result


@pytest.fixture
def inside(runtime: Runtime, workspace: Workspace) -> Inside:
    return Inside(runtime, workspace)


def things(default: int | None, shelf: Shelf | None = None) -> Quota:
    return Quota(
        name="test.things",
        description="Things.",
        unit="things",
        default=default,
        count=None if shelf is None else shelf.count,
    )


async def test_as_much_as_there_is_room_for(inside: Inside) -> None:
    quota = things(5)
    await inside.do(take, quota, 3)
    await inside.do(take, quota)
    with pytest.raises(QuotaExceeded) as refused:
        await inside.do(take, quota, 2)
    assert refused.value.extra == {"name": "test.things", "limit": 5, "used": 4}
    assert refused.value.status == 409
    await inside.do(take, quota)
    await inside.do(give_back, quota, 2)
    await inside.do(take, quota, 2)
    with pytest.raises(QuotaExceeded):
        await inside.do(take, quota)


async def test_nothing_is_taken_by_what_fails(inside: Inside) -> None:
    quota = things(2)

    async def fail(context: Context) -> None:
        await take(context, quota, 2)
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await inside.do(fail)
    await inside.do(take, quota, 2)


@pytest.mark.parametrize("begun", [False, True])
async def test_callers_at_once_get_exactly_as_many_as_there_is_room_for(*, begun: bool, inside: Inside) -> None:
    quota = things(5)
    if begun:
        await inside.do(take, quota, 0)
    answers = await asyncio.gather(*(inside.do(take, quota) for _ in range(12)), return_exceptions=True)
    assert Counter(type(answer) for answer in answers) == {type(None): 5, QuotaExceeded: 7}


async def test_the_use_begins_with_what_is_there(inside: Inside, shelf: Shelf) -> None:
    quota, shelf.things = things(5, shelf), 4
    await inside.do(take, quota)
    with pytest.raises(QuotaExceeded):
        await inside.do(take, quota)


async def test_one_cannot_give_back_more_than_there_is(inside: Inside) -> None:
    quota = things(2)
    await inside.do(give_back, quota, 7)
    await inside.do(take, quota)
    await inside.do(give_back, quota, 7)
    await inside.do(take, quota, 2)
    with pytest.raises(QuotaExceeded):
        await inside.do(take, quota)


async def test_without_a_limit_there_is_always_room(inside: Inside) -> None:
    quota = things(None)
    await inside.do(take, quota, 10**15)
    await inside.do(take, quota, 10**15)


async def test_an_operator_sets_a_limit_for_one_workspace(inside: Inside, make: Factory) -> None:
    quota = things(1)
    await inside.do(set_limit, quota, 3)
    await inside.do(take, quota, 3)
    with pytest.raises(QuotaExceeded) as refused:
        await inside.do(take, quota)
    assert refused.value.extra["limit"] == 3
    await inside.do(set_limit, quota, UNLIMITED)
    await inside.do(take, quota, 1_000)
    # What is there stays, and nothing more comes.
    await inside.do(set_limit, quota, None)
    with pytest.raises(QuotaExceeded):
        await inside.do(take, quota)
    other = Inside(make.server.runtime, await make.workspace())
    with pytest.raises(QuotaExceeded):
        await other.do(take, quota, 2)


async def test_a_count_repairs_the_use(inside: Inside, shelf: Shelf) -> None:
    quota = things(5, shelf)
    await inside.do(take, quota, 5)
    shelf.things = 3
    assert await inside.do(recount, quota) == 3
    await inside.do(take, quota, 2)
    uncounted = things(5)
    assert await inside.do(recount, uncounted) == 5


# ------------------------------------------------------------------------------------ members, and the list


async def listed(workspace: Workspace) -> dict[str, Any]:
    return {one["name"]: one for one in ok(await workspace.owner.http.get(f"{workspace.path}/quotas"))}


async def add(workspace: Workspace, person: Person) -> httpx2.Response:
    return await workspace.owner.http.post(
        f"{workspace.path}/members", json={"email": person.email, "roles": ["member"]}
    )


async def test_the_members_of_a_workspace_are_counted(make: Factory, workspace: Workspace) -> None:
    members = {
        "name": "workspaces.members",
        "description": MEMBERS.description,
        "unit": "members",
        "limit": None,
        "used": 1,
    }
    assert (await listed(workspace))["workspaces.members"] == members
    person = await make.member(workspace)
    assert (await listed(workspace))["workspaces.members"] == {**members, "used": 2}
    await make.join(workspace, await make.person())
    ok(await workspace.owner.http.delete(f"{workspace.path}/members/{person.id}"))
    assert (await listed(workspace))["workspaces.members"] == {**members, "used": 2}
    # Who is a member already takes no place.
    assert (await add(workspace, workspace.owner)).status_code == 409
    assert (await listed(workspace))["workspaces.members"]["used"] == 2


async def test_there_are_as_many_members_as_there_may_be(make: Factory, workspace: Workspace, inside: Inside) -> None:
    await inside.do(set_limit, MEMBERS, 3)
    people = [await make.person() for _ in range(6)]
    answers = await asyncio.gather(*(add(workspace, person) for person in people))
    assert Counter(answer.status_code for answer in answers) == {201: 2, 409: 4}
    refused = next(answer for answer in answers if answer.status_code == 409)
    document = problem(refused, 409, "quota_exceeded")
    assert {name: document[name] for name in ("name", "limit", "used")} == {
        "name": "workspaces.members",
        "limit": 3,
        "used": 3,
    }
    items = ok(await workspace.owner.http.get(f"{workspace.path}/members"))["items"]
    assert len(items) == 3


async def test_coming_and_going_at_once_is_counted_right(make: Factory, workspace: Workspace, inside: Inside) -> None:
    going = [await make.member(workspace, "member") for _ in range(6)]
    coming = [await make.person() for _ in range(6)]
    leave = [person.http.delete(f"{workspace.path}/members/{person.id}") for person in going]
    answers = await asyncio.gather(*leave, *(add(workspace, person) for person in coming))
    assert all(answer.is_success for answer in answers)
    assert ("workspaces.members", 7) in [(use.name, use.used) for use in await inside.do(load_quotas)]
    assert await inside.do(recount, MEMBERS) == 7


async def test_settings_have_a_limit_for_every_workspace(server_factory: ServerFactory) -> None:
    make = Factory(await server_factory(limits={"enabled": False, "quotas": {"workspaces.members": 2}}))
    workspace = await make.workspace()
    assert (await listed(workspace))["workspaces.members"]["limit"] == 2
    await make.member(workspace)
    problem(await add(workspace, await make.person()), 409, "quota_exceeded")
    unlimited = LimitSettings(quotas={"workspaces.members": "unlimited"})
    assert unlimited.quotas == {"workspaces.members": "unlimited"}


async def test_a_quota_that_there_is_not_cannot_be_set(server_factory: ServerFactory) -> None:
    with pytest.raises(SettingsError, match=r"limits\.quotas: there is no quota workspaces\.chairs"):
        await server_factory(limits={"quotas": {"workspaces.chairs": 2}})


async def test_two_workspaces_do_not_see_each_other(make: Factory, workspace: Workspace) -> None:
    other = await make.workspace()
    await make.member(other)
    assert (await listed(workspace))["workspaces.members"]["used"] == 1
