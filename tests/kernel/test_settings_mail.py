"""The settings of mail: what is possible, and what a server must not start with."""

import os
from pathlib import Path

import pytest

from courtyard.kernel.settings import load_settings
from courtyard.kernel.settings_text import as_toml
from tests.kernel.test_settings import faults


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no setting from the outside."""
    for name in os.environ:
        if name.startswith("COURTYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_it_goes_into_the_outbox_unless_told_otherwise() -> None:
    assert load_settings().mail.transport == "outbox"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURTYARD_MAIL__TRANSPORT", "smtp")
    monkeypatch.setenv("COURTYARD_MAIL__SENDER", "Help line <help@example.org>")
    monkeypatch.setenv("COURTYARD_MAIL__SMTP__HOST", "mail.example.org")
    monkeypatch.setenv("COURTYARD_MAIL__SMTP__PORT", "465")
    monkeypatch.setenv("COURTYARD_MAIL__SMTP__SECURITY", "tls")
    mail = load_settings().mail
    assert (mail.transport, mail.sender) == ("smtp", "Help line <help@example.org>")
    assert (mail.smtp.host, mail.smtp.port, mail.smtp.security) == ("mail.example.org", 465, "tls")


@pytest.mark.parametrize(
    "sender",
    ["", "help", "help@", "@example.org", "a@b.c, d@e.f", "a@b.c\nBcc: d@e.f", "Help <help>", "<a@b.c> <d@e.f>"],
)
def test_a_sender_is_one_address(sender: str) -> None:
    (line,) = faults(mail={"sender": sender})
    assert line.startswith("mail.sender")


@pytest.mark.parametrize("sender", ["a@b.c", "Help line <help@example.org>", '"Help, line" <help@example.org>'])
def test_with_a_name_or_without(sender: str) -> None:
    assert load_settings(mail={"sender": sender}).mail.sender == sender


def test_smtp_needs_a_host() -> None:
    (line,) = faults(mail={"transport": "smtp"})
    assert "mail.smtp.host must be set" in line


@pytest.mark.parametrize("login", [{"username": "u"}, {"password": "p"}])
def test_a_login_is_whole(login: dict[str, str]) -> None:
    (line,) = faults(mail={"smtp": {"security": "tls", **login}})
    assert "set together" in line


def test_a_password_does_not_travel_in_clear() -> None:
    login = {"username": "u", "password": "p", "security": "none"}
    (line,) = faults(mail={"smtp": {**login, "host": "mail.example.org"}})
    assert "in clear" in line
    load_settings(mail={"smtp": {**login, "host": "127.0.0.1"}})


def test_the_password_is_hidden() -> None:
    login = {"username": "u", "password": "hunter2", "host": "mail.example.org"}
    text = as_toml(load_settings(mail={"smtp": login}))
    assert "hunter2" not in text
    assert '[mail.smtp]\nhost = "mail.example.org"' in text
