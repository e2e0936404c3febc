"""`courtyard mail`, and what `courtyard doctor` says about mail."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from courtyard.doctor import _mail
from courtyard.kernel.mail.cli import commands
from courtyard.kernel.settings import Settings
from courtyard.kernel.settings_sections import MailSettings, SmtpSettings
from tests.kernel.mail.sink import open_sink
from tests.mailbox import Mailbox


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_construct(data_dir=tmp_path)


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(commands(lambda: settings), arguments)


def with_mail(settings: Settings, **mail: Any) -> Settings:
    return settings.model_copy(update={"mail": MailSettings(**mail)})


class TestOutbox:
    def test_an_empty_one(self, settings: Settings, tmp_path: Path) -> None:
        result = run(settings, "outbox", "--last")
        assert result.exit_code == 1
        assert result.stderr == f"There is no mail in {tmp_path}/outbox.\n"

    def test_the_newest_as_text(self, settings: Settings) -> None:
        for to, language in (("ada@example.org", "en"), ("äiti@example.org", "fi"), ("grace@example.org", "en")):
            assert run(settings, "test", to, "--language", language).exit_code == 0
        listed = run(settings, "outbox").stdout.splitlines()
        assert [line.split("  ")[1] for line in listed] == ["ada@example.org", "äiti@example.org", "grace@example.org"]
        newest = run(settings, "outbox", "--last").stdout
        assert newest.startswith("To: grace@example.org\nSubject: This is how mail from Courtyard arrives\n")
        assert "\n\nThe settings for mail are right" in newest
        hers = run(settings, "outbox", "--last", "--to", "äiti@example.org").stdout
        assert "Postin asetukset ovat oikein" in hers
        assert run(settings, "outbox", "--to", "nobody@example.org").exit_code == 1


class TestTry:
    @pytest.mark.parametrize("arguments", [["nonsense"], ["a@b.c\r\nBcc: x@y.z"], ["a@b.c", "--language", "tlh"]])
    def test_what_cannot_be(self, settings: Settings, arguments: list[str]) -> None:
        assert run(settings, "test", *arguments).exit_code == 2

    async def test_a_mail_server(self, settings: Settings) -> None:
        async with open_sink() as sink:
            smtp = SmtpSettings(host="localhost", port=sink.port, security="none", timeout_seconds=0.5)
            settings = with_mail(settings, transport="smtp", smtp=smtp)
            result = await asyncio.to_thread(run, settings, "test", "ada@example.org")
            assert (result.exit_code, result.stdout) == (0, "The mail was sent: taken as 42\n")
            sink.on_rcpt = "550 no such mailbox"
            result = await asyncio.to_thread(run, settings, "test", "ada@example.org")
            assert (result.exit_code, result.stderr) == (1, "The mail was not sent: 550 no such mailbox\n")
            sink.hangs_at = "connect"
            result = await asyncio.to_thread(run, settings, "test", "ada@example.org")
            assert result.exit_code == 1
            assert re.match("The mail was not sent: .*(?i:time|no end)", result.stderr)
        assert [recipient for recipient, _ in sink.taken] == ["ada@example.org"]


class TestDoctor:
    def test_an_outbox_in_production_is_told(self, settings: Settings) -> None:
        assert _mail(settings).level == "ok"
        found = _mail(settings.model_copy(update={"mode": "production"}))
        assert (found.level, found.mend) == ("warn", "set mail.transport to smtp")

    def test_a_mail_server_is_named(self, settings: Settings) -> None:
        smtp = SmtpSettings(host="mail.example.org", username="u", password="hunter2")
        found = _mail(with_mail(settings, transport="smtp", smtp=smtp).model_copy(update={"mode": "production"}))
        assert found.level == "ok"
        assert "mail.example.org:587" in found.finding
        assert "hunter2" not in str(found)


class TestMailbox:
    """The helper of the tests of others."""

    async def test_each_mail_is_returned_once_and_the_oldest_first(self, settings: Settings, tmp_path: Path) -> None:
        mailbox = Mailbox(tmp_path)
        for language in ("en", "fi"):
            await asyncio.to_thread(run, settings, "test", "ada@example.org", "--language", language)
        assert len(mailbox.waiting("ada@example.org")) == 2
        first = await mailbox.wait_for("ada@example.org", "mail.test")
        second = await mailbox.wait_for("ada@example.org")
        assert {first.message["Content-Language"], second.message["Content-Language"]} == {"en", "fi"}
        with pytest.raises(
            AssertionError, match=r"no mail mail\.test to ada@example\.org after 0\.05 s; there is none"
        ):
            await mailbox.wait_for("ada@example.org", "mail.test", timeout=0.05)

    async def test_it_waits_until_the_mail_is_there(self, settings: Settings, tmp_path: Path) -> None:
        waiting = asyncio.create_task(Mailbox(tmp_path).wait_for("ada@example.org"))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await asyncio.to_thread(run, settings, "test", "ada@example.org")
        assert (await waiting).to == "ada@example.org"

    async def test_what_is_not_in_a_mail_is_told(self, settings: Settings, tmp_path: Path) -> None:
        await asyncio.to_thread(run, settings, "test", "ada@example.org")
        mail = await Mailbox(tmp_path).wait_for("ada@example.org")
        with pytest.raises(AssertionError, match="no link in"):
            _ = mail.link
        with pytest.raises(AssertionError, match="no code in"):
            _ = mail.code
