"""How people of the staff are shown."""

from sqlalchemy import String, Uuid, bindparam
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.applications.chat.models import ProfileRow
from courtyard.applications.chat.schemas import Profile, ProfilePatch
from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime

_NAME = bindparam("display_name", type_=String(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_SHOW = Prepared(
    upsert(ProfileRow)
    .values(
        workspace_id=WORKSPACE,
        account_id=bindparam("account_id", type_=Uuid(), required=True),
        display_name=_NAME,
        changed_at=_NOW,
    )
    .on_conflict_do_update(
        index_elements=[ProfileRow.workspace_id, ProfileRow.account_id],
        set_={"display_name": _NAME, "changed_at": _NOW},
    )
)


async def change_profile(context: Context, patch: ProfilePatch) -> Profile:
    """Change how the caller is shown to visitors."""
    context.require("chat.conversation.claim")
    own_id, name = context.account_id, patch.display_name
    await context.db.execute(_SHOW, account_id=own_id, display_name=name, now=context.now)
    return Profile(own_id, name)
