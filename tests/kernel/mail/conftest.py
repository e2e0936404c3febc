"""What goes into mails, and processes that deliver them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import UTC, date, datetime
from email.message import EmailMessage
from typing import Any, Protocol
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import select
from typing_extensions import override

from courtyard.kernel.accounts.mails import LOGIN
from courtyard.kernel.application import Application
from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import Database, Placement, Prepared, UnitOfWork
from courtyard.kernel.ids import new_id
from courtyard.kernel.languages import ENGLISH
from courtyard.kernel.mail import MailRow, Message, Template, Transport, Value, send
from courtyard.kernel.mail.rendering import render
from courtyard.kernel.mail.schemas import Rendered
from courtyard.kernel.mail.transports import transport_of
from courtyard.kernel.settings import ServerSettings, Settings
from courtyard.kernel.workspaces.models import WorkspaceRow
from tests.kernel.tasks.conftest import House
from tests.running import MovableClock
from tests.services import PARTS, Databases, Kind

LINK = "https://courtyard.example.org/confirm?token=qX3-_&next=%2Fa"
CODE = "417-093"
VALUES: Mapping[str, Value] = {
    "name": "Ada Lovelace",
    "link": LINK,
    "reset_link": "https://courtyard.example.org/reset",
    "code": CODE,
    "minutes": 30,
    "days": 7,
    "left": 3,
    "new_address": "a…@example.org",
    "device": "Firefox on Linux",
    "address": "203.0.113.…",
    "time": datetime(2026, 11, 21, 15, 4, tzinfo=UTC),
    "date": date(2026, 12, 5),
    "what": "totp_added",
    "thing": "Laptop",
    "provider": "Example Ltd",
    "workspace": "Help line of the West",
    "inviter": "Grace Hopper",
    "role": "volunteer",
    "message": "Come and help us",
    "owner": "Grace Hopper",
    "former_owner": "Grace Hopper",
    "new_owner": "Ada Lovelace",
}
SETTINGS = Settings.model_construct(server=ServerSettings(public_url="https://courtyard.example.org"))
# Part and template of every mail there is.
MAILS: list[tuple[Application, Template]] = [(part, template) for part in PARTS for template in part.mails]
NAMES = [template.name for _, template in MAILS]


def values_of(template: Template, **changes: Value) -> dict[str, Value]:
    """Return the data for a template, with some of them changed."""
    return {field: changes.get(field, VALUES[field]) for field in template.fields}


def rendered(name: str, language: str = ENGLISH, /, *, time_zone: str = "UTC", **changes: Value) -> Rendered:
    """Return a mail as its receiver reads it."""
    part, template = MAILS[NAMES.index(name)]
    data = values_of(template, **changes)
    message = Message(to="ada@example.org", template=template, language=language, data=data, time_zone=time_zone)
    return render(SETTINGS, part, message)


class Scripted(Transport):
    """A transport that does what a test tells it to.

    Attributes:
        taken: recipient and message of each mail that it has taken.
        troubles: what goes wrong with the next mails, one after the other.
        gate: closed, nothing gets through.
        inside: how many it has at this moment, and at most had.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, EmailMessage]] = []
        self.troubles: list[BaseException] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = 0
        self.most_inside = 0

    @override
    async def close(self) -> None:
        pass

    @override
    async def deliver(self, message: EmailMessage, recipient: str) -> str:
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        try:
            await self.gate.wait()
            if self.troubles:
                raise self.troubles.pop(0)
            self.taken.append((recipient, message))
        finally:
            self.inside -= 1
        return "taken"


class MailRecord(msgspec.Struct, frozen=True):
    """A row of the table."""

    workspace_id: UUID
    id: UUID
    template: str
    recipient: str
    subject: str
    content: bytes | None
    state: str
    task_id: UUID | None
    attempts: int
    answer: str | None
    created_at: datetime
    settled_at: datetime | None


_RECORDS = Prepared(
    select(*(getattr(MailRow, name) for name in MailRecord.__struct_fields__)).order_by(MailRow.id),
    MailRecord,
    across_workspaces=True,
)


class Post:
    """A process that delivers.

    Attributes:
        house: the process; its sweep runs when a test says so.
        runtime: what lives as long as it.
        clock: its clock.
        transport: where its mails go, unless the settings name a mail server.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.runtime = house.runtime
        self.clock = house.clock
        self.transport = Scripted()
        if self.runtime.settings.mail.transport != "smtp":
            self.runtime.resources._made[transport_of] = self.transport

    async def look(self) -> None:
        """Take what is due now."""
        for database in self.runtime.placement.databases():
            await self.house.runner._look(database)

    def context(self, workspace_id: UUID | None = None) -> Context:
        """Return a context of nobody, in a workspace or outside of any."""
        access = None if workspace_id is None else Access(workspace_id, "w", frozenset(), frozenset())
        return Context(self.runtime, None, access, "test")

    async def workspace(self) -> UUID:
        """Found a workspace, and return its id."""
        workspace_id = new_id()
        unit = UnitOfWork(self.runtime.placement)
        try:
            now, slug = self.clock.now(), f"w-{workspace_id}"
            await unit.insert(
                WorkspaceRow, id=workspace_id, slug=slug, name="W", settings={}, version=1, created_at=now
            )
            await unit.commit()
        finally:
            await unit.rollback()
        return workspace_id

    async def send(self, to: str = "ada@example.org", workspace_id: UUID | None = None, **message: Any) -> UUID:
        """Send and commit a mail."""
        context = self.context(workspace_id)
        try:
            mail_id = await send(context, login_mail(to, **message))
            await context.commit()
        finally:
            await context.rollback()
        return mail_id

    async def rows(self, database: Database | None = None) -> list[MailRecord]:
        """Return every row, the oldest first."""
        return await (database or self.runtime.placement.main).fetch(_RECORDS, {})

    async def row(self) -> MailRecord:
        """Return the only row."""
        (row,) = await self.rows()
        return row

    async def until(
        self, state: str, count: int = 1, *, attempts: int = 0, answer: str = "", seconds: float = 10
    ) -> list[MailRecord]:
        """Return the rows in a state (or in `one|another`) as soon as there are so many, and nothing runs here.

        Args:
            state: where they should be.
            count: how many.
            attempts: how many each has had at least.
            answer: what the last word on each contains.
            seconds: how long to wait.
        """

        async def found() -> list[MailRecord]:
            rows = [row for row in await self.rows() if row.state in state.split("|") and row.attempts >= attempts]
            # A row is written before its task ends.
            return [] if self.house.runner.running else [row for row in rows if answer in (row.answer or "")]

        async with asyncio.timeout(seconds):
            while len(rows := await found()) < count:  # noqa: ASYNC110 - other processes may change them
                await asyncio.sleep(0.01)
        return rows


def login_mail(to: str = "ada@example.org", **message: Any) -> Message:
    """Return a mail with a link and a code in it."""
    return Message(to=to, template=LOGIN, language="en", data=values_of(LOGIN), **message)


class PostFactory(Protocol):
    """Makes processes that deliver."""

    def __call__(self, *, idle: bool = False, placement: Placement | None = None, **mail: Any) -> Awaitable[Post]:
        """Start one on the database of the test.

        Args:
            idle: whether it hears of nothing and looks for nothing by itself.
            placement: other databases.
            mail: changes to the settings of mail.
        """
        ...


@pytest.fixture
async def posts(databases: Databases, database_kind: Kind, clock: MovableClock) -> AsyncIterator[PostFactory]:
    """Starts processes that deliver, on one database that no other test has. They end with the test."""
    url = await databases.new(database_kind)
    started: list[Post] = []

    async def start(*, idle: bool = False, placement: Placement | None = None, **mail: Any) -> Post:
        sections = {"mail": mail, "database": {"pool_size": 3, "read_pool_size": 3}}
        post = Post(House(databases.data_dir(url), url, clock, placement=placement, sections=sections))
        started.append(post)
        if not idle:
            await post.house.start()
        return post

    yield start
    for post in started:
        await post.house.stop()


@pytest.fixture
async def post(posts: PostFactory) -> Post:
    """One process that delivers."""
    return await posts()
