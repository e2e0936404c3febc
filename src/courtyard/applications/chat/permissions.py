"""The permissions of the chat, and which role has them."""

from courtyard.kernel.application import Role

PERMISSIONS = {
    "chat.conversation.open": "Open a conversation as a visitor.",
    "chat.conversation.read": "Read a conversation and listen to it.",
    "chat.conversation.claim": "Take a waiting conversation, and join one that others are in.",
    "chat.conversation.close": "End a conversation, and open it again.",
    "chat.conversation.handle": "Leave, hand over, flag and tag conversations that one is in, mark them as handled.",
    "chat.conversation.supervise": "Do so in every conversation; decide who is in it, take over, take flags back.",
    "chat.message.send": "Write in a conversation.",
    "chat.note.read": "Read and write notes that the visitor does not see.",
    "chat.queue.read": "See the conversations of every visitor, and listen to the queue.",
}

# On one conversation a role can be given.
CONVERSATION = "chat.conversation"

# Comes with having opened a conversation, for that one.
VISITOR = "chat.visitor"
VOLUNTEER = "chat.volunteer"
SUPERVISOR = "chat.supervisor"

_SUPERVISORS = frozenset(PERMISSIONS) - {"chat.conversation.open"}
_VOLUNTEERS = _SUPERVISORS - {"chat.conversation.supervise"}
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
    VOLUNTEER: Role(description="Answers visitors.", permissions=_VOLUNTEERS | _MEMBER),
    SUPERVISOR: Role(description="Answers visitors and looks after volunteers.", permissions=_SUPERVISORS | _MEMBER),
    "administrator": Role(description="", permissions=_SUPERVISORS),
    "owner": Role(description="", permissions=_SUPERVISORS),
}
