import os
import subprocess
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from courtyard.kernel.database import Database, Placement
from courtyard.kernel.database.migrations import histories, pending
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.server import Server
from courtyard.site import CannotStart, prepare
from tests.processes import PROGRAM
from tests.running import make_settings
from tests.services import PARTS, Databases, Kind
from tests.sockets import Json

SECRET = "hunter2-and-more"

MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def runtime_on(tmp_path: Path) -> MakeRuntime:
    def make(url: str, *, auto_migrate: bool, placement: Placement | None = None) -> Runtime:
        settings = make_settings(tmp_path, url, database={"auto_migrate": auto_migrate})
        return Runtime.create(settings, PARTS, DatabaseIdentity(), placement=placement)

    return make


async def refusal(runtime: Runtime) -> str:
    try:
        with pytest.raises(CannotStart) as raised:
            await prepare(runtime)
    finally:
        await runtime.close()
    (line,) = raised.value.faults
    assert "\n" not in line
    return line


async def test_databases_are_brought_up_to_date(
    databases: Databases, database_kind: Kind, runtime_on: MakeRuntime
) -> None:
    runtime = runtime_on(await databases.new(database_kind, migrated=False), auto_migrate=True)
    await prepare(runtime)
    assert await pending(runtime.placement.main, PARTS) == []
    await prepare(runtime)
    await runtime.close()


async def test_or_the_server_refuses_to_start(
    databases: Databases, database_kind: Kind, runtime_on: MakeRuntime
) -> None:
    url = await databases.new(database_kind, migrated=False)
    line = await refusal(runtime_on(url, auto_migrate=False))
    everything = ", ".join(part.name for part in histories(PARTS, main=True))
    assert line.endswith(f"migrations are pending ({everything}): run `courtyard migrate up`")


@pytest.mark.parametrize("auto_migrate", [True, False])
async def test_a_database_of_a_later_version_is_left_alone(
    databases: Databases, database_kind: Kind, runtime_on: MakeRuntime, *, auto_migrate: bool
) -> None:
    runtime = runtime_on(await databases.new(database_kind), auto_migrate=auto_migrate)
    connection = await runtime.placement.main.writers.acquire()
    await connection.execute("UPDATE alembic_version_chat SET version_num = '9999'", ())
    runtime.placement.main.writers.release(connection)
    line = await refusal(runtime)
    assert "chat is at revision 9999" in line


async def test_a_database_that_does_not_answer(runtime_on: MakeRuntime) -> None:
    line = await refusal(runtime_on(f"postgresql://somebody:{SECRET}@127.0.0.1:1/place", auto_migrate=False))
    assert line.startswith("postgresql://somebody@127.0.0.1:1/place does not answer: ")
    assert SECRET not in line


class TwoDatabases(Placement):
    """The main database, and another for every workspace."""

    def __init__(self, *urls: str) -> None:
        self._databases = [Database(url, DatabaseSettings()) for url in urls]

    @property
    @override
    def main(self) -> Database:
        return self._databases[0]

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        del workspace_id
        return self._databases[1]

    @override
    def databases(self) -> list[Database]:
        return self._databases


async def test_a_database_of_a_workspace_keeps_nobody_from_starting(
    databases: Databases, database_kind: Kind, runtime_on: MakeRuntime
) -> None:
    main = await databases.new(database_kind)
    other = await databases.new(database_kind, migrated=False)
    away = "postgresql://somebody@127.0.0.1:1/place"
    runtime = runtime_on(main, auto_migrate=False, placement=TwoDatabases(main, other, away))
    with capture_logs() as logs:
        await prepare(runtime)
    await runtime.close()
    unreachable, behind = sorted(logs, key=itemgetter("event"))
    # Accounts and workspaces are in the main database alone.
    everything = ", ".join(part.name for part in histories(PARTS, main=False))
    assert behind["event"] == "shard.not_ready"
    assert behind["reason"].endswith(f"migrations are pending ({everything}): run `courtyard migrate up`")
    assert (unreachable["event"], unreachable["database"]) == ("shard.away", away)
    runtime = runtime_on(main, auto_migrate=True, placement=TwoDatabases(main, other))
    await prepare(runtime)
    assert await pending(runtime.placement.databases()[1], PARTS, main=False) == []
    await runtime.close()


async def test_any_web_server_is_told_the_reason_without_a_traceback(databases: Databases, tmp_path: Path) -> None:
    url = await databases.new("sqlite", migrated=False)
    server = Server(make_settings(tmp_path, url, database={"auto_migrate": False}))
    sent: list[Any] = []

    async def receive() -> Json:
        return {"type": "lifespan.startup"}

    async def send(message: Json) -> None:
        sent.append(message)

    with pytest.raises(ExceptionGroup) as raised:
        await server({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)  # type: ignore[arg-type]
    assert raised.group_contains(CannotStart)
    (message,) = sent
    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].endswith("run `courtyard migrate up`")
    assert "\n" not in message["message"]


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COURTYARD_")},
        "COURTYARD_DATA_DIR": str(tmp_path / "data"),
        "COURTYARD_DATABASE__URL": "postgresql://somebody:word@127.0.0.1:1/place",
        "COURTYARD_REDIS__URL": "redis://127.0.0.1:1/0",
    }
    done = subprocess.run(
        [*PROGRAM, "serve", "--port", "0", "--workers", "2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("courtyard: postgresql://somebody@127.0.0.1:1/place does not answer: ")
    assert done.stdout == ""
