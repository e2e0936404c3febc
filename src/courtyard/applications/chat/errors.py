"""Problems of the chat."""

from courtyard.kernel.errors import Conflict


class ConversationClaimed(Conflict):
    """Somebody else was faster; `assignee_id` says who, `assignee_name` by what name."""

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
