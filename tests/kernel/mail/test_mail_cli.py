"""`courtyard mail`, and what `courtyard doctor` says about mail."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from courtyard.doctor import _mail
from courtyard.kernel.mail.cli import commands
from courtyard.kernel.settings import Settings
from courtyard.kernel.settings_sections import MailSettings, SmtpSettings
from tests.kernel.mail.sink import PASSWORD, USERNAME, open_sink


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
    async def test_an_outbox_in_production_is_told(self, settings: Settings) -> None:
        assert (await _mail(settings)).level == "ok"
        found = await _mail(settings.model_copy(update={"mode": "production"}))
        assert (found.level, found.mend) == ("warn", "set mail.transport to smtp")

    async def test_a_mail_server_is_named(self, settings: Settings) -> None:
        async with open_sink(login=True) as sink:
            smtp = SmtpSettings(
                host="localhost", port=sink.port, security="none", username=USERNAME, password=SecretStr(PASSWORD)
            )
            settings = with_mail(settings, transport="smtp", smtp=smtp).model_copy(update={"mode": "production"})
            found = await _mail(settings)
        assert found.level == "ok"
        assert f"localhost:{sink.port}" in found.finding
        assert PASSWORD not in str(found)
        assert sink.logins == [USERNAME]
