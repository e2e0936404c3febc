"""Mail servers and receivers that hang, refuse, redirect or lead inside, while the worker is killed under them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.factories import Factory, Workspace, ok
from tests.kernel.mail.conftest import Post
from tests.kernel.mail.sink import open_sink
from tests.kernel.tasks.crews import WHOLE, Crew, Sections, open_crew, redis_of
from tests.kernel.webhooks.conftest import LONG, deliveries, detail, listening, name
from tests.services import Databases, RedisSpace

pytestmark = [pytest.mark.slow, pytest.mark.services]
SECONDS = 60
MAILS = 12
MESSAGES = 4
OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"


@pytest.fixture
async def crew(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path, redis_space: RedisSpace
) -> AsyncIterator[Crew]:
    """PostgreSQL, Redis, and a worker of Celery over RabbitMQ, with the settings of the test."""
    sections: Sections = {**getattr(request, "param", {}), **await redis_of(WHOLE, redis_space)}
    async with open_crew(WHOLE, databases, tmp_path, sections) as made:
        yield made


async def tried(workspace: Workspace, endpoint: dict[str, Any], state: str) -> list[dict[str, Any]]:
    """Return the deliveries to an endpoint, as soon as all of them are in a state and have been tried."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await deliveries(workspace, endpoint, state=state)
            if len([each for each in found if each["attempts"] > 0]) == MESSAGES:
                return found
            await asyncio.sleep(0.05)


async def test_a_worker_is_killed_while_the_mail_server_hangs(
    databases: Databases, tmp_path: Path, redis_space: RedisSpace
) -> None:
    async with open_sink() as sink:
        smtp = {"host": "localhost", "port": sink.port, "security": "none", "timeout_seconds": 30}
        sections: Sections = {"mail": {"transport": "smtp", "smtp": smtp}, **await redis_of(WHOLE, redis_space)}
        async with open_crew(WHOLE, databases, tmp_path, sections) as crew:
            post = Post(crew.house)
            sink.hangs_at = "data"
            mail_ids = [await post.send(f"{number}@example.org") for number in range(MAILS)]
            await crew.house.until("running", seconds=SECONDS)
            await crew.workers[0].kill()
            sink.hangs_at = ""
            await crew.hire()
            rows = await post.until("sent", MAILS, seconds=SECONDS)
            assert {row.id for row in rows} == {*mail_ids}
            # None had been taken, so none is there twice.
            assert sorted(message["Message-ID"] for _, message in sink.taken) == sorted(
                f"<{mail_id}@localhost>" for mail_id in mail_ids
            )
            assert max(task.attempt for task in await crew.house.rows()) > 1


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "crew",
    [{"webhooks": {"allowed_networks": (f"{OUTSIDE}/32",), "sweep_seconds": 0.05, "timeout_seconds": 1}}],
    indirect=True,
)
async def test_bad_receivers_keep_nothing_from_others_and_nothing_is_lost(
    crew: Crew, server_factory: ServerFactory
) -> None:
    shared: dict[str, Any] = {section: crew.sections[section] for section in ("redis", "tasks")}
    # Where an endpoint is named its address is fine; where it is told it leads inside.
    careless = {"allowed_networks": ("127.0.0.0/8",), "sweep_seconds": 0.05}
    make = Factory(await server_factory(database=crew.url, webhooks=careless, security=LONG, **shared))
    workspace = await make.workspace()
    async with listening() as good, listening() as slow, listening() as elsewhere, listening(INSIDE) as inside:
        slow.seconds = 30
        elsewhere.status, elsewhere.headers = 302, {"Location": good.url}
        endpoints = [await name(workspace, one.url, "chat.message.sent") for one in (good, slow, elsewhere, inside)]
        conversation = await make.conversation(workspace)
        for number in range(MESSAGES):
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": f"{number}"}))
        await slow.reach(1)
        await crew.workers[0].kill()
        slow.seconds = 0
        await crew.hire()
        for receiver, endpoint in zip((good, slow), endpoints[:2], strict=True):
            await tried(workspace, endpoint, "delivered")
            assert len({told.headers["webhook-id"] for told in receiver.told}) == MESSAGES
        for endpoint, word in ((endpoints[2], "302"), (endpoints[3], "private network")):
            (newest, *_) = await tried(workspace, endpoint, "waiting")
            (attempt, *_) = (await detail(workspace, newest["id"]))["attempts"]
            assert word in f"{attempt['status']} {attempt['error']}"
        assert inside.told == []
