"""What the measurements of one run share: its length, its directory, and the data of each server."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.courtyard import Courtyard
from benchmarks.databases import fill_for_peers, temporary_database


@dataclass
class Bench:
    """One run. What it makes goes when `closing` is closed; nothing is made before a measurement asks for it."""

    rounds: int
    seconds: float
    directory: Path
    closing: ExitStack

    @cached_property
    def log(self) -> Path:
        """The file that the peers write to."""
        return self.directory / "peers.log"

    @cached_property
    def peers_database(self) -> str:
        """The address of the database that the HTTP peers share, with its table and its data."""
        address = self.closing.enter_context(temporary_database("peers"))
        fill_for_peers(address)
        return address

    @cached_property
    def courtyard(self) -> Courtyard:
        """Courtyard on PostgreSQL, migrated and filled."""
        address = self.closing.enter_context(temporary_database("courtyard"))
        return Courtyard.prepared(self.directory / "courtyard", database=address)

    @cached_property
    def embedded_courtyard(self) -> Courtyard:
        """Courtyard as it comes, on SQLite, filled."""
        return Courtyard.prepared(self.directory / "embedded", database=None)
