"""Mail to a mail server, whatever runs the tasks: the default that needs nothing, and everything that there is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from email.message import EmailMessage
from uuid import UUID

import pytest

from tests.factories import unique
from tests.kernel.mail.conftest import LINK, MailRecord, Post
from tests.kernel.mail.sink import Sink, open_sink
from tests.kernel.tasks.crews import BOTH, Crew, Sections, open_crew, redis_of
from tests.services import Databases, RedisSpace

SECONDS = 60
TIMEOUT_SECONDS = 3.0
CUT = "SMTPServerDisconnected"


@pytest.fixture(scope="module")
async def mail_server() -> AsyncIterator[Sink]:
    """A mail server that does what a test tells it to."""
    async with open_sink() as sink:
        yield sink


@pytest.fixture(scope="module", params=BOTH)
async def crew(
    request: pytest.FixtureRequest,
    databases: Databases,
    tmp_path_factory: pytest.TempPathFactory,
    redis_space_of_process: RedisSpace,
    mail_server: Sink,
) -> AsyncIterator[Crew]:
    """An installation that sends through the mail server. The tests of it share it."""
    smtp = {"host": "localhost", "port": mail_server.port, "security": "none", "timeout_seconds": TIMEOUT_SECONDS}
    sections: Sections = {
        "mail": {"transport": "smtp", "smtp": smtp},
        **await redis_of(request.param, redis_space_of_process),
    }
    async with open_crew(request.param, databases, tmp_path_factory.mktemp("crew"), sections) as made:
        yield made


@pytest.fixture
async def post(crew: Crew) -> Post:
    """The process that asks for mail."""
    return Post(crew.house)


@pytest.fixture
def sink(mail_server: Sink) -> Sink:
    """The mail server, which takes everything."""
    mail_server.on_rcpt, mail_server.on_data = Sink.on_rcpt, Sink.on_data
    mail_server.hangs_at = mail_server.drops_at = ""
    return mail_server


async def found(crew: Crew, post: Post, mail_ids: list[UUID], state: str, attempts: int = 1) -> list[MailRecord]:
    """Return what became of mails, as soon as all of them are in a state and have been tried so often."""
    rows: list[MailRecord] = []
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                rows = [row for row in await post.rows() if row.id in mail_ids]
                if all(row.state == state and row.attempts >= attempts for row in rows):
                    return rows
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{rows}\n{crew.said()[-4_000:]}") from None


async def ended(post: Post, rows: list[MailRecord]) -> dict[str, set[str]]:
    """Return what became of the tasks of mails, and their problems, as soon as they have ended."""
    async with asyncio.timeout(SECONDS):
        while True:
            tasks = [task for task in await post.house.rows() if task.id in {row.task_id for row in rows}]
            if all(task.ended_at is not None for task in tasks):
                return {"states": {task.state for task in tasks}, "problems": {task.detail for task in tasks}}
            await asyncio.sleep(0.02)


def taken(sink: Sink, mail_ids: Iterable[UUID]) -> Counter[UUID]:
    """Return how often each of these mails was taken."""
    ids = {f"<{mail_id}@localhost>": mail_id for mail_id in mail_ids}
    return Counter(ids[message["Message-ID"]] for _, message in sink.taken if message["Message-ID"] in ids)


def text_of(message: EmailMessage) -> str:
    text = message.get_body(("plain",))
    assert text is not None
    return str(text.get_content())


async def test_each_mail_arrives_once(crew: Crew, post: Post, sink: Sink) -> None:
    addresses = [f"{unique('ada')}@example.org" for _ in range(40)]
    mail_ids = [await post.send(address) for address in addresses]
    rows = await found(crew, post, mail_ids, "sent")
    assert taken(sink, mail_ids) == dict.fromkeys(mail_ids, 1)
    mine = [(recipient, text_of(message)) for recipient, message in sink.taken if recipient in addresses]
    assert sorted(recipient for recipient, _ in mine) == sorted(addresses)
    assert all(LINK in text for _, text in mine)
    # What they said is gone, and the word of the mail server stays.
    assert {(row.attempts, row.answer, row.content) for row in rows} == {(1, "taken as 42", None)}
    assert await ended(post, rows) == {"states": {"done"}, "problems": {""}}


async def test_a_mail_of_a_workspace_is_delivered_there(crew: Crew, post: Post, sink: Sink) -> None:
    workspace_id = await post.workspace()
    mail_id = await post.send(workspace_id=workspace_id)
    (row,) = await found(crew, post, [mail_id], "sent")
    assert (row.workspace_id, taken(sink, [mail_id])) == (workspace_id, {mail_id: 1})


async def test_what_is_not_taken_now_is_tried_again(crew: Crew, post: Post, sink: Sink) -> None:
    mail_ids: dict[str, UUID] = {}

    async def meet(trouble: str) -> None:
        mail_ids[trouble] = await post.send(f"{unique('ada')}@example.org")
        (row,) = await found(crew, post, [mail_ids[trouble]], "queued")
        assert trouble in (row.answer or "")
        # A login is not to be read by whoever reads the database, however long the mail waits.
        assert row.content is not None
        assert LINK.encode() not in row.content

    sink.on_data = "451 come again later"
    await meet("451 come again later")
    sink.on_data, sink.hangs_at = Sink.on_data, "data"
    await meet(f"no end after {TIMEOUT_SECONDS}")
    sink.hangs_at, sink.drops_at = "", "data"
    await meet(CUT)
    sink.drops_at = ""
    rows = await found(crew, post, [*mail_ids.values()], "sent", attempts=2)
    assert await ended(post, rows) == {"states": {"done"}, "problems": {""}}
    # Where the line was cut, it had been taken: it is there twice, and mail programs know it again.
    assert taken(sink, mail_ids.values()) == {
        mail_id: 2 if trouble == CUT else 1 for trouble, mail_id in mail_ids.items()
    }


@pytest.mark.parametrize("step", ["on_rcpt", "on_data"])
async def test_what_is_refused_is_not_tried_again(crew: Crew, post: Post, sink: Sink, step: str) -> None:
    setattr(sink, step, "550 no such mailbox")
    mail_id = await post.send()
    (row,) = await found(crew, post, [mail_id], "failed")
    assert (row.answer, row.attempts, row.content) == ("550 no such mailbox", 1, None)
    # What the mail server says is an answer, not a failure of ours.
    assert await ended(post, [row]) == {"states": {"done"}, "problems": {""}}
    assert not taken(sink, [mail_id])


async def test_what_has_become_useless_is_a_dead_letter(crew: Crew, post: Post, sink: Sink) -> None:
    mail_id = await post.send(expires_at=post.clock.now() - timedelta(seconds=1))
    (row,) = await found(crew, post, [mail_id], "failed", attempts=0)
    assert (row.answer, row.content) == ("given up: too late", None)
    assert await ended(post, [row]) == {"states": {"failed"}, "problems": {"given up: too late"}}
    assert not taken(sink, [mail_id])
