"""Backup, destroy, restore: every row, every file, and people come in as before."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from courtyard.kernel.backup import archive
from courtyard.kernel.backup.databases import dump
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.database import Database, sqlite_path
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok
from tests.kernel.files.conftest import Files, installed
from tests.kernel.relocation.conftest import Street, Writer
from tests.running import RunningServer
from tests.services import Databases, Kind

# A fixture that stands elsewhere.
__all__ = ["installed"]

PASSPHRASE = "correct horse battery"
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}


async def everything(url: str) -> dict[str, list[str]]:
    """Return every row of every table."""
    database = Database(url, DatabaseSettings())
    connection = await database.readers.acquire()
    try:
        names = [row[0] for row in await connection.fetch(TABLES[database.dialect.name], ())]
        return {
            name: sorted(repr(tuple(row)) for row in await connection.fetch(f'SELECT * FROM "{name}"', ()))  # noqa: S608
            for name in names
        }
    finally:
        database.readers.release(connection)
        await database.close()


async def destroy(url: str) -> None:
    """Remove a database, and make an empty one in its place."""
    if url.startswith("sqlite:"):
        for suffix in ("", "-wal", "-shm"):
            await asyncio.to_thread(Path(f"{sqlite_path(url)}{suffix}").unlink, missing_ok=True)
        return
    server, _, name = url.rpartition("/")
    connection = await asyncpg.connect(f"{server}/postgres", timeout=5)
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def back_up(server: RunningServer, path: Path) -> archive.Contents:
    runtime = server.runtime
    assert isinstance(runtime.placement, ShardedPlacement)
    assert isinstance(runtime.storage, ShardedStorage)
    secrets = server.settings.data_path / SECRETS_FILE
    now = datetime.now(UTC)
    with path.open("wb") as file:
        return await archive.create(file, PASSPHRASE, runtime.placement, runtime.storage, secrets, now, lambda _: None)


async def test_equal_behind_it(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path
) -> None:
    main = await databases.new(database_kind)
    server = await server_factory(database=main)
    street = Street(Factory(server), databases, database_kind)
    files = Files(server, street.make, await street.make.workspace())
    file = await files.upload(b"what was uploaded")
    home, away = await street.conversation(), await street.conversation()
    shard = await street.empty_database()
    await street.move(away.workspace.id, shard)
    secrets = server.settings.data_path / SECRETS_FILE
    secrets.write_text("{}")
    path = tmp_path / f"a{archive.SUFFIX}"
    async with Writer(street, home, "late") as writer:
        contents = await back_up(server, path)
    assert (contents.databases, contents.files) == (2, 1)
    await street.make.close()
    await server.stop()
    before = {url: await everything(url) for url in (main, shard)}

    for url in (main, shard):
        await destroy(url)
    shutil.rmtree(server.settings.data_path)
    said: list[str] = []
    await archive.restore(path, PASSPHRASE, server.settings, secrets, said.append, force=False)
    after = {url: await everything(url) for url in (main, shard)}
    assert after[shard] == before[shard]
    # What was written into the main one meanwhile may have come too late for it; nothing else is another.
    assert {*after[main]} == {*before[main]}
    for name in ("account", "workspace", "membership", "workspace_placement", "file", "shard_marker"):
        assert after[main][name] == before[main][name]
    assert secrets.read_text() == "{}"

    again = await server_factory(database=main)
    street.make = Factory(again)
    owner = files.owner
    login = ok(await street.make.nobody.post("/sessions", json={"email": owner.email, "password": PASSWORD}))
    person = street.make.signed_in(login)
    assert (await person.http.get(f"{files.path}/{file['id']}/content")).content == b"what was uploaded"
    for conversation, least in ((home, {"0", "1", "2"}), (away, {"0", "1", "2"})):
        conversation.visitor.http = again.client(
            base_url=f"{again.url}/api/v1", headers=dict(conversation.visitor.headers)
        )
        texts = await street.texts(conversation)
        assert least <= {*texts} <= least | {*writer.sent}
    await street.make.close()


async def test_a_place_that_is_not_free_is_left_alone(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path
) -> None:
    main = await databases.new(database_kind)
    server = await server_factory(database=main)
    path = tmp_path / f"a{archive.SUFFIX}"
    await back_up(server, path)
    await server.stop()
    before = await everything(main)
    with pytest.raises(BackupRefused, match="not empty"):
        await restore(server, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(BackupRefused, match="damaged"):
        await restore(server, path, force=True)
    assert await everything(main) == before


async def restore(server: RunningServer, path: Path, **options: Any) -> None:
    secrets = server.settings.data_path / SECRETS_FILE
    await archive.restore(path, PASSPHRASE, server.settings, secrets, lambda _: None, **{"force": False, **options})


async def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupRefused, match="pg_dump is not installed"):
        await dump("postgresql://127.0.0.1/place", tmp_path / "dump")
