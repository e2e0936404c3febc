"""Which tables belong to a workspace and move with it."""

from collections.abc import Sequence

from sqlalchemy import Table

from courtyard.kernel.application import Application
from courtyard.kernel.database import WorkspaceBase
from courtyard.kernel.shards import shards


def workspace_tables(parts: Sequence[Application]) -> list[Table]:
    """Return the tables whose rows move with a workspace, what is referred to first.

    Not among them are those of parts that outlive workspaces: what is said of a database, and its audit log.
    """
    declared = {
        model.__table__
        for part in parts
        if part.side == "workspace" and not part.outlives_workspaces and part.name != shards.name
        for model in part.models
    }
    return [table for table in WorkspaceBase.metadata.sorted_tables if table in declared]
