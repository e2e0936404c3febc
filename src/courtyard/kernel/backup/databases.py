"""A database into a file and back, by its own means: the online copy of SQLite, `pg_dump` and `pg_restore`."""

# What is looked at in a folder of this machine takes no time to speak of; what is long is done in threads.
# ruff: noqa: ASYNC240

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from courtyard.kernel.backup.errors import BackupRefused, DumpFailed
from courtyard.kernel.database import address, sqlite_path

# What a restored database had and the archive has not would stand in the way of the migrations to come.
_DROP_TABLES = """DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', name);
    END LOOP;
END $$"""


async def dump(url: str, path: Path) -> None:
    """Write a database as it is at one moment into a file.

    Raises:
        BackupRefused: a program, or the file, is missing.
        DumpFailed: it cannot be read now.
    """
    if url.startswith("sqlite:"):
        await asyncio.to_thread(_copy, sqlite_path(url), path)
    else:
        await _program("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")


async def restore(path: Path, url: str) -> None:
    """Write a file of `dump` into a database. What was in it goes.

    Raises:
        BackupRefused: a program is missing.
        DumpFailed: it cannot be written.
    """
    if url.startswith("sqlite:"):
        target = sqlite_path(url)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        await asyncio.to_thread(_copy, path, target)
    else:
        await _program("psql", url, "--no-psqlrc", "--quiet", f"--command={_DROP_TABLES}")
        options = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
        await _program("pg_restore", url, *options, str(path))


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BackupRefused(f"{source}: there is no such file")
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing, pages=1_000)


async def _program(name: str, url: str, *options: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise BackupRefused(
            f"{name} is not installed: it comes with the client programs of PostgreSQL "
            "(`apt-get install postgresql-client`)"
        )
    where, environment = _without_password(url)
    process = await asyncio.create_subprocess_exec(
        program,
        f"--dbname={where}",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate()
    if process.returncode:
        first = (err.decode(errors="replace").strip().splitlines() or [f"{name} failed"])[0]
        raise DumpFailed(f"{address(url)}: {first}")
    return out.decode()


def _without_password(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL without its password, which no list of processes is to show, and the variables with it."""
    parts = urlsplit(url)
    environment = dict(os.environ)
    if parts.password is None:
        return url, environment
    environment["PGPASSWORD"] = unquote(parts.password)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}")), environment
