"""The conversation: a visitor asks, a volunteer answers, the visitor is cut off and comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from courtyard.demo.failure import DemoFailed
from courtyard.demo.outbox import Outbox
from courtyard.demo.people import ANSWER_SECONDS, Api, Person, faults
from courtyard.demo.transcript import Side, Transcript

WORKSPACE = "demo"
MESSAGE = "chat.message.sent"
QUEUE = "chat.queue"
HAPPENED = {
    "chat.conversation.opened": "opens a conversation",
    "chat.conversation.claimed": "takes the conversation",
    "chat.conversation.closed": "closes the conversation",
}


@dataclass(frozen=True)
class Cast:
    """Those who play.

    Attributes:
        owner: of the workspace; does not talk.
        volunteer: answers.
        visitor: asks, and is cut off.
        workspace: slug of where they are.
    """

    owner: Person
    volunteer: Person
    visitor: Person
    workspace: str = WORKSPACE

    @property
    def people(self) -> tuple[Person, Person, Person]:
        """All of them."""
        return self.owner, self.volunteer, self.visitor


async def play(url: str, outbox: Path, transcript: Transcript) -> Cast:
    """Let a visitor and a volunteer talk, and compare what they saw with what was done.

    Args:
        url: of the server, which has no data yet.
        outbox: the folder of its mails.
        transcript: of what they see.

    Raises:
        DemoFailed: the server refuses something, does not answer, or one of them missed something.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        api = Api(session, url, Outbox(outbox))
        cast = Cast(
            owner=Person(api, "Olga", "owns the workspace"),
            volunteer=Person(api, "Tomas", "volunteer, answers visitors"),
            visitor=Person(api, "Vera", "visitor"),
        )
        await _prepare(api, cast)
        transcript.say(
            f"Over REST: a workspace `{WORKSPACE}` and three accounts, confirmed by mail. From here on over Socket.IO."
        )
        try:
            await _Conversation(api, cast, transcript).take_place()
        finally:
            for person in (cast.visitor, cast.volunteer):
                await person.disconnect()
    return cast


async def _prepare(api: Api, cast: Cast) -> None:
    for person in cast.people:
        await person.register()
    await api.request("POST", "/workspaces", {"slug": WORKSPACE, "name": "Demo"}, token=cast.owner.token)
    member = {"email": cast.volunteer.email, "roles": ["chat.volunteer"]}
    await api.request("POST", f"/workspaces/{WORKSPACE}/members", member, token=cast.owner.token)


class _Conversation:
    def __init__(self, api: Api, cast: Cast, transcript: Transcript) -> None:
        self._api = api
        self._visitor = cast.visitor
        self._volunteer = cast.volunteer
        self._transcript = transcript
        self._names = {str(person.id): person.name for person in cast.people}
        self._id = ""
        # Name and text of every change that was acknowledged, in order.
        self._done: list[tuple[str, str]] = []
        # Events up to this number are old news to the visitor's server, so they come from its log.
        self._replayed_up_to = 0

    async def take_place(self) -> None:
        visitor, volunteer, say = self._visitor, self._volunteer, self._transcript.say
        self._transcript.columns(f"What {visitor.name} sees", f"What {volunteer.name} sees")
        visitor.on_message = self._shown("left", visitor)
        volunteer.on_message = self._shown("right", volunteer)

        await volunteer.connect()
        await volunteer.ask("subscribe", workspace=WORKSPACE, topic=QUEUE, after=0)
        await visitor.connect()
        conversation = await visitor.ask("chat.conversation.open", workspace=WORKSPACE, subject="Locked out")
        self._id = conversation["id"]
        topic = f"chat.conversation:{self._id}"
        self._done.append(("chat.conversation.opened", ""))
        await visitor.follow(WORKSPACE, topic)
        await self._send(visitor, "Hello? I cannot log in any more.")
        await volunteer.ask("chat.conversation.claim", workspace=WORKSPACE, conversation_id=self._id)
        # What staff do in a conversation stands among its messages too.
        self._done += [("chat.conversation.claimed", ""), (MESSAGE, "")]
        await volunteer.follow(WORKSPACE, topic)
        await self._all_see()
        await volunteer.ask("typing", workspace=WORKSPACE, topic=topic, typing=True)
        await self._send(volunteer, "Hello Vera, what does it say?")
        await self._send(visitor, "That I am unknown here.")
        last_message = await self._send(visitor, "Since this morning.")

        number = visitor.last_number
        await visitor.lose_connection()
        say(f"The TCP connection of {visitor.name} is closed. The last number that reached her is {number}.")
        for text in ("I see your account, all is well.", "The address has a typing error.", "I have corrected it."):
            await self._send(volunteer, text, only=volunteer)
        say(f"{visitor.name} is back and subscribes to what comes after {number}.")
        self._replayed_up_to = len(self._done)
        await visitor.connect()
        await visitor.follow(WORKSPACE, topic)
        await self._all_see()
        await self._send_again(visitor, last_message)
        say("Her client sends her last message again, as if the answer had been lost: nobody gets it twice.")
        await self._send(visitor, "Now it works. Thank you!")
        await self._send(volunteer, "You are welcome.")
        await volunteer.ask("chat.conversation.close", workspace=WORKSPACE, conversation_id=self._id)
        self._done.append(("chat.conversation.closed", ""))
        await self._all_see()
        for person in (visitor, volunteer):
            # The answer comes behind whatever is on its way already, such as something that is sent twice.
            await person.ask("unsubscribe", workspace=WORKSPACE, topic=topic)
        await self._judge()

    async def _send(self, person: Person, text: str, *, only: Person | None = None) -> dict[str, Any]:
        """Send a message and wait until both, or only one, see it; return it."""
        content = {"conversation_id": self._id, "text": text, "client_message_id": str(uuid4())}
        message: dict[str, Any] = await person.ask("chat.message.send", workspace=WORKSPACE, **content)
        self._done.append((MESSAGE, text))
        # Before the claim the volunteer follows the queue alone.
        if only is not None or not self._volunteer.seen:
            await (only or person).has_seen(len(self._done))
        else:
            await self._all_see()
        return message

    async def _send_again(self, person: Person, message: dict[str, Any]) -> None:
        content = {name: message[name] for name in ("conversation_id", "text", "client_message_id")}
        again = await person.ask("chat.message.send", workspace=WORKSPACE, **content)
        if again != message:
            raise DemoFailed(f"the repeated message became another one: {again}")

    async def _all_see(self) -> None:
        for person in (self._visitor, self._volunteer):
            await person.has_seen(len(self._done))

    async def _judge(self) -> None:
        path = f"/workspaces/{WORKSPACE}/chat/conversations/{self._id}/messages?limit=200"
        page = await self._api.request("GET", path, token=self._visitor.token)
        history = [message["text"] for message in reversed(page["items"])]
        sent = [text for name, text in self._done if name == MESSAGE]
        found = [
            f"{person.name} {fault}"
            for person in (self._visitor, self._volunteer)
            for fault in faults(self._done, person.seen)
        ]
        if history != sent:
            found.append(f"the history over REST is {history}")
        if found:
            raise DemoFailed("; ".join(found))
        self._transcript.conclude(
            f"Both saw all {len(sent)} messages and {len(self._done) - len(sent)} other events, each once and in order."
        )

    def _shown(self, side: Side, person: Person) -> Callable[[str, dict[str, Any]], None]:
        """Return what prints whatever arrives on the socket of somebody."""

        def show(kind: str, content: dict[str, Any]) -> None:
            if kind == "event" and content["topic"] == QUEUE:
                case = content["data"]["case"]
                name = self._names[case["visitor_id"]]
                self._transcript.see(side, f"queue the conversation of {name} is {case['state']}")
            elif kind == "event":
                self._transcript.see(side, self._line_of(content, person))
            elif kind == "typing" and content["typing"]:
                self._transcript.see(side, f"    ({self._names[content['account_id']]} is typing)")
            elif kind == "presence" and content["present"]:
                self._transcript.see(side, f"    ({self._names[content['account_id']]} is here)")

        return show

    def _line_of(self, event: dict[str, Any], person: Person) -> str:
        author = self._names[event["actor_id"]]
        if event["name"] == MESSAGE:
            message = event["data"]["message"]
            said = f" has {message['action']}" if message["action"] else f": {message['text']}"
        else:
            said = f" {HAPPENED[event['name']]}"
        line = f"{event['number']:>3} {author}{said}"
        missed = person is self._visitor and person.last_number < event["number"] <= self._replayed_up_to
        return f"{line} (missed)" if missed else line
