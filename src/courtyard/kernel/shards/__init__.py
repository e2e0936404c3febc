"""Shards: which workspace lives in a database of its own, and what keeps one that is away from hurting the others.

Stands on the database. Knows neither contexts nor what the rows are; who moves them is in `relocation`.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.shards.check import CLOCK_SKEW_SECONDS, Fault, check_database, claim, holder_of, normalised
from courtyard.kernel.shards.errors import ShardAway, ShardBehind
from courtyard.kernel.shards.fences import CLOSED, MOVED, OPEN, FenceRow
from courtyard.kernel.shards.models import MarkerRow, PlacementRow, PlacementsRow, StorageRow
from courtyard.kernel.shards.placement import FRESH_SECONDS, PLACEMENTS_CHANNEL, UNREADABLE, ShardedPlacement
from courtyard.kernel.shards.shard import Shard
from courtyard.kernel.shards.storages import Overlay, ShardedStorage, encoded
from courtyard.kernel.shards.store import (
    Placed,
    Stored,
    find_stored,
    installation_id,
    load_placed,
    load_placements,
    load_stored,
    place,
    storages_of,
    store_in,
    url_of,
)

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "CLOSED",
    "FRESH_SECONDS",
    "MOVED",
    "OPEN",
    "PLACEMENTS_CHANNEL",
    "UNREADABLE",
    "Fault",
    "FenceRow",
    "MarkerRow",
    "Overlay",
    "Placed",
    "PlacementRow",
    "Shard",
    "ShardAway",
    "ShardBehind",
    "ShardedPlacement",
    "ShardedStorage",
    "StorageRow",
    "Stored",
    "check_database",
    "claim",
    "encoded",
    "find_stored",
    "holder_of",
    "installation_id",
    "load_placed",
    "load_placements",
    "load_stored",
    "normalised",
    "place",
    "placements",
    "shards",
    "storages_of",
    "store_in",
    "url_of",
]

placements = Application(
    name="placements",
    description="Which workspaces live in databases of their own.",
    models=(PlacementRow, StorageRow, PlacementsRow),
    side="main",
    migrations=Path(__file__).parent / "migrations" / "main",
    audit_names={
        "placements:workspace:placed": "A workspace was given another database.",
        "placements:files:placed": "The files of a workspace were given another storage.",
    },
)

shards = Application(
    name="shards",
    description="Whose a database is, and which workspaces may be changed in it.",
    models=(MarkerRow, FenceRow),
    migrations=Path(__file__).parent / "migrations" / "shard",
    # They say something of the database, not of the workspace.
    outlives_workspaces=True,
)
