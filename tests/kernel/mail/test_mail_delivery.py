"""From the transaction of a change to the hands of a transport."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from courtyard.kernel.context import Context
from courtyard.kernel.database import INSTALLATION, Database, DatabaseUnavailable
from courtyard.kernel.mail import Message, Refused, Unavailable, delivery, send, store
from courtyard.kernel.mail.delivery import AT_ONCE, LEFT, RETRY
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.tasks import Nothing, administration
from courtyard.kernel.tasks.store import take_limited
from courtyard.site.metrics import exposition
from tests.applications.chat.test_two_databases import TwoDatabases
from tests.factories import unique
from tests.kernel.mail.conftest import CODE, LINK, Post, PostFactory, login_mail
from tests.kernel.mail.sink import open_sink
from tests.kernel.tasks import probe
from tests.mailbox import Mailbox
from tests.running import RunningServer
from tests.services import Databases, Kind

ODD = [
    '"a"@b.c',
    "a,b@c.d",
    "(x)a@b.c",
    "<a>@b.c",
    "a@b>c",
    "a..b@c",
    "a@b,c",
    "é@é.é",
    "a@[::1]",
    "a;b@c",
    "a\\@b",
    "=?utf-8?q?x?=@b.c",
]
SECRETS = (CODE.encode(), LINK.encode())


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


class TestTransaction:
    async def test_a_mail_leaves_after_the_commit_and_at_once(self, server: RunningServer, mailbox: Mailbox) -> None:
        to = f"{unique('ada')}@example.org"
        context = Context(server.runtime, None, None, "test")
        await send(context, login_mail(to))
        await asyncio.sleep(0.05)
        assert mailbox.waiting(to) == []
        await context.commit()
        # Much sooner than the next sweep.
        mail = await mailbox.wait_for(to, "accounts.login", timeout=3)
        assert (mail.link, mail.code, mail.subject) == (LINK, CODE, "Log in to Courtyard")

    async def test_a_rollback_sends_nothing(self, post: Post) -> None:
        context = post.context()
        await send(context, login_mail())
        await context.rollback()
        await post.look()
        assert (await post.rows(), post.transport.taken) == ([], [])

    @pytest.mark.parametrize(
        "to", ["", "ada", "ada@example.org\r\nBcc: x@example.org", "ada@example.org\n", "a b@c.d", f"{'a' * 300}@b.c"]
    )
    async def test_what_is_no_address_fails_the_change(self, post: Post, to: str) -> None:
        context = post.context()
        with pytest.raises(msgspec.ValidationError):
            await send(context, login_mail(to))
        await context.rollback()

    async def test_a_faulty_mail_fails_the_change(self, post: Post) -> None:
        context = post.context()
        mail = login_mail()
        with pytest.raises(ValueError, match=r"accounts\.login takes"):
            await send(context, Message(to=mail.to, template=mail.template, language="en"))
        await context.rollback()
        assert await post.rows() == []

    async def test_it_belongs_to_the_workspace_of_the_change(self, post: Post) -> None:
        workspace_id = await post.workspace()
        ids = [await post.send(), await post.send(workspace_id=workspace_id)]
        rows = await post.until("sent", 2)
        assert {(row.id, row.workspace_id) for row in rows} == set(zip(ids, (INSTALLATION, workspace_id), strict=True))


class TestSecrets:
    async def test_what_a_mail_says_is_never_in_the_database(self, post: Post) -> None:
        post.transport.troubles = [Unavailable("away")]
        mail_id = await post.send()
        (waiting,) = await post.until("queued", attempts=1)
        assert waiting.content is not None
        content = post.runtime.keys.decrypt(waiting.content, "mail.content", mail_id)
        assert all(secret in content for secret in SECRETS)
        for secret in SECRETS:
            assert secret not in repr(waiting).encode()
        post.clock.move(minutes=1)
        await post.look()
        (sent,) = await post.until("sent")
        assert sent.content is None
        assert (sent.template, sent.recipient, sent.subject) == (
            "accounts.login",
            "ada@example.org",
            "Log in to Courtyard",
        )

    async def test_a_mail_that_failed_says_nothing_either(self, post: Post) -> None:
        post.transport.troubles = [Refused("550 no such mailbox")]
        await post.send()
        (failed,) = await post.until("failed")
        assert (failed.content, failed.answer, failed.attempts) == (None, "550 no such mailbox", 1)

    async def test_a_key_that_is_missing_is_waited_for(self, post: Post) -> None:
        keys, others = post.runtime.keys, type(post.runtime.keys)([("other", bytes(range(32)))])
        object.__setattr__(post.runtime, "keys", others)
        context = post.context()
        await send(context, login_mail())
        object.__setattr__(post.runtime, "keys", keys)
        await context.commit()
        await post.until("queued", attempts=1)
        assert "'other'" in ((await post.row()).answer or "")
        object.__setattr__(post.runtime, "keys", others)
        post.clock.move(minutes=1)
        await post.look()
        await post.until("sent")


class TestRetries:
    async def test_pauses_grow_until_the_mail_is_taken(self, post: Post) -> None:
        failures = 6
        post.transport.troubles = [Unavailable("451 come again later") for _ in range(failures)]
        mail_id = await post.send()
        pauses = []
        for attempt in range(1, failures + 1):
            (row,) = await post.until("queued", attempts=attempt)
            task = await post.house.row(row.task_id)
            assert (row.answer, task.state, task.detail) == ("451 come again later", "waiting", "451 come again later")
            pauses.append((task.ready_at - post.clock.now()).total_seconds())
            await post.look()
            assert post.house.runner.running == 0
            post.clock.move(seconds=pauses[-1] + 1)
            await post.look()
        (sent,) = await post.until("sent")
        assert sent.attempts == failures + 1
        assert [message["Message-ID"] for _, message in post.transport.taken] == [f"<{mail_id}@localhost>"]
        for number, pause in enumerate(pauses):
            longest = min(RETRY.first_pause_seconds * 2**number, RETRY.longest_pause_seconds)
            # Some of it has gone by.
            assert longest / 2 - 5 <= pause <= longest

    async def test_it_is_given_up_in_the_end(self, posts: PostFactory) -> None:
        post = await posts(give_up_seconds=60)
        post.transport.troubles = [Unavailable("away")]
        await post.send()
        await post.until("queued", attempts=1)
        post.clock.move(seconds=61)
        await post.look()
        (failed,) = await post.until("failed")
        assert (failed.content, failed.answer, failed.attempts) == (None, "given up: away", 1)
        assert post.transport.taken == []
        # A dead letter, for whoever looks after the mail server.
        task = await post.house.row(failed.task_id)
        assert (task.state, task.detail) == ("failed", "given up: away")

    async def test_a_mail_that_has_become_useless_is_not_sent(self, post: Post) -> None:
        post.transport.troubles = [Unavailable("away")]
        await post.send(expires_at=post.clock.now() + timedelta(minutes=10))
        await post.until("queued", attempts=1)
        post.clock.move(minutes=11)
        await post.look()
        await post.until("failed")
        assert post.transport.taken == []

    async def test_what_nobody_tries_any_more_is_let_go_of(self, posts: PostFactory) -> None:
        post = await posts(idle=True)
        await post.send(expires_at=post.clock.now() + timedelta(minutes=10))
        context = post.context()
        task_id = (await post.row()).task_id
        assert task_id is not None
        await administration.cancel(context, task_id)
        await context.commit()
        for moved, state in ((timedelta(minutes=11), "queued"), (LEFT, "failed")):
            post.clock.offset += moved
            await delivery.give_up(post.context(), Nothing())
            row = await post.row()
            assert (row.state, row.content is None) == (state, state == "failed")

    async def test_a_fault_of_ours_loses_no_mail(self, post: Post) -> None:
        post.transport.troubles = [ZeroDivisionError("a fault")]
        await post.send()
        await post.until("queued", attempts=1)
        post.clock.move(minutes=1)
        await post.look()
        await post.until("sent")

    async def test_an_odd_address_ends_somewhere(self, post: Post) -> None:
        """The form of an address says little: what cannot be sent fails by itself, and does not come back."""
        for to in ODD:
            await post.send(to)
        rows = await post.until("sent|failed", len(ODD))
        taken = {recipient: message.as_bytes() for recipient, message in post.transport.taken}
        assert {row.recipient for row in rows if row.state == "sent"} == set(taken)
        assert all(b"\r\nMessage-ID:" in message for message in taken.values())
        # Whoever has these would have the mailbox of somebody else.
        assert not {"a,b@c.d", "(x)a@b.c", "a@b>c"} & set(taken)


class TestProcesses:
    async def test_two_deliver_each_mail_once(self, posts: PostFactory) -> None:
        async with open_sink() as sink:
            smtp = {"host": "localhost", "port": sink.port, "security": "none", "timeout_seconds": 20}
            one, other = [await posts(transport="smtp", smtp=smtp) for _ in range(2)]
            addresses = [f"{number}@example.org" for number in range(60)]
            await asyncio.gather(*((one, other)[n % 2].send(address) for n, address in enumerate(addresses)))
            for each in (one, other):
                await each.house.look()
            await one.until("sent", len(addresses))
        assert sorted(recipient for recipient, _ in sink.taken) == sorted(addresses)
        assert {row.attempts for row in await one.rows()} == {1}

    async def test_what_a_killed_process_had_is_taken_by_another_when_its_time_is_over(
        self, posts: PostFactory
    ) -> None:
        dead = await posts(idle=True)
        mail_id = await dead.send()
        lease = timedelta(seconds=60)
        main = dead.runtime.placement.main
        (taken,) = await take_limited(main, "mail.deliver", AT_ONCE, dead.clock.now(), lease, 10)
        mail = await store.find(dead.context().outside(), mail_id)
        assert mail is not None
        living = await posts()
        await living.look()
        assert living.transport.taken == []
        living.clock.move(seconds=61)
        await living.look()
        (sent,) = await living.until("sent")
        assert (sent.id, sent.task_id, sent.attempts) == (mail_id, taken.id, 1)
        # Not dead, only late: what it has to say now changes nothing.
        await store.note(dead.runtime.placement, mail, "late")
        assert await living.rows() == [sent]

    async def test_who_was_late_and_has_delivered_is_believed(self, posts: PostFactory) -> None:
        late, other = await posts(), await posts(idle=True)
        late.transport.gate.clear()
        await late.send()
        await eventually(lambda: late.transport.inside == 1)
        # Nothing is heard of it for longer than its lease, and somebody else tries in vain.
        late.clock.move(seconds=31)
        other.transport.troubles = [Unavailable("away")]
        await other.look()
        await other.until("queued", attempts=1)
        late.transport.gate.set()
        (sent,) = await late.until("sent")
        assert (sent.answer, sent.attempts) == ("taken", 2)
        other.clock.move(minutes=1)
        await other.look()
        await eventually(lambda: other.house.runner.running == 0)
        assert other.transport.taken == []
        assert (await other.house.row()).state == "done"

    async def test_every_database_is_looked_into(
        self, databases: Databases, database_kind: Kind, posts: PostFactory
    ) -> None:
        main, other = (
            Database(url, DatabaseSettings())
            for url in (await databases.new(database_kind), await databases.new(database_kind, main=False))
        )
        placement = TwoDatabases(main, other)
        post = await posts(placement=placement)
        moved = await post.workspace()
        placement.moved.add(moved)
        await post.send("here@example.org")
        await post.send("there@example.org", workspace_id=moved)
        await eventually(lambda: len(post.transport.taken) == 2)
        # And what nobody tells of, in the one of the two that answers.
        await post.runtime.bus.close()
        await post.send("later@example.org", workspace_id=moved)
        await post.look()
        await eventually(lambda: len(post.transport.taken) == 3)
        assert [row.workspace_id for row in await post.rows(other)] == [moved, moved]


class TestLoad:
    async def test_no_more_at_once_than_is_allowed_and_other_tasks_have_room(self, posts: PostFactory) -> None:
        post = await posts()
        post.transport.gate.clear()
        count = AT_ONCE + 20
        for number in range(count):
            await post.send(f"{number}@example.org")
        await eventually(lambda: post.transport.inside == AT_ONCE)
        await post.look()
        assert post.transport.inside == AT_ONCE
        await post.house.enqueue(probe.leave, "meanwhile")
        await post.house.until("done")
        assert await post.house.effects() == ["meanwhile"]
        post.transport.gate.set()
        # All of them, without another sweep.
        await post.until("sent", count)
        assert post.transport.most_inside == AT_ONCE

    async def test_a_mail_server_that_hangs_is_left(self, posts: PostFactory) -> None:
        post = await posts(smtp={"timeout_seconds": 0.1})
        post.transport.gate.clear()
        await post.send()
        await post.until("queued", attempts=1, answer="no end after 0.1 seconds")
        assert (await post.house.row()).code == "unavailable"

    async def test_a_look_without_a_mail_writes_nothing(self, post: Post) -> None:
        writers = post.runtime.placement.main.writers
        held = [await writers.acquire() for _ in range(writers.size)]
        try:
            async with asyncio.timeout(1):
                await post.look()
        finally:
            for connection in held:
                writers.release(connection)

    async def test_a_stop_lets_what_is_under_way_arrive(self, posts: PostFactory) -> None:
        post = await posts()
        post.transport.gate.clear()
        await post.send()
        await eventually(lambda: post.transport.inside == 1)
        stopping = asyncio.create_task(post.house.runner.stop(5))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        post.transport.gate.set()
        await stopping
        assert (await post.row()).state == "sent"

    async def test_what_was_taken_is_noted_before_the_end(self, posts: PostFactory) -> None:
        """A mail that the mail server has is not sent again because the process has no more time."""
        post = await posts()
        post.transport.gate.clear()
        await post.send()
        await eventually(lambda: post.transport.inside == 1)
        writers = post.runtime.placement.main.writers
        held = [await writers.acquire() for _ in range(writers.size)]
        post.transport.gate.set()
        await eventually(lambda: len(post.transport.taken) == 1)
        stopping = asyncio.create_task(post.house.runner.stop(0))
        await asyncio.sleep(0.05)
        for connection in held:
            writers.release(connection)
        await stopping
        assert (await post.row()).state == "sent"

    async def test_what_was_taken_is_noted_when_the_database_is_back(
        self, post: Post, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settle, away = store.settle, [DatabaseUnavailable("away")]

        async def stumbling(*arguments: Any, **options: Any) -> None:
            if away:
                raise away.pop()
            await settle(*arguments, **options)

        monkeypatch.setattr(store, "settle", stumbling)
        await post.send()
        (sent,) = await post.until("sent")
        assert (sent.attempts, len(post.transport.taken), away) == (1, 1, [])

    async def test_outcomes_are_counted(self, post: Post) -> None:
        before = outcomes(post)
        post.transport.troubles = [Refused("550"), Unavailable("451")]
        for number in range(3):
            await post.send(f"{number}@example.org")
            await eventually(lambda done=number + 1: sum(outcomes(post).values()) - sum(before.values()) == done)  # type: ignore[misc]
        counted = {name: value - before[name] for name, value in outcomes(post).items()}
        assert counted == {"sent": 1, "refused": 1, "postponed": 1, "expired": 0}


def outcomes(post: Post) -> dict[str, float]:
    families = text_string_to_metric_families(exposition(post.runtime).decode())
    (family,) = [family for family in families if family.name == "courtyard_mail_delivered"]
    return {sample.labels["outcome"]: sample.value for sample in family.samples}
