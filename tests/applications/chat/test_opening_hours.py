"""When visitors can count on somebody."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from tests.factories import Factory, Workspace, ok, problem

ALWAYS = [{"opens": "00:00", "closes": "24:00"}]
EVERY_DAY = dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), ALWAYS)


async def hours_of(make: Factory, workspace: Workspace) -> dict[str, Any]:
    visitor = await make.visitor()
    answer: dict[str, Any] = ok(await visitor.http.get(f"{workspace.path}/chat/opening-hours"))
    return answer


async def set_hours(workspace: Workspace, **calendar: Any) -> None:
    sections = {"chat": {"opening_hours": {"time_zone": "UTC", **calendar}}}
    ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json={"sections": sections}))


def today() -> date:
    return datetime.now(UTC).date()


async def test_a_workspace_without_hours_is_always_open(make: Factory) -> None:
    workspace = await make.workspace()
    assert await hours_of(make, workspace) == {"is_open": True, "opens_at": None, "closes_at": None}


async def test_a_visitor_is_told_when_it_opens(make: Factory) -> None:
    workspace = await make.workspace()
    first = today() + timedelta(days=3)
    await set_hours(workspace, time_zone="Asia/Kathmandu", week=EVERY_DAY, first_day=first.isoformat())
    opens_at = datetime.combine(first, time(), UTC) - timedelta(hours=5, minutes=45)
    assert await hours_of(make, workspace) == {
        "is_open": False,
        "opens_at": opens_at.isoformat().replace("+00:00", "Z"),
        "closes_at": None,
    }


async def test_a_visitor_is_told_when_it_closes(make: Factory) -> None:
    workspace = await make.workspace()
    holiday = today() + timedelta(days=5)
    await set_hours(workspace, week=EVERY_DAY, special_days=[{"on": holiday.isoformat(), "name": "Moving house"}])
    assert await hours_of(make, workspace) == {
        "is_open": True,
        "opens_at": None,
        "closes_at": f"{holiday.isoformat()}T00:00:00Z",
    }


@pytest.mark.parametrize(
    "calendar",
    [
        {"time_zone": "Middle/Earth"},
        {"week": {"monday": [{"opens": "09:00", "closes": "09:00"}]}},
        {"week": {"monday": [{"opens": "25:00", "closes": "09:00"}]}},
        {"special_days": [{"on": "2026-02-30"}]},
        {"first_day": "2026-02-02", "last_day": "2026-02-01"},
    ],
)
async def test_what_is_no_calendar_is_refused_with_its_place(make: Factory, calendar: dict[str, Any]) -> None:
    workspace = await make.workspace()
    sections = {"chat": {"opening_hours": {"time_zone": "UTC", **calendar}}}
    answer = await workspace.owner.http.patch(f"{workspace.path}/settings", json={"sections": sections})
    (fault,) = problem(answer, 400, "invalid_settings")["errors"]
    assert fault["pointer"].startswith("/sections/chat/opening_hours")
    assert await hours_of(make, workspace) == {"is_open": True, "opens_at": None, "closes_at": None}
