"""Settings: where they come from, what they refuse, and the secrets that are made for them."""

import base64
import contextlib
import os
import secrets
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from courtyard.kernel.rings import RingKey
from courtyard.kernel.settings import (
    Settings,
    SettingsError,
    _looks_typed,
    load_settings,
    read_settings,
    refusals,
)
from courtyard.kernel.settings_sources import make_secrets, new_key, read_secrets
from courtyard.kernel.settings_text import as_toml, reference, without_password

POSTGRESQL = "postgresql://people:q7fPzc2T@db.internal/people"
REDIS = "redis://cache.internal:6379/0"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no setting from the outside."""
    for name in os.environ:
        if name.startswith("COURTYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def key(name: str = "2026-11") -> dict[str, str]:
    return {**new_key(), "id": name}


def production(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which a production server may start, with changes to some of the tables."""
    good: dict[str, Any] = {
        "mode": "production",
        "server": {"public_url": "https://courtyard.example.org"},
        "database": {"url": POSTGRESQL},
        "security": {"signing_keys": [key()], "encryption_keys": [key()]},
    }
    return {**good, **{name: {**good.get(name, {}), **table} for name, table in changes.items()}}


def faults(**overrides: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    return list(caught.value.faults)


def every_setting(section: type[BaseModel] = Settings, *path: str) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield the path and the declaration of each setting, those of sections in sections too."""
    for name, field in section.model_fields.items():
        several = get_origin(field.annotation) is dict
        kind = get_args(field.annotation)[1] if several else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from every_setting(kind, *path, name, *(["name"] if several else []))
        else:
            yield (*path, name), field


class TestSources:
    def test_defaults_need_nothing(self, place: Path) -> None:
        settings = load_settings()
        assert settings.mode == "development"
        assert settings.applications == ("chat",)
        assert settings.database_url == f"sqlite:///{place}/courtyard-data/courtyard.sqlite3"
        assert settings.sqlite_path == place / "courtyard-data/courtyard.sqlite3"
        assert settings.redis_url is None
        assert settings.public_url == "http://127.0.0.1:8000"
        assert (settings.cookie_secure, settings.log_format, settings.auto_migrate) == (
            False,
            "console",
            True,
        )

    def test_the_first_source_that_has_a_value_wins(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "courtyard.toml").write_text(
            "[server]\nport = 1001\nhost = 'toml'\nmax_body_bytes = 4096\n[redis]\nprefix = 'toml'\n"
        )
        (place / ".env").write_text(
            "COURTYARD_SERVER__PORT=1002\nCOURTYARD_SERVER__HOST=dotenv\nCOURTYARD_SERVER__MAX_BODY_BYTES=5000\n"
            "POSTGRES_PASSWORD=of-another-program\n"
        )
        monkeypatch.setenv("COURTYARD_SERVER__PORT", "1003")
        monkeypatch.setenv("COURTYARD_SERVER__HOST", "environment")
        settings = read_settings(server={"port": 1004})
        assert settings.server.port == 1004
        assert settings.server.host == "environment"
        assert settings.server.max_body_bytes == 5000
        assert settings.redis.prefix == "toml"
        assert settings.server.keep_alive_seconds == 5

    def test_another_file_can_be_named(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "courtyard.toml").write_text("[server]\nport = 1\n")
        (place / "other.toml").write_text("[server]\nport = 2\n")
        monkeypatch.setenv("COURTYARD_CONFIG", "other.toml")
        assert read_settings().server.port == 2

    def test_the_file_can_be_named_in_dotenv(self, place: Path) -> None:
        (place / "other.toml").write_text("[server]\nport = 2\n")
        (place / ".env").write_text("COURTYARD_CONFIG=other.toml\n")
        assert read_settings().server.port == 2

    def test_a_named_file_must_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_CONFIG", "nowhere.toml")
        assert faults() == ["COURTYARD_CONFIG names nowhere.toml, which is not a file"]

    def test_an_empty_variable_counts_as_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_DATABASE__URL", "")
        monkeypatch.setenv("COURTYARD_SERVER__PORT", " ")
        settings = read_settings()
        assert settings.database.url is None
        assert settings.server.port == 8000

    @pytest.mark.parametrize(
        ("text", "names"),
        [("chat", ("chat",)), ("chat, machines", ("chat", "machines")), ('["chat"]', ("chat",)), ("[]", ())],
    )
    def test_lists_in_one_variable(self, text: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_APPLICATIONS", text)
        assert read_settings().applications == names

    def test_keys_may_be_in_either_alphabet_of_base64(self) -> None:
        material = b"\xfb\xef\xbe\xff" * 8
        for secret in (base64.b64encode(material), base64.urlsafe_b64encode(material).rstrip(b"=")):
            keys = [{"id": "a", "secret": secret.decode()}]
            assert read_settings(security={"signing_keys": keys}).security.signing_ring == (RingKey("a", material),)

    def test_keys_in_one_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        new, old = key("new"), key("old")
        monkeypatch.setenv("COURTYARD_SECURITY__SIGNING_KEYS", f"new:{new['secret']},old:{old['secret']}")
        ring = read_settings().security.signing_ring
        assert [each.id for each in ring] == ["new", "old"]
        assert base64.urlsafe_b64encode(ring[0].secret).rstrip(b"=").decode() == new["secret"]

    def test_a_dollar_in_dotenv_is_a_dollar(self, place: Path) -> None:
        (place / ".env").write_text("COURTYARD_DATABASE__URL='postgresql://a:p${HOME}w@h/d'\n")
        assert read_settings().database_url == "postgresql://a:p${HOME}w@h/d"

    def test_variables_of_tests_and_benchmarks_are_not_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_TEST_POSTGRESQL_URL", POSTGRESQL)
        monkeypatch.setenv("COURTYARD_BENCH_SECONDS", "1")
        read_settings()

    def test_settings_do_not_change(self) -> None:
        settings = read_settings()
        with pytest.raises(ValidationError):
            settings.mode = "production"  # type: ignore[misc]
        with pytest.raises(ValidationError):
            settings.server.port = 1  # type: ignore[misc]


class TestFaults:
    def test_unknown_names_are_refused_wherever_they_stand(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER__PROT", "1")
        monkeypatch.setenv("COURTYARD_DEBUG", "1")
        (place / ".env").write_text("COURTYARD_REDIS__HOST=x\n")
        (place / "courtyard.toml").write_text("colour = 'red'\n[workers]\nworkers = 1\n")
        assert sorted(faults()) == [
            "colour (in courtyard.toml) is not a setting",
            "debug (in the environment) is not a setting",
            "redis.host (in .env) is not a setting",
            "server.prot (in the environment) is not a setting",
            "workers (in courtyard.toml) is not a setting",
        ]

    def test_every_fault_is_named_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER__PORT", "65536")
        monkeypatch.setenv("COURTYARD_MODE", "debug")
        monkeypatch.setenv("COURTYARD_SERVER__REQUEST_TIMEOUT_SECONDS", "nan")
        lines = faults()
        assert len(lines) == 3
        assert "server.port (in the environment): should be less than or equal to 65535" in lines

    def test_a_variable_beside_a_part_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER", "{}")
        monkeypatch.setenv("COURTYARD_SERVER__PORT", "1")
        (line,) = faults()
        assert "cannot be set beside" in line

    def test_a_table_in_one_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER", "{}")
        (line,) = faults()
        assert line.startswith("server (in the environment): ")

    @pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"[server]\n[server]\n"])
    def test_a_file_that_is_not_toml(self, content: bytes, place: Path) -> None:
        (place / "courtyard.toml").write_bytes(content)
        (line,) = faults()
        assert line.startswith("courtyard.toml ")

    def test_a_dotenv_that_is_not_text(self, place: Path) -> None:
        (place / ".env").write_bytes(b"\xff\xfe=1")
        assert faults() == [".env cannot be read: it is not UTF-8 text"]

    @pytest.mark.parametrize(
        "table",
        [
            {"database": {"url": "mysql://u:hunter2hunter2@h/d"}},
            {"database": {"url": "hunter2hunter2"}},
            {"redis": {"url": "http://:hunter2hunter2@h"}},
            {"security": {"signing_keys": "a:hunter2hunter2"}},
            {"security": {"signing_keys": '[{"id": "hunter2hunter2'}},
            {"security": {"signing_keys": [{"id": "a", "secret": "hunter2hunter2"}]}},
            {"security": {"signing_keys": ["a:" + "hunter2hunter2" * 4]}},
            {"telemetry": {"metrics_token": {"hunter2hunter2": 1}}},
        ],
    )
    def test_no_fault_quotes_a_secret(self, table: dict[str, Any]) -> None:
        assert "hunter2" not in "\n".join(faults(**table))

    @pytest.mark.parametrize(
        "url",
        ["sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql:/h/d", "sqlite:file.db", "POSTGRESQL"],
    )
    def test_database_addresses_that_cannot_be(self, url: str) -> None:
        (line,) = faults(database={"url": url})
        assert line.startswith("database.url: must be ")

    @pytest.mark.parametrize("password", ["a/b", "a?b", "a#b", "a/b@c", "12/x"])
    def test_a_password_must_be_encoded(self, password: str) -> None:
        for table, scheme in (("database", "postgresql"), ("redis", "redis")):
            (line,) = faults(**{table: {"url": f"{scheme}://u:{password}@h:1/d"}})
            assert line.startswith(f"{table}.url: cannot be taken apart")
            assert password not in line

    @pytest.mark.parametrize(
        ("given_url", "url"),
        [
            ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
            ("postgresql://u:p@h1:1,h2:2/d", "postgresql://u:p@h1:1,h2:2/d"),
            ("postgresql://u:p@[::1]/d", "postgresql://u:p@[::1]/d"),
            ("postgresql://u:p@[::1]:5433/d", "postgresql://u:p@[::1]:5433/d"),
            ("postgresql+asyncpg://u:p@h/d", "postgresql://u:p@h/d"),
            ("sqlite:////srv/c.db", "sqlite:////srv/c.db"),
            ("sqlite+aiosqlite:////srv/c.db", "sqlite:////srv/c.db"),
        ],
    )
    def test_database_addresses_have_one_form(self, given_url: str, url: str) -> None:
        assert read_settings(database={"url": given_url}).database_url == url

    def test_a_relative_sqlite_path_is_made_absolute(self, place: Path) -> None:
        assert read_settings(database={"url": "sqlite:///c.db"}).sqlite_path == place / "c.db"

    @pytest.mark.parametrize("origin", ["*", "example.org", "https://example.org/", "https://e.org/p", "ftp://e.org"])
    def test_origins_are_origins(self, origin: str) -> None:
        (line,) = faults(server={"cors_origins": origin})
        assert line.startswith("server.cors_origins.0: must be an origin")

    @pytest.mark.parametrize("url", ["courtyard.org", "https://", "https://u:p@h", "https://h?q", "ftp://h"])
    def test_the_public_address_is_an_address(self, url: str) -> None:
        (line,) = faults(server={"public_url": url})
        assert line.startswith("server.public_url: must be an address")

    def test_keys_of_a_ring_are_distinct(self) -> None:
        one = key("a")
        for other in ({**one, "id": "b"}, key("a")):
            (line,) = faults(security={"signing_keys": [one, other]})
            assert "same id or the same secret" in line

    @pytest.mark.parametrize("secret", ["", "AAAA", "A" * 42, "A" * 44, "A" * 86, "A" * 42 + ".", "A" * 42 + "é"])
    def test_keys_are_32_bytes_of_base64url(self, secret: str) -> None:
        (line,) = faults(security={"encryption_keys": [{"id": "a", "secret": secret}]})
        assert line.startswith("security.encryption_keys.0.secret: ")

    @given(st.floats(allow_nan=True) | st.integers() | st.text(max_size=10) | st.none())
    @example(float("nan"))
    @example(float("inf"))
    def test_a_number_is_within_its_bounds_or_refused(self, value: object) -> None:
        with contextlib.suppress(SettingsError):
            settings = read_settings(database={"lock_timeout_seconds": value})
            assert 0.1 <= settings.database.lock_timeout_seconds <= 300


class TestDerived:
    @pytest.mark.parametrize(
        ("server", "url"),
        [
            ({"host": "0.0.0.0", "port": 9000}, "http://localhost:9000"),  # noqa: S104 - an address like others
            ({"host": "::1"}, "http://[::1]:8000"),
            ({"public_url": "https://courtyard.example.org/"}, "https://courtyard.example.org"),
        ],
    )
    def test_public_url(self, server: dict[str, Any], url: str) -> None:
        assert read_settings(server=server).public_url == url

    def test_https_makes_cookies_secure(self) -> None:
        assert read_settings(server={"public_url": "https://c.org"}).cookie_secure
        assert not read_settings(server={"public_url": "http://c.org"}).cookie_secure
        assert read_settings(security={"cookie_secure": True}).cookie_secure

    def test_only_the_embedded_default_migrates_by_itself(self) -> None:
        assert not read_settings(database={"url": POSTGRESQL}).auto_migrate
        assert not read_settings(database={"url": "sqlite:////srv/c.db"}).auto_migrate
        assert read_settings(database={"url": POSTGRESQL, "auto_migrate": True}).auto_migrate
        assert not read_settings(database={"auto_migrate": False}).auto_migrate

    def test_the_data_directory_may_be_in_the_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        assert read_settings(data_dir="~/data").data_path == Path("/home/somebody/data")

    def test_production_logs_json(self) -> None:
        assert load_settings(**production()).log_format == "json"


class TestGeneratedSecrets:
    def test_they_are_made_once_and_for_this_user_alone(self, place: Path) -> None:
        first, second = load_settings(), load_settings()
        assert first.security == second.security
        assert first.security.generated
        assert first.security.signing_ring[0].secret != first.security.encryption_ring[0].secret
        file = place / "courtyard-data/secrets.toml"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert sorted(path.name for path in file.parent.iterdir()) == ["secrets.toml"]

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_whatever_the_umask(self, umask: int, place: Path) -> None:
        (place / "data").mkdir(mode=0o700)
        before = os.umask(umask)
        try:
            load_settings(data_dir="data")
        finally:
            os.umask(before)
        assert stat.S_IMODE((place / "data/secrets.toml").stat().st_mode) == 0o600

    def test_only_what_is_not_configured_is_taken_from_them(self) -> None:
        mine = key()
        settings = load_settings(security={"signing_keys": [mine]})
        assert settings.security.signing_ring[0].id == mine["id"]
        assert settings.security.encryption_keys[0].generated

    def test_nothing_is_made_where_all_is_configured(self, place: Path) -> None:
        load_settings(security={"signing_keys": [key()], "encryption_keys": [key()]})
        assert not (place / "courtyard-data").exists()

    def test_who_only_looks_makes_nothing(self, place: Path) -> None:
        settings = load_settings(make_secrets=False)
        assert settings.security.generated
        assert not (place / "courtyard-data").exists()
        kept = load_settings().security
        assert load_settings(make_secrets=False).security == kept

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
    def test_a_file_that_others_can_reach_is_refused(self, mode: int, place: Path) -> None:
        load_settings()
        file = place / "courtyard-data/secrets.toml"
        file.chmod(mode)
        (line,) = faults()
        assert f"has mode {mode:04o}" in line
        assert "chmod 600" in line

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "signing_keys = []",
            "[[signing_keys]]\nid = 'generated-1'\nsecret = 'hunter2'",
            "x",
            "signing_keys = 3",
        ],
    )
    def test_a_damaged_file_is_refused_and_kept(self, content: str, place: Path) -> None:
        load_settings()
        file = place / "courtyard-data/secrets.toml"
        file.write_text(content)
        lines = faults()
        assert lines
        assert all(line.startswith((f"{file} ", f"{file}:")) for line in lines)
        assert "hunter2" not in "".join(lines)
        assert file.read_text() == content

    def test_a_place_that_cannot_be_written_is_one_line(self, place: Path) -> None:
        (place / "courtyard-data").write_text("not a directory")
        (line,) = faults()
        assert "courtyard-data/secrets.toml cannot be" in line

    def test_a_half_written_file_of_a_killed_process_is_replaced(self, place: Path) -> None:
        (place / "courtyard-data").mkdir(mode=0o700)
        (place / "courtyard-data/.secrets.toml.new").write_text("[[signing_k")
        assert load_settings().security.generated
        assert not (place / "courtyard-data/.secrets.toml.new").exists()

    def test_processes_that_start_at_once_agree(self, place: Path) -> None:
        program = (
            "import sys; sys.stdin.read()\n"
            "from courtyard.kernel.settings_sources import make_secrets; from pathlib import Path\n"
            "print(make_secrets(Path('data')))"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(6)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        answers = set()
        for process in processes:
            assert process.stdout is not None
            answers.add(process.stdout.read())
            process.stdout.close()
            assert process.wait() == 0
        assert answers == {f"{read_secrets(place / 'data')}\n"}

    def test_threads_that_start_at_once_agree(self, place: Path) -> None:
        # `flock` holds between open files, so it orders threads as it orders processes.
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(make_secrets, [place / "data"] * 32))
        assert all(one == made[0] for one in made)


class TestRefusals:
    def test_a_good_production_server_starts(self) -> None:
        assert load_settings(**production()).production

    def test_sqlite_is_allowed_in_production_where_it_is_chosen(self) -> None:
        load_settings(**production(database={"url": "sqlite:////srv/courtyard.db"}))
        load_settings(**{**production(database={"url": None}), "data_dir": "/srv/courtyard"})
        (line,) = faults(**production(database={"url": None}))
        assert line == "neither database.url nor data_dir is set: in production say where the data lives"

    @pytest.mark.parametrize("name", ["signing_keys", "encryption_keys"])
    def test_keys_must_be_set(self, name: str, place: Path) -> None:
        (line,) = faults(**production(security={name: []}))
        assert line.startswith(f"security.{name} must be set in production")
        assert not (place / "courtyard-data").exists()

    def test_a_generated_key_may_not_come_first_but_may_stay_behind(self) -> None:
        old = {**key(), "id": "generated-12345678"}
        (line,) = faults(**production(security={"signing_keys": [old]}))
        assert line.startswith("security.signing_keys begins with a generated key")
        load_settings(**production(security={"signing_keys": [key("new"), old]}))

    @pytest.mark.parametrize(
        "material",
        [
            bytes(32),
            b"0123456789abcdef" * 2,
            bytes(range(8)) * 4,
            b"this is an example, thirty-two b",
            base64.urlsafe_b64decode("changeme-changeme-changeme-changeme-change0"[:43] + "="),
            base64.urlsafe_b64decode("replace_this_with_32_random_bytes_in_base64" + "="),
        ],
    )
    def test_keys_that_were_typed_are_refused(self, material: bytes) -> None:
        secret = base64.urlsafe_b64encode(material).decode()
        typed = {"id": "mine", "secret": secret}
        (line,) = faults(**production(security={"encryption_keys": [typed]}))
        assert line.startswith("security.encryption_keys holds 'mine', which is an example")
        assert secret not in line
        load_settings(security={"encryption_keys": [typed]})

    def test_random_keys_never_look_typed(self) -> None:
        settings = read_settings(security={"signing_keys": [key(str(number)) for number in range(32)]})
        for one in settings.security.signing_keys:
            assert not _looks_typed(one)

    @pytest.mark.parametrize(
        "password", ["courtyard", "postgres", "password", "changeme", "ExamplePassword", "replace-me-please"]
    )
    def test_default_passwords_are_refused(self, password: str) -> None:
        url = f"postgresql://people:{password}@h/d"
        assert faults(**production(database={"url": url})) == ["database.url has a default or example password"]
        redis = f"redis://:{password}@h:6379"
        assert faults(**production(redis={"url": redis})) == ["redis.url has a default or example password"]

    def test_no_password_is_not_a_default_one(self) -> None:
        load_settings(**production(database={"url": "postgresql:///people"}, redis={"url": REDIS}))

    @pytest.mark.parametrize("token", ["short", "example-token-example-token"])
    def test_a_weak_metrics_token_is_refused(self, token: str) -> None:
        (line,) = faults(**production(telemetry={"metrics_token": token}))
        assert line.startswith("telemetry.metrics_token")
        load_settings(**production(telemetry={"metrics_token": secrets.token_urlsafe(16)}))

    @pytest.mark.parametrize(
        ("server", "fault"),
        [
            ({"public_url": "http://courtyard.example.org"}, "server.public_url must begin with https://"),
            ({"public_url": None, "host": "10.0.0.1"}, "server.public_url must begin with https://"),
            ({"public_url": None, "host": "0.0.0.0"}, "server.public_url must be set"),  # noqa: S104
        ],
    )
    def test_plain_http_is_refused(self, server: dict[str, Any], fault: str) -> None:
        (line,) = faults(**production(server=server))
        assert line.startswith(fault)

    @pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:80", None])
    def test_plain_http_is_good_on_this_machine(self, url: str | None) -> None:
        load_settings(**production(server={"public_url": url}))

    def test_cookies_for_http_behind_https_are_refused(self) -> None:
        (line,) = faults(**production(security={"cookie_secure": False}))
        assert line.startswith("security.cookie_secure is false")

    @pytest.mark.parametrize("mode", ["development", "production"])
    def test_several_processes_need_postgresql_and_redis(self, mode: str) -> None:
        several: dict[str, dict[str, Any]] = {"server": {"workers": 2}, "redis": {"url": REDIS}}
        load_settings(**{**production(**several), "mode": mode})
        for changes in (
            {**several, "redis": {"url": None}},
            {**several, "database": {"url": "sqlite:////srv/c.db"}},
        ):
            (line,) = faults(**{**production(**changes), "mode": mode})
            assert line.startswith("server.workers is more than 1, which needs PostgreSQL")

    def test_all_reasons_are_named_at_once(self) -> None:
        lines = faults(mode="production", server={"workers": 2, "public_url": "http://c.org"})
        assert len(lines) == 5

    def test_development_is_refused_nothing_of_this(self) -> None:
        assert list(refusals(read_settings(server={"public_url": "http://c.org"}))) == []


class TestText:
    def secret_settings(self) -> Settings:
        return read_settings(
            database={"url": "postgresql://people:hunter2@h:5432/d"},
            redis={"url": "rediss://:hunter2@h:6379/1"},
            security={"signing_keys": [key("a")], "encryption_keys": [key("b")]},
            telemetry={"metrics_token": "hunter2hunter2"},
            server={"cors_origins": ["https://a.org", "https://b.org"], "public_url": "https://c.org"},
            limits={"policies": {"a.b": "5/minute"}, "quotas": {"a.c": 5, "a.d": "unlimited"}},
        )

    def test_no_secret_is_printed(self) -> None:
        settings = self.secret_settings()
        text = as_toml(settings)
        assert "hunter2" not in text
        for one in (*settings.security.signing_keys, *settings.security.encryption_keys):
            assert one.secret.get_secret_value() not in text
        assert "postgresql://people:***@h:5432/d" in text
        assert "hunter2" not in repr(settings)

    def test_what_is_printed_in_full_can_be_read_again(self, place: Path) -> None:
        settings = self.secret_settings()
        (place / "courtyard.toml").write_text(as_toml(settings, redact=False))
        assert read_settings() == settings

    def test_what_is_printed_without_secrets_is_toml(self) -> None:
        assert tomllib.loads(as_toml(self.secret_settings()))["security"]["signing_keys"] == [
            {"id": "a", "secret": "(hidden)"}
        ]

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    @example('\x7f\x00\n"\\\u2028')
    def test_any_text_survives_printing(self, host: str) -> None:
        assert tomllib.loads(as_toml(read_settings(server={"host": host})))["server"]["host"] == host

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
            ("postgresql://u:p@h:5433/d", "postgresql://u:***@h:5433/d"),
            ("postgresql://u@[::1]/d", "postgresql://u@[::1]/d"),
            ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
            ("redis://:p/q@h:6379/0", "(hidden)"),
            ("postgresql://u:p/q@h/d", "(hidden)"),
            ("postgresql://u:p?q@h/d", "(hidden)"),
            ("postgresql://h/d?user=u&password=p", "postgresql://h/d?…"),
            ("unix:///run/redis.sock?password=p", "unix:///run/redis.sock?…"),
            ("sqlite:////srv/c.db", "sqlite:////srv/c.db"),
            ("postgresql:///d", "postgresql:///d"),
            ("postgresql://[broken", "(hidden)"),
        ],
    )
    def test_addresses_are_shown_without_password(self, url: str, shown: str) -> None:
        assert without_password(url) == shown

    def test_the_reference_names_every_setting_with_a_meaning(self) -> None:
        lines = reference().splitlines()
        for path, _ in every_setting():
            variable = "COURTYARD_" + "__".join(path).upper()
            (row,) = [line for line in lines if f"| `{variable}` |" in line]
            assert not row.endswith("|  |")

    def test_every_number_has_bounds(self) -> None:
        for _, field in every_setting():
            if field.annotation in {int, float}:
                assert {type(item).__name__ for item in field.metadata} >= {"Ge", "Le"}
