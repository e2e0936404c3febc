"""Relocation: lets a workspace live in another database, with all its rows, while it is used.

Stands on workspaces and shards. Knows no part of the house by name: what is moved is every table of `WorkspaceBase`.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.relocation.models import MoveRow
from courtyard.kernel.relocation.moves import find_move, urls_of

__all__ = ["find_move", "relocation", "urls_of"]

relocation = Application(
    name="relocation",
    description="Moves of workspaces from database to database.",
    models=(MoveRow,),
    side="main",
    migrations=Path(__file__).parent / "migrations",
)
