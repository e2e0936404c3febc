"""Backups in a hurry."""

import pytest


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a guess at a passphrase cost nothing."""
    monkeypatch.setattr("courtyard.kernel.backup.sealed.COST", 4)
