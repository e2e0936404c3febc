"""The page of permissions and roles in the reference, from the declarations of all parts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from courtyard.kernel.application import Application, Role, declared_roles
from courtyard.site.openapi import template

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

INTRODUCTION = """\
# Permissions and roles

Made from the code by `courtyard permissions --write`; do not edit it by hand.

A role is a set of permissions. A member of a workspace has roles there, in all of it or on one thing in it; some roles
come by themselves with a relation to the workspace or to a thing. Where one of the roles has a permission, it is
granted. These roles are built in; a workspace makes more of its own, whose names begin with `custom.`: see
[Roles and rights](../howto/roles-and-rights.md).

`public` is for everybody, signed in or not, and `signed in` for everybody who has an account. `by topic` means the
permission of the topic that is named.
"""


def permissions_page(parts: Sequence[Application], site: "Sequence[HTTPRouteHandler]") -> str:
    """Return the page as Markdown.

    Args:
        parts: the modules of the kernel and the applications.
        site: the routes that belong to no part.
    """
    roles = declared_roles(parts)
    sections = [INTRODUCTION, _roles_section(roles), _scopes_section(parts)]
    sections += [_permissions_section(part, roles) for part in parts if part.permissions]
    sections.append(_rules_section(parts, site))
    return "\n".join(sections)


def _roles_section(roles: Mapping[str, Role]) -> str:
    rows = [
        (
            f"`{name}`",
            role.description,
            "given to a member" if role.assignable else "by itself",
            "yes" if role.assignable and role.staff else "no",
        )
        for name, role in roles.items()
    ]
    return "## Built-in roles\n\n" + table(("role", "for", "how one gets it", "staff"), rows)


def _scopes_section(parts: Sequence[Application]) -> str:
    rows = [(f"`{kind.name}`", kind.description) for part in parts for kind in part.scopes]
    return "## Things on which a role can be given\n\n" + table(("kind", "what it is"), rows)


def _permissions_section(part: Application, roles: Mapping[str, Role]) -> str:
    rows = [
        (
            f"`{permission}`",
            description,
            ", ".join(f"`{name}`" for name, role in roles.items() if permission in role.permissions),
        )
        for permission, description in part.permissions.items()
    ]
    return f"## Permissions of {part.name}\n\n" + table(("permission", "what it allows", "roles that have it"), rows)


def _rules_section(parts: Sequence[Application], site: "Sequence[HTTPRouteHandler]") -> str:
    routes = [
        (f"`{method} {template(path)}`", f"`{handler.opt['permission']}`")
        for handler in (*(handler for part in parts for handler in part.routes), *site)
        for path in sorted(handler.paths)
        for method in sorted(handler.http_methods)
    ]
    sockets = [(f"`{one.event}`", f"`{one.permission}`") for part in parts for one in part.sockets]
    topics = [
        (f"`{topic.kind}:<id>`" if topic.has_id else f"`{topic.kind}`", f"`{topic.permission}`")
        for part in parts
        for topic in part.topics
    ]
    return "\n".join(
        (
            "## What asks for which permission\n\n" + table(("route", "permission"), routes),
            table(("socket event", "permission"), sockets),
            table(("topic", "permission"), topics),
        )
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
