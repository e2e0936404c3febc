"""Somebody who uses the server as anybody would: an account over REST, the rest over Socket.IO."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
import socketio

from courtyard.demo.failure import DemoFailed
from courtyard.demo.outbox import Outbox

PASSWORD = "courtyard-demo"  # noqa: S105 - printed for everyone to try; the server is on this machine alone
ANSWER_SECONDS = 10.0


class Seen(msgspec.Struct, frozen=True):
    """An event that reached somebody.

    Attributes:
        number: its place in the topic.
        name: what happened.
        author: the account that did it.
        text: of a message, empty for anything else.
    """

    number: int
    name: str
    author: UUID
    text: str


class Api:
    """The REST interface of a server.

    Args:
        session: for the requests.
        url: of the server.
        outbox: where its mails are.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, outbox: Outbox) -> None:
        self.url = url
        self.outbox = outbox
        self._session = session

    async def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a request.

        Args:
            method: of HTTP.
            path: below `/api/v1`.
            body: sent as JSON, unless None.
            token: who asks.

        Raises:
            DemoFailed: the answer is a problem, or there is none.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers) as answer:
                document = await answer.json(content_type=None)
                if not answer.ok:
                    raise DemoFailed(f"{method} {path} is answered with {_problem(document)}")
                return document
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} is not answered: {error!r}") from error


class Person:
    """One account and, when connected, its one socket.

    Args:
        api: the server.
        name: by which others know them; their e-mail address is made from it.
        part: what they are in the demo, in a few words.

    Attributes:
        id: of the account.
        seen: every event of the topic that they follow, in the order in which it came.
    """

    def __init__(self, api: Api, name: str, part: str) -> None:
        self.name = name
        self.part = part
        self.email = f"{name.lower()}@example.org"
        self.id = UUID(int=0)
        self.token = ""
        self.seen: list[Seen] = []
        # Called with what arrives on the socket: the name of the message and its content.
        self.on_message: Callable[[str, dict[str, Any]], None] = lambda _name, _content: None
        self._api = api
        self._followed = ""
        self._arrival = asyncio.Event()
        self._gone = asyncio.Event()
        # It comes back when the play says so, hence no reconnection by itself.
        self._client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self._client.on("*", self._receive)
        self._client.on("disconnect", lambda _reason: self._gone.set())

    async def register(self) -> None:
        """Make the account, with the code of the mail that comes, and log in."""
        credentials = {"email": self.email, "password": PASSWORD}
        started = await self._api.request("POST", "/accounts", {**credentials, "name": self.name})
        code = await self._api.outbox.code_for(self.email)
        proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code}
        await self._api.request("POST", "/accounts/confirm", proof)
        login = await self._api.request("POST", "/sessions", credentials)
        self.id, self.token = UUID(login["account"]["id"]), login["access_token"]

    async def connect(self) -> None:
        """Open the socket."""
        self._gone.clear()
        try:
            await self._client.connect(
                self._api.url, auth={"token": self.token}, transports=["websocket"], wait_timeout=ANSWER_SECONDS
            )
        except socketio.exceptions.ConnectionError as error:
            raise DemoFailed(f"{self.name} cannot connect: {error}") from error

    async def disconnect(self) -> None:
        """Close the socket, if it is open."""
        await self._client.disconnect()

    async def lose_connection(self) -> None:
        """Close the TCP connection beneath the socket, without a word to client or server, and wait until it shows."""
        self._client.eio.ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._gone.wait()

    async def ask(self, event: str, **content: object) -> Any:  # noqa: ANN401 - JSON
        """Send an event and return the data of its acknowledgement.

        Raises:
            DemoFailed: it is refused, or not acknowledged.
        """
        try:
            answer = await self._client.call(event, content, timeout=ANSWER_SECONDS)
        except socketio.exceptions.SocketIOError as error:
            raise DemoFailed(f"{event} of {self.name} is not acknowledged: {error!r}") from error
        if "problem" in answer:
            raise DemoFailed(f"{event} of {self.name} is answered with {_problem(answer['problem'])}")
        return answer["data"]

    async def follow(self, workspace: str, topic: str) -> None:
        """Subscribe to a topic, from behind the last event that was seen of it, and keep what comes."""
        self._followed = topic
        await self.ask("subscribe", workspace=workspace, topic=topic, after=self.last_number)

    @property
    def last_number(self) -> int:
        """The number of the newest event that was seen, 0 for none."""
        return self.seen[-1].number if self.seen else 0

    async def has_seen(self, number: int) -> None:
        """Wait until an event of this number has come.

        Raises:
            DemoFailed: it does not come.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while self.last_number < number:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError as error:
            raise DemoFailed(f"{self.name} has not seen number {number}, only {self.last_number}") from error

    def _receive(self, name: str, content: dict[str, Any]) -> None:
        # No `async`: what is not awaited keeps the order in which it came.
        self.on_message(name, content)
        if name == "event" and content["topic"] == self._followed:
            text = content["data"].get("message", {}).get("text", "")
            self.seen.append(Seen(content["number"], content["name"], UUID(content["actor_id"]), text))
            self._arrival.set()


def faults(done: Sequence[tuple[str, str]], seen: Sequence[Seen]) -> list[str]:
    """Return how what somebody saw differs from what was done; nothing if they saw all of it once and in order.

    Args:
        done: name and text of every event, in their order; the first has the number 1.
        seen: the events as they came.
    """
    numbers = [event.number for event in seen]
    times = Counter(numbers)
    found = [f"never saw number {number}" for number in range(1, len(done) + 1) if number not in times]
    found += [f"saw number {number} {count} times" for number, count in times.items() if count > 1]
    if numbers != sorted(numbers):
        found.append(f"saw them in the order {', '.join(map(str, numbers))}")
    for event in seen:
        if not 1 <= event.number <= len(done):
            found.append(f"saw number {event.number}, which nobody sent")
        elif (event.name, event.text) != done[event.number - 1]:
            found.append(f"saw something else as number {event.number}: {event.name} {event.text!r}")
    return found


def _problem(document: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(document, dict):
        return repr(document)
    return " ".join(str(document[key]) for key in ("status", "code", "title", "detail") if key in document)
