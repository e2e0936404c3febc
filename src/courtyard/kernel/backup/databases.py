"""A database into a file and back, by its own means: the online copy of SQLite, `pg_dump` and `pg_restore`."""

# A command: nobody waits beside it.
# ruff: noqa: ASYNC240

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.database import address, sqlite_path

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_POSTGRESQL_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"


async def dump(url: str, path: Path) -> None:
    """Write a database as it is at one moment into a file.

    Raises:
        BackupRefused: it cannot be read, or a program is missing.
    """
    if url.startswith("sqlite:"):
        await asyncio.to_thread(_copy, sqlite_path(url), path)
    else:
        await _program("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")


async def is_empty(url: str) -> bool:
    """Return whether there is nothing in a database, or no file of it."""
    if url.startswith("sqlite:"):
        path = sqlite_path(url)
        return not path.exists() or await asyncio.to_thread(_has_no_tables, path)
    out = await _program("psql", url, "--no-psqlrc", "--tuples-only", "--no-align", f"--command={_POSTGRESQL_TABLES}")
    return out.strip() == "0"


async def restore(path: Path, url: str) -> None:
    """Write a file of `dump` into a database. What was in it goes.

    Raises:
        BackupRefused: it cannot be written, or a program is missing.
    """
    if url.startswith("sqlite:"):
        target = sqlite_path(url)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        await asyncio.to_thread(_copy, path, target)
    else:
        options = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
        await _program("pg_restore", url, *options, str(path))


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BackupRefused(f"{source}: there is no such file")
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing, pages=1_000)


def _has_no_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(_SQLITE_TABLES).fetchone() is None


async def _program(name: str, url: str, *options: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise BackupRefused(f"{name} is not installed: it comes with the client programs of PostgreSQL")
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
        raise BackupRefused(f"{address(url)}: {first}")
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
