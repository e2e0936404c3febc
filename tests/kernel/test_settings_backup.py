"""The settings of backups: what no server starts with."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from courtyard.kernel.settings_backup import BackupSettings, backup_refusals
from courtyard.kernel.settings_files import StorageSettings

FILES = Path("/srv/files")
PASSPHRASE = "correct horse battery"
BUCKET = {"kind": "s3", "bucket": "house"}


def refusals(files: dict[str, Any] | None = None, *, production: bool = False, **values: Any) -> list[str]:
    settings = BackupSettings.model_validate(values)
    return list(backup_refusals(settings, StorageSettings.model_validate(files or {}), FILES, production=production))


def test_the_default_makes_none() -> None:
    assert refusals() == []
    assert not BackupSettings().has_place


def test_a_schedule_needs_a_place_and_a_passphrase() -> None:
    assert refusals(schedule="0 3 * * *") == [
        "backup.schedule is set, which needs a place: backup.storage.path, or another backup.storage.kind",
        "backup.schedule is set, which needs backup.passphrase",
    ]
    assert refusals(schedule="0 3 * * *", storage={"path": "/srv/backups"}, passphrase=PASSPHRASE) == []
    assert refusals(schedule="0 3 * * *", storage=BUCKET, passphrase=PASSPHRASE) == []


def test_a_bucket_is_one_as_for_files() -> None:
    assert refusals(storage={"kind": "s3"}) == [
        "backup.storage.bucket must be set where backup.storage.kind is not local"
    ]
    assert refusals(storage={**BUCKET, "endpoint": "http://s3.example.org"}, production=True) == [
        "backup.storage.endpoint must begin with https:// (plain http only for localhost)"
    ]


@pytest.mark.parametrize(
    ("backup", "files"),
    [
        ({"path": "/srv/files"}, {}),
        ({"path": "/srv/files/old"}, {}),
        (BUCKET, BUCKET),
        ({**BUCKET, "prefix": "old"}, BUCKET),
        ({**BUCKET, "prefix": "files/old"}, {**BUCKET, "prefix": "files"}),
    ],
)
def test_a_backup_does_not_hold_the_others(backup: dict[str, Any], files: dict[str, Any]) -> None:
    assert refusals(files, storage=backup) == [
        "backup.storage is within files.storage, so that each backup would hold all others"
    ]


@pytest.mark.parametrize(
    ("backup", "files"),
    [
        ({"path": "/srv/files-old"}, {}),
        ({"path": "/srv/files"}, BUCKET),
        ({**BUCKET, "prefix": "old"}, {**BUCKET, "prefix": "files"}),
        ({**BUCKET, "prefix": "files-old"}, {**BUCKET, "prefix": "files"}),
        ({**BUCKET, "bucket": "other"}, BUCKET),
    ],
)
def test_beside_the_files_is_a_place(backup: dict[str, Any], files: dict[str, Any]) -> None:
    assert refusals(files, storage=backup) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("schedule", "every night", "must be a cron line such as 0 3 * * *"),
        ("schedule", "0 3 31 2 *", "must be a cron line such as 0 3 * * *"),
        ("time_zone", "Europe/Atlantis", "must be a time zone such as Europe/Helsinki"),
        ("passphrase", "eleven char", "must have at least 12 characters"),
        ("keep_last", -1, "greater than or equal to 0"),
    ],
)
def test_what_is_not_to_be_understood(name: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)) as refused:
        BackupSettings.model_validate({name: value})
    assert "eleven char" not in str(refused.value)
