"""The command line: what it prints, what it refuses, and with which status it leaves."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
import typer

from courtyard import serving
from courtyard.cli import app, main
from courtyard.kernel.application import Application
from courtyard.kernel.settings import load_settings
from courtyard.kernel.settings_sources import new_key
from tests.commands import Result, Run
from tests.processes import PROGRAM
from tests.services import postgres_database

REDIS = os.environ.get("COURTYARD_TEST_REDIS", "redis://127.0.0.1:6379").rstrip("/")


@pytest.fixture(autouse=True)
def everywhere(place: Path) -> Path:
    """Every test is in a folder of its own."""
    return place


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestStart:
    def test_help_names_every_command(self, run: Run) -> None:
        result = run("--help")
        assert result.status == 0
        names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
        assert {"serve", "doctor", "create-admin", "migrate", "demo", "openapi", "routes"} <= set(names)
        for name in [*names, "config"]:
            assert re.search(rf"^  {name} ", result.out, re.MULTILINE)

    def test_help_loads_nothing_slow(self) -> None:
        slow = ("courtyard.kernel", "pydantic", "litestar", "sqlalchemy", "uvicorn", "msgspec", "rich")
        program = (
            "import sys; sys.argv = ['courtyard', '--help']\n"
            "from courtyard.cli import main\n"
            "try: main()\n"
            f"except SystemExit: print([name for name in {slow!r} if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr == "[]\n"

    def test_a_command_that_is_not_known(self, run: Run) -> None:
        result = run("frobnicate")
        assert result.status == 2
        assert "No such command 'frobnicate'" in result.err

    def test_a_fault_of_the_program_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**_: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("courtyard.cli.app", fail)
        with pytest.raises(ZeroDivisionError):
            main()

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            ("pass", 0),
            ("sys.exit(3)", 3),
            ("sys.exit(None)", 0),
            ("sys.exit('words')", 1),
            ("raise ZeroDivisionError", 1),
            ("raise KeyboardInterrupt", 130),
        ],
    )
    def test_a_process_does_what_is_left_and_ends_with_its_status(self, end: str, status: int) -> None:
        program = (
            "import atexit, sys, threading, time\n"
            "from courtyard import cli\n"
            "def work(**_):\n"
            "    atexit.register(print, 'cleared away')\n"
            "    threading.Thread(target=lambda: (time.sleep(0.2), print('thread done'))).start()\n"
            f"    {end}\n"
            "cli.app = work\n"
            "cli.program()"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, "thread done\ncleared away\n"), done.stderr

    def test_an_interruption_is_quiet(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(**_: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("courtyard.cli.app", interrupt)
        assert run() == Result(130, "", "")


class TestConfig:
    def test_good_settings(self, run: Run, place: Path) -> None:
        assert run("config", "check") == Result(0, "The settings are good: development, SQLite.\n", "")
        assert list(place.iterdir()) == []

    def test_every_fault_is_one_line(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER__PORT", "70000")
        monkeypatch.setenv("COURTYARD_COLOUR", "red")
        result = run("config", "check")
        assert result.status == 2
        assert result.out == ""
        assert sorted(result.err.splitlines()) == [
            "courtyard: colour (in the environment) is not a setting",
            "courtyard: server.port (in the environment): should be less than or equal to 65535",
        ]

    def test_production_is_checked(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_MODE", "production")
        result = run("config", "check")
        assert result.status == 2
        assert "security.signing_keys must be set in production" in result.err
        # To see what is set must be possible all the same.
        assert 'mode = "production"' in run("config", "print").out

    def test_print_hides_secrets(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        secret = new_key()["secret"]
        monkeypatch.setenv("COURTYARD_SECURITY__SIGNING_KEYS", f"mine:{secret}")
        monkeypatch.setenv("COURTYARD_DATABASE__URL", "postgresql://people:hunter2@h/d")
        for arguments in ((), ("--redact",)):
            result = run("config", "print", *arguments)
            assert result.status == 0
            assert secret not in result.out
            assert "hunter2" not in result.out
        result = run("config", "print", "--no-redact")
        assert secret in result.out
        assert "hunter2" in result.out

    def test_keys_can_be_pasted(self, run: Run, place: Path) -> None:
        result = run("config", "keys")
        (place / "courtyard.toml").write_text(result.out)
        security = tomllib.loads(run("config", "print", "--no-redact").out)["security"]
        drawn = tomllib.loads(result.out)["security"]
        assert security["signing_keys"] == drawn["signing_keys"]
        assert security["encryption_keys"] == drawn["encryption_keys"]
        assert run("config", "keys").out != result.out

    def test_the_reference_is_written_and_checked(self, run: Run, place: Path) -> None:
        result = run("config", "reference", "--write")
        assert result.status == 2
        assert "run this at the top of the repository" in result.err
        page = place / "docs/reference/settings.md"
        page.parent.mkdir(parents=True)
        assert run("config", "reference", "--check").status == 1
        assert run("config", "reference", "--write") == Result(0, "", "")
        assert run("config", "reference", "--check") == Result(0, "", "")
        assert page.read_text() == run("config", "reference").out
        page.write_text("old")
        result = run("config", "reference", "--check")
        assert result.status == 1
        assert result.err == "docs/reference/settings.md differs from the code: courtyard config reference --write\n"


@pytest.fixture
def data(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a migrated database, in which passwords are hashed quickly."""
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_TIME_COST", "1")
    assert run("migrate", "up").status == 0
    return place / "courtyard-data"


class TestMigrate:
    def test_everything_behind_the_name_is_passed_on(self, run: Run, data: Path) -> None:
        result = run("migrate", "status")
        assert result.status == 0
        assert "chat" in result.out
        assert "courtyard migrate up" in run("migrate", "up", "--help").out
        assert run("migrate", "sideways").status == 2
        assert data.is_dir()


class TestCreateAdmin:
    def create(self, run: Run, monkeypatch: pytest.MonkeyPatch, password: str, **changes: str) -> Result:
        options = {"email": "ada@example.org", "name": "Ada", "workspace": "help-line", **changes}
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\nnot this line\n"))
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return run("create-admin", "--password-stdin", *arguments)

    def test_the_account_owns_the_workspace_and_can_log_in(
        self, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = self.create(run, monkeypatch, "correct horse battery")
        assert result == Result(0, "ada@example.org owns the workspace help-line.\n", "")
        with contextlib.closing(sqlite3.connect(data / "courtyard.sqlite3")) as database:
            ((email, role, password_hash),) = database.execute(
                "SELECT email, role, password_hash FROM account JOIN role_grant ON account_id = account.id"
            ).fetchall()
        assert email == "ada@example.org"
        assert role == "owner"
        assert argon2.PasswordHasher().verify(password_hash, "correct horse battery")

    def test_what_is_there_already_is_left_alone(self, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.create(run, monkeypatch, "correct horse battery").status == 0
        result = self.create(run, monkeypatch, "correct horse battery", workspace="another")
        assert result.status == 2
        assert result.err.startswith("courtyard: ")
        assert result.err.count("\n") == 1
        assert self.create(run, monkeypatch, "correct horse battery", email="bea@example.org").status == 2
        with contextlib.closing(sqlite3.connect(data / "courtyard.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM account").fetchone() == (1,)
            assert database.execute("SELECT count(*) FROM workspace").fetchone() == (1,)

    @pytest.mark.parametrize(
        ("changes", "password", "line"),
        [
            ({"email": "nobody"}, "correct horse battery", "--email is not valid: An e-mail address"),
            ({"name": " "}, "correct horse battery", "--name is not valid: One line"),
            ({"workspace": "Help Line"}, "correct horse battery", "--workspace is not valid: Lower-case"),
            ({}, "hunter2", "the password is not valid: 10 to 128 characters"),
        ],
    )
    def test_bad_input_is_one_line(
        self, changes: dict[str, str], password: str, line: str, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = self.create(run, monkeypatch, password, **changes)
        assert result.status == 2
        assert result.err.startswith(f"courtyard: {line}")
        assert "hunter2" not in result.err
        assert list(place.iterdir()) == []


class TestDocuments:
    def test_routes_are_listed_with_their_permission(self, run: Run) -> None:
        result = run("routes")
        assert result.status == 0
        rows = [line.split(maxsplit=2) for line in result.out.splitlines()]
        assert ["POST", "/api/v1/accounts", "public"] in rows
        assert ["GET", "/api/v1/me", "signed in"] in rows
        assert all(len(row) == 3 for row in rows)

    def test_routes_follow_the_configuration(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_APPLICATIONS", "[]")
        assert "/chat/" not in run("routes").out

    def test_an_application_that_is_not_installed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_APPLICATIONS", "chess")
        result = run("routes")
        assert result.status == 2
        assert result.err == "courtyard: not installed: chess; installed: chat\n"

    @pytest.mark.parametrize(("command", "version"), [("openapi", "3.1."), ("asyncapi", "3.")])
    def test_documents_are_written_and_checked(self, command: str, version: str, run: Run, place: Path) -> None:
        document = json.loads(run(command).out)
        assert document[command].startswith(version)
        file = place / f"docs/reference/{command}.json"
        file.parent.mkdir(parents=True)
        assert run(command, "--check").status == 1
        assert run(command, "--write").status == 0
        assert run(command, "--check").status == 0
        assert json.loads(file.read_text()) == document


class TestApplicationCommands:
    def test_an_application_brings_its_own(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        commands = typer.Typer(rich_markup_mode=None)

        @commands.command()
        def greet(name: str) -> None:
            typer.echo(f"Hello {name}")

        @commands.command()
        def leave() -> None:
            raise typer.Exit(7)

        chess = Application(name="chess", description="", commands=commands)
        monkeypatch.setattr("courtyard.kernel.application.installed", lambda names: [chess][: len(names)])
        assert run("chess", "greet", "Ada").status == 2
        monkeypatch.setenv("COURTYARD_APPLICATIONS", "chess")
        assert run("chess", "greet", "Ada") == Result(0, "Hello Ada\n", "")
        assert run("chess", "leave").status == 7

    def test_one_without_commands(self, run: Run) -> None:
        result = run("chat")
        assert result.status == 2
        assert "No such command 'chat'" in result.err


class TestDoctor:
    def lines(self, result: Result) -> dict[str, list[tuple[str, str]]]:
        """Return subject → its levels and findings."""
        found: dict[str, list[tuple[str, str]]] = {}
        for line in result.out.splitlines():
            level, subject, finding = re.fullmatch(r"(ok|warn|fail) +([a-z ]+): (.*)", line).groups()  # type: ignore[union-attr]
            found.setdefault(subject, []).append((level, finding))
        return found

    def test_an_empty_place_is_well(self, run: Run, place: Path) -> None:
        result = run("doctor")
        assert result.status == 0
        lines = self.lines(result)
        assert lines["database"][0][0] == "ok"
        assert "made at the first start" in lines["database"][0][1]
        assert lines["secrets"][0][0] == "warn"
        assert list(place.iterdir()) == []

    def test_a_running_installation_is_well(self, run: Run, data: Path) -> None:
        result = run("doctor")
        assert result.status == 0
        lines = self.lines(result)
        assert re.match(rf"SQLite \d.* at sqlite:///{data}/courtyard.sqlite3, [\d.]+ ms", lines["database"][0][1])
        assert lines["migrations"] == [("ok", "up to date")]
        assert lines["applications"] == [("ok", "chat")]
        # Quick hashes are for tests only.
        assert lines["passwords"][0][0] == "warn"

    def test_every_fault_of_the_settings_is_a_line(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_COLOUR", "red")
        monkeypatch.setenv("COURTYARD_SERVER__PORT", "red")
        result = run("doctor")
        assert result.status == 1
        assert [level for level, _ in self.lines(result)["settings"]] == ["fail", "fail"]

    def test_what_production_refuses_does_not_hide_the_rest(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_MODE", "production")
        monkeypatch.setenv("COURTYARD_TELEMETRY__LOG_LEVEL", "DEBUG")
        monkeypatch.setenv("COURTYARD_SERVER__CORS_ORIGINS", "http://example.org")
        monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")
        result = run("doctor")
        assert result.status == 1
        lines = self.lines(result)
        assert len(lines["settings"]) == 3
        assert lines["debug"][0][0] == "warn"
        assert lines["cors"][0][0] == "warn"
        assert lines["passwords"][0][0] == "fail"
        assert "database" in lines

    @pytest.mark.parametrize(
        ("path", "mode", "subject", "level"),
        [
            ("courtyard-data", 0o755, "data", "fail"),
            ("courtyard-data/secrets.toml", 0o644, "secrets", "fail"),
            ("courtyard.toml", 0o644, "files", "warn"),
            (".env", 0o640, "files", "warn"),
        ],
    )
    def test_open_files_are_found_and_mended(
        self, path: str, mode: int, subject: str, level: str, run: Run, place: Path
    ) -> None:
        assert run("migrate", "up").status == 0
        load_settings()
        (place / "courtyard.toml").touch(0o600)
        (place / ".env").touch(0o600)
        assert run("doctor").status == 0
        (place / path).chmod(mode)
        result = run("doctor")
        assert result.status == (1 if level == "fail" else 0)
        (finding,) = (finding for found, finding in self.lines(result)[subject] if found == level)
        command, _, _ = finding.partition("chmod ")[2].partition(",")
        subprocess.run(["chmod", *command.split()], check=True)
        assert level not in [found for found, _ in self.lines(run("doctor")).get(subject, []) if subject != "secrets"]

    def test_a_database_that_others_can_read(self, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data.chmod(0o755)
        (data / "courtyard.sqlite3").chmod(0o644)
        monkeypatch.setenv("COURTYARD_DATABASE__URL", f"sqlite:///{data}/courtyard.sqlite3")
        assert self.lines(run("doctor"))["database"][0][0] == "fail"

    def test_a_file_that_is_no_database(self, run: Run, data: Path) -> None:
        (data / "courtyard.sqlite3").write_bytes(b"something else" * 1000)
        result = run("doctor")
        assert result.status == 1
        assert "file is not a database" in self.lines(result)["database"][0][1]

    def test_services_that_do_not_answer(self, run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
        monkeypatch.setenv("COURTYARD_DATABASE__URL", f"postgresql://people:hunter2@127.0.0.1:{closed_port}/people")
        monkeypatch.setenv("COURTYARD_REDIS__URL", f"redis://:hunter2@127.0.0.1:{closed_port}/0")
        result = run("doctor")
        assert result.status == 1
        lines = self.lines(result)
        assert lines["database"][0][0] == lines["redis"][0][0] == "fail"
        assert f"127.0.0.1:{closed_port}/people does not answer" in lines["database"][0][1]
        assert "hunter2" not in result.out + result.err

    def test_migrations_that_are_still_to_be_run(self, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run("migrate", "down", "chat", "base", "--yes").status == 0
        result = run("doctor")
        assert result.status == 0
        assert self.lines(result)["migrations"] == [("warn", "chat: 1 run at the next start")]
        monkeypatch.setenv("COURTYARD_DATABASE__AUTO_MIGRATE", "false")
        result = run("doctor")
        assert result.status == 1
        assert self.lines(result)["migrations"] == [("fail", "chat: 1 still to be run -> courtyard migrate up")]
        assert data.is_dir()

    def test_a_database_that_is_newer_than_the_code(self, run: Run, data: Path) -> None:
        with contextlib.closing(sqlite3.connect(data / "courtyard.sqlite3")) as database:
            database.execute("UPDATE alembic_version_chat SET version_num = '9999'")
            database.commit()
        result = run("doctor")
        assert result.status == 1
        assert "chat is at 9999, which is newer" in self.lines(result)["migrations"][0][1]

    def test_an_application_that_is_not_installed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_APPLICATIONS", "chess")
        result = run("doctor")
        assert result.status == 1
        assert self.lines(result)["applications"][0][0] == "fail"

    def test_too_few_open_files(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_SERVER__MAX_CONNECTIONS", "1000000")
        monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
        assert self.lines(run("doctor"))["open files"][0][0] == "warn"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server process; yield it with its address as soon as connections are taken."""
    process = subprocess.Popen([*PROGRAM, "serve", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://[\w.:\[\]]+", line)
        assert found, line + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()  # type: ignore[union-attr]


class TestServe:
    def test_it_answers_and_stops_in_good_order(self, data: Path) -> None:
        with server("--port", "0") as (process, address):
            with pytest.raises(urllib.error.HTTPError) as refused:
                # Connections wait until the application is ready, so this needs no second try.
                urllib.request.urlopen(f"{address}/api/v1/me", timeout=30)  # noqa: S310 - it is our own
            with refused.value as answer:
                assert answer.status == 401
                assert answer.headers["server"] is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        assert data.is_dir()

    def test_sockets_are_not_compressed(self, data: Path) -> None:
        with (
            server("--port", "0") as (_, address),
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as client,
        ):
            client.sendall(
                b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            )
            head = client.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"permessage-deflate" not in head
        assert data.is_dir()

    def test_options_go_before_the_settings(self, data: Path, monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
        monkeypatch.setenv("COURTYARD_SERVER__PORT", str(taken_port))
        monkeypatch.setenv("COURTYARD_SERVER__HOST", "192.0.2.1")
        with server("--port", "0", "--host", "127.0.0.1") as (_, address):
            assert address.startswith("http://127.0.0.1:")
            assert not address.endswith(f":{taken_port}")
        assert data.is_dir()

    def test_a_taken_port_is_one_line(self, run: Run, taken_port: int) -> None:
        result = run("serve", "--port", str(taken_port))
        assert result.status == 2
        assert result.err == f"courtyard: cannot listen on 127.0.0.1 port {taken_port}: Address already in use\n"

    def test_an_address_of_another_machine_is_one_line(self, run: Run) -> None:
        result = run("serve", "--host", "192.0.2.1", "--port", "0")
        assert result.status == 2
        assert result.err == "courtyard: cannot listen on 192.0.2.1 port 0: Cannot assign requested address\n"

    def test_several_processes_need_what_joins_them(self, run: Run) -> None:
        result = run("serve", "--workers", "2", "--port", "0")
        assert result.status == 2
        assert result.err == (
            "courtyard: server.workers is more than 1, which needs PostgreSQL (database.url) and Redis (redis.url)\n"
        )

    def test_an_application_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_APPLICATIONS", "chess")
        done = subprocess.run(
            [*PROGRAM, "serve", "--port", "0"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert done.stderr == "courtyard: not installed: chess; installed: chat\n"

    @pytest.mark.slow
    def test_worker_processes_that_cannot_start_stop_it(
        self, closed_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COURTYARD_DATABASE__URL", f"postgresql://p:hunter2@127.0.0.1:{closed_port}/p")
        monkeypatch.setenv("COURTYARD_REDIS__URL", f"redis://127.0.0.1:{closed_port}/0")
        # The database goes away between the look at it before the start and the start of the workers.
        program = (
            "import sys; from courtyard import serving; from courtyard.kernel.settings import load_settings\n"
            "settings = load_settings(server={'workers': 2})\n"
            "sys.exit(serving._run(settings, serving.listen('127.0.0.1', 0)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == serving.STARTUP_FAILED
        assert "hunter2" not in done.stderr

    def test_a_name_with_both_kinds_of_address(self) -> None:
        with serving.listen("localhost", 0) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"

    def test_ipv6(self) -> None:
        with serving.listen("::1", 0) as listener:
            assert listener.getsockname()[0] == "::1"


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty PostgreSQL database and a Redis, configured."""
    with postgres_database() as url:
        monkeypatch.setenv("COURTYARD_DATABASE__URL", url)
        monkeypatch.setenv("COURTYARD_REDIS__URL", f"{REDIS}/0")
        monkeypatch.setenv("COURTYARD_REDIS__PREFIX", url.rpartition("/")[2])
        yield


@pytest.mark.services
@pytest.mark.usefixtures("services")
class TestServices:
    def test_a_database_without_tables_is_told_apart_from_one_that_is_ready(self, run: Run) -> None:
        result = run("doctor")
        assert result.status == 1
        assert "fail  migrations: accounts: 1 still to be run -> courtyard migrate up" in result.out
        assert run("migrate", "up").status == 0
        result = run("doctor")
        assert result.status == 0, result.out
        assert re.search(r"^ok    database: PostgreSQL \d+.* at postgresql://", result.out, re.MULTILINE)
        assert re.search(r"^ok    redis: Redis \d+.* at redis://.*, [\d.]+ ms$", result.out, re.MULTILINE)
        assert "ok    migrations: up to date" in result.out

    def test_an_administrator_is_made(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run("migrate", "up").status == 0
        assert TestCreateAdmin().create(run, monkeypatch, "correct horse battery").status == 0
        assert TestCreateAdmin().create(run, monkeypatch, "correct horse battery").status == 2

    def test_several_processes_answer_and_stop_in_good_order(self, run: Run) -> None:
        assert run("migrate", "up").status == 0
        with server("--port", "0", "--workers", "2") as (process, address):
            for _ in range(20):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(f"{address}/api/v1/me", timeout=30)  # noqa: S310 - it is our own
                with refused.value as answer:
                    assert answer.status == 401
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
