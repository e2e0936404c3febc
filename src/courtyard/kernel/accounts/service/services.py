"""Accounts of programs: without an address and a login, for the workspace that they belong to."""

from uuid import UUID

from sqlalchemy import String, Uuid, bindparam, update

from courtyard.kernel.accounts.models import AccountRow
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared
from courtyard.kernel.ids import new_id

_RENAME = Prepared(
    update(AccountRow)
    .where(AccountRow.id == bindparam("id", type_=Uuid(), required=True), AccountRow.kind == "service")
    .values(name=bindparam("name", type_=String(), required=True), version=AccountRow.version + 1)
)


async def create_service(context: Context, name: str, workspace_id: UUID) -> UUID:
    """Make an account for a program, which acts by API keys alone. The caller has asked whether that is allowed.

    Args:
        context: the transaction.
        name: as others see it.
        workspace_id: where it belongs, and nowhere else.

    Returns:
        The id of the account.
    """
    account_id = new_id()
    await context.db.insert(
        AccountRow,
        id=account_id,
        kind="service",
        name=name,
        workspace_id=workspace_id,
        created_at=context.now,
        version=1,
        must_change_password=False,
        rights_epoch=0,
    )
    return account_id


async def rename_service(context: Context, account_id: UUID, name: str) -> None:
    """Change the name of the account of a program."""
    await context.db.execute(_RENAME, id=account_id, name=name)
