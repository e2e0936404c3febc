"""HTTP: workspaces, their settings, and their end."""

from courtyard.kernel.accounts import StepUpNeeded
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.errors import SecondFactorRequired
from courtyard.kernel.http import SIGNED_IN, delete, get, patch, post
from courtyard.kernel.workspaces.errors import InvalidSettings, NotConfirmed, SlugTaken, VisitorsCannotOwn
from courtyard.kernel.workspaces.queries import workspaces as queries
from courtyard.kernel.workspaces.schemas.workspaces import (
    Confirmation,
    NewWorkspace,
    SettingsOfWorkspace,
    SettingsPatch,
    Workspace,
    WorkspacePatch,
)
from courtyard.kernel.workspaces.service import workspaces as service

WORKSPACE = "/workspaces/{workspace:str}"
OK = 200


@post("/workspaces", permission=SIGNED_IN, problems=[SlugTaken, VisitorsCannotOwn])
async def create_workspace(context: Context, data: NewWorkspace) -> Workspace:
    """Make a workspace. Whoever makes it owns it."""
    return await service.create_workspace(context, data)


@get("/workspaces", permission=SIGNED_IN)
async def list_my_workspaces(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Workspace]:
    """List the workspaces that one belongs to, those that are archived or deleted among them."""
    return await queries.list_my_workspaces(context, limit, cursor)


@get(WORKSPACE, permission="workspaces.workspace.read")
async def get_workspace(context: ReadContext) -> Workspace:
    """See a workspace."""
    return await queries.get_workspace(context)


@patch(WORKSPACE, permission="workspaces.workspace.edit", problems=[SlugTaken])
async def change_workspace(context: Context, data: WorkspacePatch, version: int | None) -> Workspace:
    """Change a workspace. A slug that is given up leads to it for a while longer, and is nobody else's."""
    return await service.change_workspace(context, data, version)


@get(f"{WORKSPACE}/settings", permission="workspaces.workspace.read")
async def get_settings(context: ReadContext) -> SettingsOfWorkspace:
    """See the settings of a workspace."""
    return await queries.get_settings(context)


@patch(
    f"{WORKSPACE}/settings",
    permission="workspaces.workspace.edit",
    problems=[InvalidSettings, SecondFactorRequired],
)
async def change_settings(context: Context, data: SettingsPatch, version: int | None) -> SettingsOfWorkspace:
    """Change settings of a workspace."""
    return await service.change_settings(context, data, version)


@post(
    f"{WORKSPACE}/archive",
    permission="workspaces.workspace.archive",
    status=OK,
    idempotent=False,
    while_closed=True,
)
async def archive_workspace(context: Context) -> Workspace:
    """Let a workspace be read only: everything can be seen, nothing changed."""
    return await service.archive_workspace(context)


@post(
    f"{WORKSPACE}/unarchive",
    permission="workspaces.workspace.archive",
    status=OK,
    idempotent=False,
    while_closed=True,
)
async def unarchive_workspace(context: Context) -> Workspace:
    """Open an archived workspace again."""
    return await service.unarchive_workspace(context)


@delete(
    WORKSPACE,
    permission="workspaces.workspace.delete",
    problems=[StepUpNeeded, NotConfirmed],
    while_closed=True,
)
async def delete_workspace(context: Context, confirm: Confirmation) -> None:
    """Delete a workspace.

    It is closed at once, and removed when the time of grace is over. Until then an owner can restore it. The owners
    are told by mail.
    """
    await service.delete_workspace(context, confirm)


@post(
    f"{WORKSPACE}/restore",
    permission="workspaces.workspace.delete",
    status=OK,
    idempotent=False,
    while_closed=True,
)
async def restore_workspace(context: Context) -> Workspace:
    """Have a deleted workspace back."""
    return await service.restore_workspace(context)


ROUTES = (
    create_workspace,
    list_my_workspaces,
    get_workspace,
    change_workspace,
    get_settings,
    change_settings,
    archive_workspace,
    unarchive_workspace,
    delete_workspace,
    restore_workspace,
)
