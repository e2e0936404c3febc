"""Databases with nothing in them, and histories that a test makes up."""

import os
import textwrap
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

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
def rows() -> dict[str, Any]:
    """A row for every table, or several, in the words of its columns; but `audit_pending`, which a trigger fills."""
    account, other, workspace, conversation = uuid4(), uuid4(), uuid4(), uuid4()
    endpoint, delivery = uuid4(), uuid4()
    versioned = {"version": 1, "created_at": NOW}
    tenant = {"workspace_id": workspace}
    return {
        "account": [
            {
                "id": account_id,
                "kind": "person",
                "name": "Ada",
                "must_change_password": False,
                "rights_epoch": 0,
                **versioned,
            }
            for account_id in (account, other)
        ],
        "session": {
            "id": uuid4(),
            "account_id": account,
            "refresh_digest": b"digest",
            "device": "test",
            "address": "",
            "methods": [],
            "created_at": NOW,
            "authenticated_at": NOW,
            "refreshed_at": NOW,
            "expires_at": NOW,
        },
        "workspace": {"id": workspace, "slug": "west", "name": "West", "settings": {}, **versioned},
        "membership": [{**tenant, "account_id": account_id, **versioned} for account_id in (account, other)],
        "role_grant": {
            **tenant,
            "id": uuid4(),
            "account_id": account,
            "role": "owner",
            "scope_type": "",
            "scope_id": UUID(int=0),
            "created_at": NOW,
        },
        "workspace_placement": {**tenant, "uri": b"encrypted", "placed_at": NOW},
        "workspace_storage": {**tenant, "is_also_read": False, "placed_at": NOW},
        "workspace_placements": {"id": 1, "number": 1},
        "workspace_move": {**tenant, "id": uuid4(), "state": "copying", "started_at": NOW, "changed_at": NOW},
        "shard_marker": {**tenant, "installation_id": uuid4(), "created_at": NOW},
        "shard_fence": {**tenant, "state": "open"},
        "custom_role": {
            **tenant,
            "name": "custom.night_shift",
            "description": "Answers at night",
            "permissions": ["chat.message.send"],
            "require_second_factor": False,
            **versioned,
        },
        "workspace_slug": {"slug": "west", "workspace_id": workspace},
        "invitation": {
            **tenant,
            "id": uuid4(),
            "email": "eva@example.org",
            "roles": ["member"],
            "state": "pending",
            "token_digest": b"invitation",
            "inviter_id": account,
            "mails": 1,
            "counted_from": NOW,
            "mailed_at": NOW,
            "created_at": NOW,
            "expires_at": NOW,
        },
        "invitation_link": {
            **tenant,
            "id": uuid4(),
            "roles": ["member"],
            "token_digest": b"link",
            "maker_id": account,
            "uses": 0,
            "max_uses": 5,
            "created_at": NOW,
            "expires_at": NOW,
        },
        "ownership_offer": {**tenant, "from_id": account, "to_id": other, "created_at": NOW, "expires_at": NOW},
        "workspace_service": {
            **tenant,
            "account_id": account,
            "description": "Sends reports",
            "maker_id": other,
            **versioned,
        },
        "challenge": {
            "id": uuid4(),
            "purpose": "login",
            "account_id": account,
            "token_digest": b"digest",
            "tries_left": 5,
            "data": {},
            "created_at": NOW,
            "expires_at": NOW,
        },
        "device": {"account_id": account, "browser_digest": b"digest", "created_at": NOW, "seen_at": NOW},
        "login_throttle": {"email_digest": b"digest", "failures": 1, "changed_at": NOW, "blocked_until": NOW},
        "totp": {"account_id": account, "secret": b"secret", "last_step": 0, "failures": 0, "created_at": NOW},
        "recovery_code": {"account_id": account, "digest": b"digest", "created_at": NOW},
        "passkey": {
            "id": uuid4(),
            "account_id": account,
            "credential_id": b"id",
            "public_key": b"key",
            "sign_count": 0,
            "transports": [],
            "name": "Phone",
            "backed_up": False,
            "version": 1,
            "created_at": NOW,
        },
        "external_identity": {
            "id": uuid4(),
            "account_id": account,
            "provider": "company",
            "subject": "ada",
            "created_at": NOW,
        },
        "api_key": {
            "id": uuid4(),
            "account_id": account,
            "name": "Script",
            "prefix": "cyk_ab",
            "digest": b"digest",
            "methods": [],
            "created_at": NOW,
        },
        "quota": {**tenant, "name": "workspaces.members", "used": 1, "most": None},
        "file": {
            **tenant,
            "id": uuid4(),
            "owner_id": account,
            "kind": "sample.attachment",
            "name": "letter.pdf",
            "content_type": "application/pdf",
            "size_bytes": 1,
            "thumbnail_bytes": 0,
            "state": "uploading",
            "created_at": NOW,
            "alive_at": NOW,
        },
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
        "task": {
            **tenant,
            "id": uuid4(),
            "name": "sample.task",
            "queue": "default",
            "priority": 5,
            "state": "waiting",
            "payload": {},
            "attempt": 0,
            "tries": 0,
            "ready_at": NOW,
            "due_at": NOW,
            "unique_key": "k",
            "concurrency_key": "",
            "request_id": "r",
            "is_operation": False,
            "cancel_requested": False,
            "sends": 0,
            "created_at": NOW,
        },
        "task_schedule": {**tenant, "name": "sample.schedule", "plan": "every 60 s", "next_at": NOW},
        "mail": {
            **tenant,
            "id": uuid4(),
            "template": "accounts.login",
            "language": "en",
            "recipient": "ada@example.org",
            "subject": "Log in",
            "content": b"encrypted",
            "state": "queued",
            "attempts": 0,
            "created_at": NOW,
            "expires_at": NOW,
        },
        "mail_preference": {
            **tenant,
            "subject": "ada@example.org",
            "kind": "workspaces.invitations",
            "wanted": False,
            "changed_at": NOW,
        },
        "mail_template": {
            **tenant,
            "name": "workspaces.invitation",
            "language": "en",
            "subject": "Come",
            "text": "{{ link }}",
            "version": 1,
            "changed_at": NOW,
        },
        "webhook_endpoint": {
            **tenant,
            "id": endpoint,
            "url": "https://example.org/hook",
            "description": "",
            "events": ["*"],
            "secret": b"encrypted",
            "state": "active",
            "failures": 0,
            **versioned,
        },
        "webhook_pending": {**tenant, "topic": "t", "number": 1},
        "webhook_delivery": {
            **tenant,
            "id": delivery,
            "endpoint_id": endpoint,
            "event_id": uuid4(),
            "event_name": "e",
            "body": "{}",
            "state": "waiting",
            "attempts": 1,
            "tries": 1,
            "created_at": NOW,
        },
        "webhook_attempt": {
            **tenant,
            "delivery_id": delivery,
            "number": 1,
            "url": "https://example.org/hook",
            "request_headers": {},
            "response_headers": {},
            "response_body": "",
            "milliseconds": 1,
            "created_at": NOW,
        },
        "audit_entry": {
            **tenant,
            "id": uuid4(),
            "created_at": NOW,
            "name": "sample:thing:created",
            "action": "created",
            "actor_kind": "system",
            "origin": "system",
        },
        "audit_seal": {**tenant, "number": 1, "entry_id": uuid4(), "digest": "0" * 64},
        "audit_chain": {
            **tenant,
            "number": 1,
            "digest": "0" * 64,
            "base_number": 0,
            "base_digest": "0" * 64,
            "mac": "0" * 64,
        },
        "chat_conversation": {
            **tenant,
            "id": conversation,
            "state": "active",
            "visitor_id": account,
            "staff_ids": [account],
            "staff_count": 1,
            "message_count": 1,
            "active_at": NOW,
            "tags": ["housing"],
            **versioned,
        },
        "chat_participant": {**tenant, "conversation_id": conversation, "account_id": account, "joined_at": NOW},
        "chat_profile": {**tenant, "account_id": account, "display_name": "Vera", "changed_at": NOW},
        "chat_note": {
            **tenant,
            "id": uuid4(),
            "conversation_id": conversation,
            "author_id": account,
            "text": "Called before.",
            "created_at": NOW,
        },
        "chat_seen": {
            **tenant,
            "conversation_id": conversation,
            "account_id": account,
            "number": 1,
            "seen_at": NOW,
        },
        "chat_bookmark": {**tenant, "account_id": account, "conversation_id": conversation, "created_at": NOW},
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
