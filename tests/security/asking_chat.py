"""How the chat is asked in `test_permissions.py`: each caller has a conversation of its own."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


def asks(operation: str, method: str, path: str, *, claimed: bool = True, **body: Any) -> None:
    """Say how an operation on a conversation is asked for.

    Args:
        operation: its name.
        method: of HTTP.
        path: behind that of the conversation, with `{colleague}` for somebody else of the staff.
        claimed: whether the conversation was claimed before, by the caller where the caller is staff.
        body: what is sent, with the same.
    """

    async def ask(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
        conversation = await cast.conversation(identity, claimed=claimed)
        colleague = str(cast.colleague_of(identity).id)
        whole = f"{conversation.path}{path.format(colleague=colleague)}"
        return await http.request(method, whole, json=filled(body, colleague=colleague) or None)

    ASK[operation] = ask


def filled(value: Any, **names: str) -> Any:  # noqa: ANN401 - any JSON
    """Return some JSON with names in place of their `{…}`."""
    if isinstance(value, dict):
        return {key: filled(each, **names) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, **names) for each in value]
    return value.format(**names) if isinstance(value, str) else value


def asks_chat(operation: str, method: str, path: str, **body: Any) -> None:
    """Say how an operation on the whole chat is asked for. Arguments as above, behind the path of the chat."""

    async def ask(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
        return await http.request(method, f"{cast.workspace.path}/chat{path}", json=body or None)

    ASK[operation] = ask


async def open_conversation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    """Open one, where there is none that is open."""
    if identity != "nobody":
        await cast.end_open_one(cast.people[identity])
    return await http.post(cast.workspace.conversations, json={"message": {"text": "hello"}})


ASK["open_conversation"] = open_conversation
asks_chat("get_opening_hours", "GET", "/opening-hours")
asks_chat("list_conversations", "GET", "/conversations")
asks_chat("list_cases", "GET", "/cases")
asks_chat("get_profile", "GET", "/profile")
asks_chat("change_profile", "PATCH", "/profile", display_name="Nobody else")
asks("get_conversation", "GET", "", claimed=False)
asks("claim_conversation", "POST", "/claim", claimed=False)
asks("close_conversation", "POST", "/close", claimed=False)
asks("list_messages", "GET", "/messages", claimed=False)
asks("send_message", "POST", "/messages", text="hello")
asks("get_case", "GET", "/case")
asks("list_people", "GET", "/people")
asks("join_conversation", "POST", "/join")
asks("leave_conversation", "POST", "/leave")
asks("add_staff", "POST", "/staff", account_id="{colleague}")
asks("replace_staff", "PUT", "/staff", account_ids=["{colleague}"])
asks("remove_staff", "DELETE", "/staff/{colleague}")
asks("take_over", "POST", "/take-over")
asks("hand_over", "POST", "/hand-over", account_id="{colleague}", note="Speaks French.")
asks("reopen_conversation", "POST", "/reopen", claimed=False)
asks("flag_conversation", "PUT", "/flag", severity=2, reason="Sounds lost.")
asks("unflag_conversation", "POST", "/unflag", claimed=False)
asks("mark_handled", "POST", "/handled")
asks("set_tags", "PUT", "/tags", tags=["housing"])
asks("list_notes", "GET", "/notes")
asks("add_note", "POST", "/notes", text="Called before.")
asks("add_bookmark", "PUT", "/bookmark")
asks("remove_bookmark", "DELETE", "/bookmark")
asks("list_seen", "GET", "/seen")
asks("see_messages", "PUT", "/seen", number=1)
