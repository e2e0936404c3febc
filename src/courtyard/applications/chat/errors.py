"""Problems of the chat."""

from courtyard.kernel.errors import Conflict, Forbidden


class ConversationClaimed(Conflict):
    """Somebody else was faster; `staff_ids` says who is in it."""

    code = "conversation_claimed"
    title = "The conversation has been claimed already"


class ConversationClosed(Conflict):
    """The conversation has ended."""

    code = "conversation_closed"
    title = "The conversation is closed"


class ConversationNotClaimed(Conflict):
    """Staff answer in a conversation that somebody has claimed."""

    code = "conversation_not_claimed"
    title = "Claim the conversation first"


class ConversationOpen(Conflict):
    """A visitor has one open conversation at a time; `conversation_id` is that one."""

    code = "conversation_open"
    title = "The visitor has an open conversation already"


class ConversationFull(Conflict):
    """As many of the staff are in the conversation as the workspace allows; `capacity` says how many."""

    code = "conversation_full"
    title = "The conversation is full"


class NotInConversation(Conflict):
    """The account is not of those of the staff who are in the conversation."""

    code = "not_in_conversation"
    title = "Join the conversation first"


class NotStaff(Conflict):
    """The account cannot answer visitors here; `account_id` says which."""

    code = "not_staff"
    title = "This account does not answer visitors here"


class Outranked(Forbidden):
    """Somebody in the conversation stands too high for this; `account_id` says who."""

    code = "outranked"
    title = "Somebody in the conversation stands too high for this"


class NothingToSee(Conflict):
    """There is no message of this number yet; `message_count` is the number of the newest."""

    code = "message_not_sent"
    title = "There is no message of this number"
