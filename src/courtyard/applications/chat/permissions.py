"""The permissions of the chat, and which role has them."""

from courtyard.kernel.application import Role

PERMISSIONS = {
    "chat.conversation.open": "Open a conversation as a visitor.",
    "chat.conversation.read": "Read a conversation and listen to it.",
    "chat.conversation.claim": "Take a waiting conversation.",
    "chat.conversation.close": "End a conversation.",
    "chat.message.send": "Write in a conversation.",
    "chat.queue.read": "See the conversations of every visitor, and listen to the queue.",
}

# On one conversation a role can be given.
CONVERSATION = "chat.conversation"

# Comes with having opened a conversation, for that one.
VISITOR = "chat.visitor"
VOLUNTEER = "chat.volunteer"
SUPERVISOR = "chat.supervisor"

_STAFF = frozenset(PERMISSIONS) - {"chat.conversation.open"}
_MEMBER = frozenset({"workspaces.workspace.read", "workspaces.member.read"})

ROLES = {
    "everybody": Role(
        description="Everybody who is signed in, members or not.",
        permissions=frozenset({"chat.conversation.open"}),
        assignable=False,
    ),
    VISITOR: Role(
        description="Whoever opened a conversation, in that one.",
        permissions=frozenset({"chat.conversation.read", "chat.conversation.close", "chat.message.send"}),
        assignable=False,
    ),
    VOLUNTEER: Role(description="Answers visitors.", permissions=_STAFF | _MEMBER),
    SUPERVISOR: Role(description="Answers visitors and looks after volunteers.", permissions=_STAFF | _MEMBER),
    "administrator": Role(description="", permissions=_STAFF),
    "owner": Role(description="", permissions=_STAFF),
}
