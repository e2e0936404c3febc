"""The programs that the documents show, run as they stand there, through a connection that is cut."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from tests.factories import Conversation, Factory, Person, ok
from tests.services import Kind, missing

ROOT = Path(__file__).parents[2]
NODE_MODULES = Path(__file__).parent / "js" / "node_modules"
PROGRAM = re.compile(r"^\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 30


@pytest.fixture
def database_kind() -> Kind:
    """What a client sees does not depend on the database."""
    return "sqlite"


class Proxy:
    """Stands between a program and the server, and can cut what goes through it.

    Args:
        url: of the server.

    Attributes:
        url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self.url = ""
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Close every connection, without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
        self._writers -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    """A connection to the server that can be cut."""
    between = Proxy(server_url)
    await between.start()
    yield between
    await between.stop()


class Program:
    """A running program, and what it printed."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.printed: list[str] = []
        self._command = command
        self._environment = environment

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=os.environ | self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def prints(self, *lines: str) -> None:
        """Wait until these lines have been printed, next and in this order."""
        assert self._process.stdout is not None
        for expected in lines:
            try:
                line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
            except TimeoutError:
                raise AssertionError(f"not printed: {expected!r}, only {self.printed}") from None
            self.printed.append(line.decode().rstrip())
            assert self.printed[-1] == expected, self.printed


def programs(document: str) -> dict[str, str]:
    """Return the programs of a document by their names."""
    return dict(PROGRAM.findall((ROOT / "docs" / document).read_text()))


async def write(conversation: Conversation, person: Person | None, text: str) -> None:
    assert person is not None
    ok(await person.http.post(conversation.messages, json={"text": text}))


async def started(make: Factory) -> Conversation:
    """Return a conversation that has begun: opened, with a message, and claimed."""
    workspace = await make.workspace()
    return await make.conversation(workspace, claimed_by=workspace.owner, message={"text": "Hello?"})


async def follow_through_a_cut(command: Sequence[str], make: Factory, proxy: Proxy) -> None:
    conversation = await started(make)
    environment = {
        "COURTYARD": proxy.url,
        "TOKEN": conversation.visitor.token,
        "WORKSPACE": conversation.workspace.slug,
        "CONVERSATION": str(conversation.id),
    }
    async with Program(command, environment) as program:
        await program.prints(
            "1 chat.conversation.opened",
            "2 chat.message.sent Hello?",
            "3 chat.conversation.claimed",
            "4 chat.message.sent",
            "listening, 1 here",
        )
        await program.type("typed into the program")
        await program.prints("5 chat.message.sent typed into the program")
        proxy.cut()
        await write(conversation, conversation.assignee, "written while it was away")
        await program.prints("6 chat.message.sent written while it was away", "listening, 1 here")
        await write(conversation, conversation.assignee, "written when it was back")
        await program.prints("7 chat.message.sent written when it was back")


async def test_the_python_client(make: Factory, proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    path.write_text(programs("howto/connect-a-client.md")["client.py"])
    await follow_through_a_cut([sys.executable, str(path)], make, proxy)


@pytest.mark.node
async def test_the_javascript_client(make: Factory, proxy: Proxy, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "socket.io-client").is_dir():
        missing("socket.io-client", "run `make node`")
    path = tmp_path / "client.mjs"
    path.write_text(programs("howto/connect-a-client.md")["client.mjs"])
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    await follow_through_a_cut([node, str(path)], make, proxy)


async def test_the_listener_of_the_tutorial(make: Factory, server_url: str, tmp_path: Path) -> None:
    conversation = await started(make)
    text = programs("tutorial/first-conversation.md")["listen.py"]
    path = tmp_path / "listen.py"
    path.write_text(text.replace(ADDRESS, server_url).replace("help-line", conversation.workspace.slug))
    command = [sys.executable, str(path), conversation.visitor.token, str(conversation.id)]
    present = f"'present': ['{conversation.visitor.id}']"
    async with Program([*command, "0"], {}) as program:
        await program.prints(
            "1 chat.conversation.opened",
            "2 chat.message.sent Hello?",
            "3 chat.conversation.claimed",
            "4 chat.message.sent",
            f"{{'data': {{'number': 4, {present}}}}}",
        )
        await write(conversation, conversation.visitor, "I cannot log in.")
        await program.prints("5 chat.message.sent I cannot log in.")
    await write(conversation, conversation.assignee, "Which address do you use?")
    async with Program([*command, "5"], {}) as program:
        await program.prints("6 chat.message.sent Which address do you use?", f"{{'data': {{'number': 6, {present}}}}}")
