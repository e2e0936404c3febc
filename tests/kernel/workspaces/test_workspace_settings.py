"""What can be set in a workspace."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from courtyard.kernel.languages import LANGUAGES
from courtyard.kernel.schema import WorkspaceSection
from courtyard.kernel.workspaces.errors import InvalidSettings
from courtyard.kernel.workspaces.rules.settings import change_settings, merge, read_settings
from courtyard.kernel.workspaces.schemas.workspaces import GeneralSettings
from tests.factories import Factory, Workspace, ok, problem

DEFAULTS = {
    "language": "en",
    "time_zone": "UTC",
    "require_second_factor": "nobody",
    "invitation_domains": [],
}

CHAT = {"chat": {"capacity": 5, "opening_hours": None}}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


def path(workspace: Workspace) -> str:
    return f"{workspace.path}/settings"


async def test_what_nobody_has_set_has_its_default(make: Factory, workspace: Workspace) -> None:
    member = await make.member(workspace, "member")
    answer = await member.http.get(path(workspace))
    assert ok(answer) == {"version": 1, "sections": {"workspaces": DEFAULTS, **CHAT}}
    assert answer.headers["etag"] == '"1"'


async def test_settings_are_merged(workspace: Workspace) -> None:
    http = workspace.owner.http
    first = ok(await http.patch(path(workspace), json={"sections": {"workspaces": {"language": "fi"}}}))
    assert first == {"version": 2, "sections": {"workspaces": {**DEFAULTS, "language": "fi"}, **CHAT}}
    second = {"workspaces": {"time_zone": "Europe/Helsinki", "invitation_domains": ["example.org"]}}
    changed = ok(await http.patch(path(workspace), json={"sections": second}))
    assert changed["sections"]["workspaces"] == {
        **DEFAULTS,
        "language": "fi",
        "time_zone": "Europe/Helsinki",
        "invitation_domains": ["example.org"],
    }
    assert ok(await http.get(path(workspace))) == changed
    back = ok(await http.patch(path(workspace), json={"sections": {"workspaces": {"language": None}}}))
    assert back["sections"]["workspaces"]["language"] == "en"
    assert ok(await http.patch(path(workspace), json={"sections": {"workspaces": None}}))["sections"] == {
        "workspaces": DEFAULTS,
        **CHAT,
    }


async def test_an_empty_change_makes_no_version(workspace: Workspace) -> None:
    empty: tuple[dict[str, Any], ...] = ({}, {"workspaces": {}})
    for sections in empty:
        assert ok(await workspace.owner.http.patch(path(workspace), json={"sections": sections}))["version"] == 1


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"nothing": {}}, "/sections/nothing"),
        ({"workspaces": {"nothing": 1}}, "/sections/workspaces/nothing"),
        ({"workspaces": {"language": "xx"}}, "/sections/workspaces/language"),
        ({"workspaces": {"language": 7}}, "/sections/workspaces/language"),
        ({"workspaces": {"time_zone": "Middle/Earth"}}, "/sections/workspaces/time_zone"),
        ({"workspaces": {"time_zone": "../../etc/passwd"}}, "/sections/workspaces/time_zone"),
        ({"workspaces": {"require_second_factor": "some"}}, "/sections/workspaces/require_second_factor"),
        ({"workspaces": {"invitation_domains": ["Upper.example"]}}, "/sections/workspaces/invitation_domains/0"),
        ({"workspaces": {"invitation_domains": ["a.example"] * 101}}, "/sections/workspaces/invitation_domains"),
    ],
)
async def test_what_cannot_be_set_is_refused_with_a_pointer(
    workspace: Workspace, section: dict[str, Any], pointer: str
) -> None:
    document = problem(
        await workspace.owner.http.patch(path(workspace), json={"sections": section}), 400, "invalid_settings"
    )
    assert [fault["pointer"] for fault in document["errors"]] == [pointer]
    assert ok(await workspace.owner.http.get(path(workspace)))["version"] == 1


async def test_a_stale_change_is_refused(workspace: Workspace) -> None:
    change = {"sections": {"workspaces": {"language": "fi"}}}
    answers = await asyncio.gather(
        *(workspace.owner.http.patch(path(workspace), json=change, headers={"If-Match": '"1"'}) for _ in range(3))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


async def test_of_two_changes_at_once_none_is_lost(workspace: Workspace) -> None:
    changes: list[dict[str, Any]] = [
        {"language": "fi"},
        {"time_zone": "Europe/Helsinki"},
        {"invitation_domains": ["example.org"]},
    ]
    await asyncio.gather(
        *(workspace.owner.http.patch(path(workspace), json={"sections": {"workspaces": each}}) for each in changes)
    )
    settled = ok(await workspace.owner.http.get(path(workspace)))
    assert settled["sections"]["workspaces"] == {**DEFAULTS, **changes[0], **changes[1], **changes[2]}
    assert settled["version"] == 4


async def test_whoever_has_no_second_factor_asks_nobody_for_one(workspace: Workspace) -> None:
    change = {"sections": {"workspaces": {"require_second_factor": "everybody"}}}
    problem(await workspace.owner.http.patch(path(workspace), json=change), 403, "second_factor_required")


async def test_who_may_not_edit_sets_nothing(make: Factory, workspace: Workspace) -> None:
    change = {"sections": {"workspaces": {"language": "fi"}}}
    member = await make.member(workspace, "member")
    problem(await member.http.patch(path(workspace), json=change), 403, "forbidden")
    problem(await (await make.person()).http.get(path(workspace)), 403, "forbidden")


def test_every_language_can_be_chosen() -> None:
    for language in LANGUAGES:
        assert msgspec.convert({"language": language}, GeneralSettings).language == language


class Queue(WorkspaceSection, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=10)] = 5
    greeting: str = "hello"


SECTIONS: Mapping[str, type[WorkspaceSection]] = {"chat": Queue, "other": Queue}


def test_a_fault_in_one_section_changes_no_other() -> None:
    with pytest.raises(InvalidSettings) as refused:
        change_settings(SECTIONS, {}, {"chat": {"limit": 7}, "other": {"limit": 11}})
    assert [fault.pointer for fault in refused.value.errors] == ["/sections/other/limit"]


def test_what_a_part_that_is_gone_has_set_is_kept() -> None:
    assert change_settings(SECTIONS, {"gone": {"x": 1}}, {"chat": {"limit": 7}}) == {
        "gone": {"x": 1},
        "chat": {"limit": 7},
    }


def test_what_an_upgrade_no_longer_allows_has_its_default() -> None:
    assert read_settings(Queue, {"limit": 11, "greeting": "hi", "gone": 1}) == Queue(limit=5, greeting="hi")


def test_settings_do_not_grow_without_end() -> None:
    with pytest.raises(InvalidSettings):
        change_settings(SECTIONS, {}, {"chat": {"greeting": "x" * 70_000}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_is_applied_once(document: object, patch: object) -> None:
    once = merge(document, patch)
    assert merge(once, patch) == once


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [
        # RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_that_of_the_standard(document: object, patch: object, merged: object) -> None:
    assert merge(document, patch) == merged
