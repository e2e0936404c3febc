import tomllib
from pathlib import Path
from typing import Any

import pytest

from courtyard.kernel.settings import Settings, SettingsError, read_settings, refusals
from courtyard.kernel.settings_text import as_toml, reference

COMPANY = {"label": "Company", "issuer": "https://login.example.org", "client_id": "courtyard"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without a file of settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_provider(name: str = "company", **changes: Any) -> Settings:
    return read_settings(accounts={"oidc": {name: {**COMPANY, **changes}}})


def test_there_is_none_by_default() -> None:
    assert read_settings().accounts.oidc == {}


def test_several_in_a_file_and_the_secret_in_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "courtyard.toml").write_text(
        "[accounts.oidc.company]\nlabel = 'Company'\nissuer = 'https://login.example.org/realms/staff'\n"
        "client_id = 'courtyard'\nallowed_domains = ['example.org']\n"
        "[accounts.oidc.google]\nlabel = 'Google'\nissuer = 'https://accounts.google.com'\nclient_id = 'x'\n"
    )
    monkeypatch.setenv("COURTYARD_ACCOUNTS__OIDC__COMPANY__CLIENT_SECRET", "hunter2")
    monkeypatch.setenv("COURTYARD_ACCOUNTS__OIDC__GOOGLE__SCOPES", "openid,email")
    monkeypatch.setenv("COURTYARD_ACCOUNTS__OIDC__GOOGLE__ALLOWED_DOMAINS", '["A.org", "b.org"]')
    company, google = read_settings().accounts.oidc.values()
    assert company.client_secret is not None
    assert company.client_secret.get_secret_value() == "hunter2"
    assert company.scopes == ("openid", "email", "profile")
    assert (google.client_secret, google.scopes, google.allowed_domains) == (
        None,
        ("openid", "email"),
        ("a.org", "b.org"),
    )


def test_nobody_is_trusted_with_addresses_who_was_not_named_so() -> None:
    assert with_provider().accounts.oidc["company"].trust_email is False


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "login.example.org"},
        {"issuer": "ldap://login.example.org"},
        {"issuer": "https://login.example.org?tenant=a"},
        {"issuer": "https://login.example.org#a"},
        {"issuer": "https://user:word@login.example.org"},
        {"issuer": "https:///x"},
        {"issuer": "https://login.example.org/\n"},
        {"label": ""},
        {"client_id": ""},
        {"scopes": ["email"]},
        {"scopes": ["openid", "two words"]},
        {"allowed_domains": ["someone@example.org"]},
        {"registration": "open"},
        {"timeout_seconds": 0},
        {"secret": "x"},
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refusal:
        with_provider(**changes)
    (fault,) = refusal.value.faults
    assert fault.startswith("accounts.oidc.company.")


@pytest.mark.parametrize("name", ["Company", "a b", "../x", "1st", "a__b", "a-", "", "x" * 33])
def test_names_are_parts_of_addresses(name: str) -> None:
    with pytest.raises(SettingsError):
        with_provider(name)


@pytest.mark.parametrize(
    ("issuer", "is_good"),
    [
        ("https://login.example.org", True),
        ("http://localhost:8080/realms/a", True),
        ("http://127.0.0.1", True),
        ("http://login.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_production_does_not_believe_what_comes_in_clear(issuer: str, is_good: bool) -> None:  # noqa: FBT001
    settings = with_provider(issuer=issuer)
    lines = [line for line in refusals(settings.model_copy(update={"mode": "production"})) if "oidc" in line]
    assert lines == (
        [] if is_good else ["accounts.oidc.company.issuer must begin with https:// (plain http only for localhost)"]
    )
    assert not [line for line in refusals(settings) if "oidc" in line]


def test_what_is_printed_has_no_secret_and_can_be_read_again(place: Path) -> None:
    settings = with_provider(client_secret="hunter2")
    text = as_toml(settings)
    assert "hunter2" not in text + repr(settings)
    printed = tomllib.loads(text)["accounts"]["oidc"]["company"]
    assert (printed["client_secret"], printed["issuer"]) == ("(hidden)", COMPANY["issuer"])
    (place / "courtyard.toml").write_text(as_toml(settings, redact=False))
    assert read_settings() == settings


def test_the_reference_says_what_must_be_set() -> None:
    page = reference()
    assert "## `[accounts.oidc.NAME]`" in page
    assert "| `issuer` | `COURTYARD_ACCOUNTS__OIDC__NAME__ISSUER` | text | must be set |" in page
