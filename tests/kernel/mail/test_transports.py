"""What every transport does, and what each one does by itself."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from courtyard.kernel.ids import new_id
from courtyard.kernel.mail import Refused, Transport, Unavailable
from courtyard.kernel.mail.composition import compose
from courtyard.kernel.mail.schemas import Content
from courtyard.kernel.mail.store import Waiting
from courtyard.kernel.mail.transports import Outbox, Smtp
from courtyard.kernel.mail.transports.smtp import KEPT
from courtyard.kernel.settings_sections import MailSettings, SmtpSettings
from tests.kernel.mail.sink import PASSWORD, USERNAME, Certificate, Sink, open_sink

TO = "ada@example.org"
TEXT = "Hyvää päivää! Your code is\n\n    417-093\n\n" + "A long line. " * 200 + "\n.\nFrom here on.\n"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mail(
    to: str = TO, *, number: int = 0, mail_id: UUID | None = None, sender: str = "Apu <apu@example.org>"
) -> EmailMessage:
    created_at = NOW + timedelta(seconds=number)
    waiting = Waiting(
        UUID(int=0), mail_id or new_id(), "accounts.login", "fi", to, f"Päivää {number}", b"", created_at, NOW
    )
    return compose(MailSettings(sender=sender), waiting, Content(TEXT, "<p>Hyvää päivää!</p>"))


def body(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def smtp(sink: Sink, **settings: Any) -> Smtp:
    settings = {"host": "localhost", "port": sink.port, "security": "none", "timeout_seconds": 5, **settings}
    trusted = settings.pop("trusted", None)
    return Smtp(SmtpSettings(**settings), trusted=trusted)


class Both:
    """A transport, and what came out at its other end."""

    def __init__(self, transport: Transport, folder: Path, sink: Sink | None) -> None:
        self.transport = transport
        self._folder = folder
        self._sink = sink

    def arrived(self) -> list[EmailMessage]:
        if self._sink is not None:
            return [message for _, message in self._sink.taken]
        paths = sorted(self._folder.glob("*.eml"))
        return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths]

    def be_away(self) -> None:
        if self._sink is not None:
            self._sink.drops_at = "connect"
        else:
            self._folder.rmdir()
            self._folder.write_text("in the way")


@pytest.fixture(params=["outbox", "smtp"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    folder = tmp_path / "outbox"
    if request.param == "outbox":
        folder.mkdir()
        yield Both(Outbox(folder, 100), folder, None)
        return
    async with open_sink() as sink:
        yield Both(smtp(sink), folder, sink)


class TestTransport:
    """The contract."""

    async def test_a_mail_arrives_as_it_was_sent(self, both: Both) -> None:
        sent = mail()
        assert await both.transport.deliver(sent, TO)
        (found,) = both.arrived()
        assert body(found) == TEXT
        html = found.get_body(("html",))
        assert html is not None
        assert html.get_content().strip() == "<p>Hyvää päivää!</p>"
        for name in ("From", "To", "Subject", "Date", "Message-ID", "Content-Language", "Auto-Submitted"):
            assert str(found[name]) == str(sent[name])
        assert found["Subject"] == "Päivää 0"

    async def test_many_at_once(self, both: Both) -> None:
        await asyncio.gather(*(both.transport.deliver(mail(number=number), TO) for number in range(20)))
        assert sorted(message["Subject"] for message in both.arrived()) == sorted(f"Päivää {n}" for n in range(20))

    async def test_a_repeated_mail_can_be_recognised(self, both: Both) -> None:
        mail_id = new_id()
        for _ in range(2):
            await both.transport.deliver(mail(mail_id=mail_id), TO)
        assert {message["Message-ID"] for message in both.arrived()} == {f"<{mail_id}@example.org>"}

    @pytest.mark.parametrize("to", ["äiti@example.org", "ada@exämple.org", "o'neil+a=b@example.org"])
    async def test_an_address_of_another_alphabet(self, both: Both, to: str) -> None:
        await both.transport.deliver(mail(to), to)
        (found,) = both.arrived()
        assert body(found) == TEXT

    async def test_what_is_away_may_come_back(self, both: Both) -> None:
        both.be_away()
        with pytest.raises(Unavailable) as raised:
            await both.transport.deliver(mail(), TO)
        assert str(raised.value)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestOutbox:
    async def test_files_are_for_this_user_alone(self, tmp_path: Path) -> None:
        outbox = Outbox(tmp_path / "data" / "outbox", 10)
        name = await outbox.deliver(mail(), TO)
        assert stat.S_IMODE((tmp_path / "data/outbox").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data/outbox" / name).stat().st_mode) == 0o600

    async def test_the_oldest_go(self, tmp_path: Path) -> None:
        outbox = Outbox(tmp_path, 3)
        names = [await outbox.deliver(mail(number=number), TO) for number in range(5)]
        assert names_in(tmp_path) == names[2:]

    async def test_the_same_mail_is_one_file(self, tmp_path: Path) -> None:
        outbox, mail_id = Outbox(tmp_path, 3), new_id()
        assert await outbox.deliver(mail(mail_id=mail_id), TO) == await outbox.deliver(mail(mail_id=mail_id), TO)
        assert len(names_in(tmp_path)) == 1

    async def test_the_log_names_the_file_and_nothing_of_what_it_says(self, tmp_path: Path) -> None:
        with capture_logs() as lines:
            name = await Outbox(tmp_path, 3).deliver(mail(), TO)
        (line,) = lines
        assert line["file"] == str(tmp_path / name)
        assert "417" not in str(line)
        assert TO not in str(line)


@asynccontextmanager
async def encrypted(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Sink, Certificate]]:
    certificate = Certificate.make(tmp_path)
    async with open_sink(certificate=certificate, **options) as sink:
        yield sink, certificate


class TestSmtp:
    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_it_logs_in_over_tls(self, tmp_path: Path, security: str) -> None:
        async with encrypted(tmp_path, implicit_tls=security == "tls", login=True) as (sink, certificate):
            login = {"username": USERNAME, "password": PASSWORD}
            transport = smtp(sink, security=security, trusted=certificate.trusting, **login)
            assert await transport.deliver(mail(), TO) == "taken as 42"
        assert [recipient for recipient, _ in sink.taken] == [TO]
        assert (sink.logins, sink.encrypted) == ([USERNAME], [True])

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_a_certificate_that_nobody_vouches_for(self, tmp_path: Path, security: str) -> None:
        async with encrypted(tmp_path, implicit_tls=security == "tls", login=True) as (sink, _):
            transport = smtp(sink, security=security, username=USERNAME, password=PASSWORD)
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                await transport.deliver(mail(), TO)
        assert (sink.taken, sink.logins) == ([], [])

    async def test_a_certificate_of_another_name(self, tmp_path: Path) -> None:
        async with encrypted(tmp_path) as (sink, certificate):
            transport = smtp(sink, host="127.0.0.1", security="starttls", trusted=certificate.trusting)
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                await transport.deliver(mail(), TO)

    async def test_a_server_without_tls_is_told_nothing(self) -> None:
        """Whoever takes the offer of TLS out of the greeting would read the password otherwise."""
        async with open_sink() as sink:
            transport = smtp(sink, security="starttls", username=USERNAME, password=PASSWORD)
            with pytest.raises((Unavailable, Refused)):
                await transport.deliver(mail(), TO)
        assert (sink.taken, sink.logins) == ([], [])

    async def test_a_wrong_password_is_for_the_operator(self, tmp_path: Path) -> None:
        async with encrypted(tmp_path, login=True) as (sink, certificate):
            wrong = {"username": USERNAME, "password": "wrong"}
            transport = smtp(sink, security="starttls", trusted=certificate.trusting, **wrong)
            with pytest.raises(Unavailable, match="535"):
                await transport.deliver(mail(), TO)

    async def test_a_connection_carries_the_next_mail_too(self, tmp_path: Path) -> None:
        async with encrypted(tmp_path, login=True) as (sink, certificate):
            login = {"username": USERNAME, "password": PASSWORD}
            transport = smtp(sink, security="starttls", trusted=certificate.trusting, **login)
            for number in range(5):
                await transport.deliver(mail(number=number), TO)
            assert (len(sink.taken), len(sink.logins)) == (5, 1)
            await asyncio.gather(*(transport.deliver(mail(number=number), TO) for number in range(10)))
            assert len(sink.taken) == 15
            # As many as were needed at once, of which a few are kept.
            assert len(transport._idle) == KEPT
            await transport.close()
            await transport.deliver(mail(), TO)
            assert len(sink.taken) == 16
            await transport.close()

    async def test_a_connection_that_was_cut_meanwhile_is_made_anew(self) -> None:
        async with open_sink() as sink:
            transport = smtp(sink)
            await transport.deliver(mail(number=1), TO)
            (kept,) = transport._idle
            assert isinstance(kept.client.transport, asyncio.Transport)
            kept.client.transport.abort()
            await transport.deliver(mail(number=2), TO)
            assert len(sink.taken) == 2
            await transport.close()

    async def test_after_any_trouble_a_connection_is_not_used_again(self) -> None:
        async with open_sink() as sink:
            transport = smtp(sink)
            sink.on_data = "451 later"
            with pytest.raises(Unavailable):
                await transport.deliver(mail(), TO)
            assert transport._idle == []

    async def test_a_connection_that_was_used_long_ago_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with open_sink() as sink:
            transport = smtp(sink)
            await transport.deliver(mail(number=1), TO)
            monkeypatch.setattr("courtyard.kernel.mail.transports.smtp.IDLE_SECONDS", 0.0)
            (before,) = transport._idle
            await transport.deliver(mail(number=2), TO)
            (after,) = transport._idle
            assert after.client is not before.client
            await transport.close()

    @pytest.mark.parametrize("at", ["on_rcpt", "on_data"])
    @pytest.mark.parametrize(
        ("answer", "error"), [("550 no such mailbox", Refused), ("451 greylisted", Unavailable)], ids=["5xx", "4xx"]
    )
    async def test_what_the_server_says(self, at: str, answer: str, error: type[Exception]) -> None:
        async with open_sink() as sink:
            setattr(sink, at, answer)
            with pytest.raises(error, match=answer):
                await smtp(sink).deliver(mail(), TO)

    async def test_nobody_listens(self) -> None:
        async with open_sink() as sink:
            pass
        with pytest.raises(Unavailable):
            await smtp(sink).deliver(mail(), TO)

    @pytest.mark.parametrize("at", ["connect", "data"])
    async def test_a_server_that_falls_silent(self, at: str) -> None:
        async with open_sink() as sink:
            sink.hangs_at = at
            with pytest.raises(Unavailable, match=r"(?i)time"):
                await smtp(sink, timeout_seconds=0.2).deliver(mail(), TO)

    async def test_a_server_that_hangs_up_in_the_middle(self) -> None:
        async with open_sink() as sink:
            sink.drops_at = "data"
            with pytest.raises(Unavailable):
                await smtp(sink).deliver(mail(), TO)

    async def test_a_mail_that_was_taken_is_delivered_whatever_comes_then(self) -> None:
        async with open_sink() as sink:
            sink.hangs_at = "quit"
            async with asyncio.timeout(3):
                assert await smtp(sink, timeout_seconds=60).deliver(mail(), TO) == "taken as 42"
        assert len(sink.taken) == 1
