"""Who is who in a conversation: a name and what they are there, and nothing else."""

from uuid import UUID

from sqlalchemy import Uuid, bindparam, select

from courtyard.applications.chat.models import ParticipantRow, ProfileRow
from courtyard.applications.chat.queries.conversations import get_conversation, load_ranks
from courtyard.applications.chat.rules import role_of
from courtyard.applications.chat.schemas import ConversationPerson, Profile
from courtyard.kernel.accounts import load_names
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, AnyOf, Prepared

# More than have ever been in one conversation.
MAX_PEOPLE = 200

_EVER_IN_IT = Prepared(
    select(ParticipantRow.account_id)
    .where(
        ParticipantRow.workspace_id == WORKSPACE,
        ParticipantRow.conversation_id == bindparam("id", type_=Uuid(), required=True),
    )
    .order_by(ParticipantRow.joined_at, ParticipantRow.account_id)
    .limit(MAX_PEOPLE),
    UUID,
)
_PROFILES = Prepared(
    select(ProfileRow.account_id, ProfileRow.display_name).where(
        ProfileRow.workspace_id == WORKSPACE, AnyOf(ProfileRow.account_id.expression, "account_ids")
    ),
    Profile,
)


async def list_people(context: ReadContext, conversation_id: UUID) -> list[ConversationPerson]:
    """Return the visitor of a conversation and everybody of the staff who is or was in it.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    conversation = await get_conversation(context, conversation_id)
    staff = await context.db.all(_EVER_IN_IT, id=conversation_id)
    names = await load_names(context, {conversation.visitor_id, *staff})
    for profile in await context.db.all(_PROFILES, account_ids=staff):
        if profile.display_name is not None:
            names[profile.account_id] = profile.display_name
    ranks = await load_ranks(context, staff)
    visitor = ConversationPerson(conversation.visitor_id, names.get(conversation.visitor_id, ""), "visitor")
    others = [each for each in staff if each != conversation.visitor_id]
    return [visitor, *(ConversationPerson(each, names.get(each, ""), role_of(ranks[each])) for each in others)]


async def get_profile(context: ReadContext) -> Profile:
    """Return how the caller is shown to visitors."""
    context.require("chat.conversation.claim")
    own_id = context.account_id
    found = await context.db.first(_PROFILES, account_ids=[own_id])
    return found or Profile(own_id, None)
