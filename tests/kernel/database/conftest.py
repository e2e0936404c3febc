"""Databases with nothing in them, and histories that a test makes up."""

import os
import textwrap
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.orm import DeclarativeBase

from courtyard.kernel.application import Application, installed
from courtyard.kernel.database import Database
from courtyard.kernel.settings import DatabaseSettings
from courtyard.server import KERNEL

POSTGRES = os.environ.get("COURTYARD_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432").rstrip("/")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

REVISION = '''"""Made up for a test."""

import time
from pathlib import Path

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import Json, UtcDateTime

revision = "{revision}"
down_revision = {below!r}


def upgrade() -> None:
{up}


def downgrade() -> None:
{down}
'''


class History:
    """A part that is made up, whose revisions are written one by one.

    Args:
        folder: where the revisions go.
        name: of the part.
        models: what its tables should be.
    """

    def __init__(self, folder: Path, name: str, models: Sequence[type[DeclarativeBase]] = ()) -> None:
        self.folder = folder
        folder.mkdir()
        self.part = Application(name=name, description="made up", models=models, migrations=folder)

    def revise(self, up: str, down: str = "pass") -> Path:
        """Write the next revision with these bodies of its functions."""
        number = len([*self.folder.glob("*.py")]) + 1
        path = self.folder / f"{number:04}_made_up.py"
        text = REVISION.format(
            revision=f"{number:04}",
            below=f"{number - 1:04}" if number > 1 else None,
            up=textwrap.indent(textwrap.dedent(up).strip(), "    "),
            down=textwrap.indent(textwrap.dedent(down).strip(), "    "),
        )
        path.write_text(text)
        return path


@pytest.fixture(scope="session")
def parts() -> list[Application]:
    """Everything that has tables, in the order in which it is migrated."""
    return [part for part in (*KERNEL, *installed(["chat"])) if part.migrations is not None]


@pytest.fixture
def rows() -> dict[str, dict[str, Any]]:
    """A row for every table, in the words of its columns."""
    account, workspace, conversation = uuid4(), uuid4(), uuid4()
    versioned = {"version": 1, "created_at": NOW}
    tenant = {"workspace_id": workspace}
    return {
        "account": {"id": account, "kind": "person", "name": "Ada", **versioned},
        "session": {
            "id": uuid4(),
            "account_id": account,
            "refresh_digest": b"digest",
            "device": "test",
            "created_at": NOW,
            "refreshed_at": NOW,
            "expires_at": NOW,
        },
        "workspace": {"id": workspace, "slug": "west", "name": "West", **versioned},
        "membership": {**tenant, "account_id": account, "roles": ["owner"], **versioned},
        "event_topic": {**tenant, "topic": "t", "number": 1},
        "event": {**tenant, "topic": "t", "number": 1, "id": uuid4(), "name": "e", "data": {}, "created_at": NOW},
        "idempotency_key": {
            **tenant,
            "account_id": account,
            "key": "k",
            "fingerprint": b"f",
            "status": 201,
            "body": b"{}",
            "created_at": NOW,
        },
        "chat_conversation": {
            **tenant,
            "id": conversation,
            "state": "waiting",
            "visitor_id": account,
            "message_count": 1,
            **versioned,
        },
        "chat_message": {
            **tenant,
            "conversation_id": conversation,
            "number": 1,
            "id": uuid4(),
            "author_id": account,
            "text": "hello",
            "created_at": NOW,
        },
    }


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A made-up part without revisions."""
    return History(tmp_path / "migrations", "sample")


@pytest.fixture
def settings() -> DatabaseSettings:
    """Short waits, so that a test which runs into one is quick."""
    return DatabaseSettings(lock_timeout_seconds=0.2, busy_timeout_seconds=0.2, acquire_timeout_seconds=10)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database."""
    return str(request.param)


@pytest.fixture
async def database(kind: str, settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Database]:
    """A database with nothing in it. Without a PostgreSQL server the test is skipped, except in CI."""
    if kind == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'data' / 'sample.sqlite3'}", settings)
        yield database
        await database.close()
        return
    try:
        server = await asyncpg.connect(f"{POSTGRES}/postgres", timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES.rpartition('@')[2]}: {error}")
    name = f"courtyard_test_{uuid4().hex}"
    await server.execute(f"CREATE DATABASE {name}")
    database = Database(f"{POSTGRES}/{name}", settings)
    yield database
    await database.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()
