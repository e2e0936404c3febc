import re

from typer.testing import CliRunner

from courtyard.cli import app
from courtyard.kernel.application import Application, Role
from courtyard.site import permissions_page
from tests.services import PARTS


def rows(page: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]


def test_every_permission_role_route_event_and_topic_is_on_the_page() -> None:
    page = permissions_page(PARTS)
    first = {row[0] for row in rows(page)}
    for part in PARTS:
        assert {f"`{name}`" for name in (*part.permissions, *part.roles)} <= first
        assert {f"`{kind.name}`" for kind in part.scopes} <= first
        assert {f"`{handler.event}`" for handler in part.sockets} <= first
        assert {f"`{topic.kind}:<id>`" if topic.has_id else f"`{topic.kind}`" for topic in part.topics} <= first
        for handler in part.routes:
            for path in handler.paths:
                assert f"`{next(iter(handler.http_methods))} {re.sub(r':[a-z]+}', '}', path)}`" in first
    assert "`GET /metrics`" in first


def test_a_role_has_what_every_part_gives_it() -> None:
    first = Application(
        name="a",
        description="",
        permissions={"a.thing.read": "Read."},
        roles={"owner": Role(description="Owns it.", permissions=frozenset({"a.thing.read"}))},
    )
    second = Application(
        name="b",
        description="",
        permissions={"b.thing.read": "Read.", "b.thing.edit": "Edit."},
        roles={
            "owner": Role(description="", permissions=frozenset({"b.thing.read", "b.thing.edit"})),
            "b.guest": Role(description="Visits.", permissions=frozenset({"b.thing.read"}), assignable=False),
        },
    )
    found = rows(permissions_page([first, second]))
    assert ["`owner`", "Owns it.", "given to a member", "yes"] in found
    assert ["`b.guest`", "Visits.", "by itself", "no"] in found
    assert ["`a.thing.read`", "Read.", "`owner`"] in found
    assert ["`b.thing.read`", "Read.", "`owner`, `b.guest`"] in found
    assert ["`b.thing.edit`", "Edit.", "`owner`"] in found


def test_the_command_prints_it() -> None:
    assert CliRunner().invoke(app, ["permissions"]).output == permissions_page(PARTS)
