"""The tables of one move: those of the workspace, and those that the move makes beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text
from sqlalchemy.types import TypeEngine

from courtyard.kernel.application import Application
from courtyard.kernel.database import TAKEN_UP_MARK, Json
from courtyard.kernel.relocation.tables import workspace_tables

SEQ, OP, GROUP = "mv_seq", "mv_op", "mv_group"


@dataclass(frozen=True)
class Moved:
    """One table that moves.

    Attributes:
        rows: it, with JSON as text.
        log: in the source, an image of each row that is changed (`u`) or deleted (`d`) meanwhile.
        stage: in the target, where rows wait until the workspace lives there.
        is_staged: whether they do: work in the background would take them up otherwise.
    """

    rows: Table
    log: Table
    stage: Table
    is_staged: bool

    @property
    def name(self) -> str:
        """The name of the table."""
        return self.rows.name

    @property
    def destination(self) -> Table:
        """Where rows are written in the target."""
        return self.stage if self.is_staged else self.rows

    @property
    def key(self) -> list[str]:
        """The columns of the primary key."""
        return [column.name for column in self.rows.primary_key]

    @property
    def columns(self) -> list[str]:
        """All columns."""
        return [column.name for column in self.rows.columns]


@dataclass(frozen=True)
class Plan:
    """What is moved.

    Attributes:
        workspace_id: whose rows.
        prefix: of the names of everything that the move makes.
        tables: what is referred to first.
        applied: in the target, which entries of the log the newest transaction there has made true.
    """

    workspace_id: UUID
    prefix: str
    tables: Sequence[Moved]
    applied: Table

    @property
    def lock(self) -> int:
        """The number of the advisory lock that changes of the workspace share (PostgreSQL)."""
        return int.from_bytes(self.workspace_id.bytes[8:], "big", signed=True)


def plan_of(parts: Sequence[Application], workspace_id: UUID, move_id: UUID) -> Plan:
    """Return the plan of a move."""
    prefix, metadata = f"mv_{move_id.hex[-10:]}", MetaData()
    moved = [_moved(table, prefix, number, metadata) for number, table in enumerate(workspace_tables(parts))]
    applied = Table(f"{prefix}_applied", metadata, Column(SEQ, BigInteger, primary_key=True, autoincrement=False))
    return Plan(workspace_id, prefix, moved, applied)


def _moved(table: Table, prefix: str, number: int, metadata: MetaData) -> Moved:
    def columns(*, keyed: bool) -> list[Column[Any]]:
        return [
            Column(
                column.name,
                _plain(column.type),
                primary_key=keyed and column.primary_key,
                nullable=not column.primary_key,
                autoincrement=False,
            )
            for column in table.columns
            # The database makes the others by itself.
            if column.computed is None
        ]

    own: list[Column[Any]] = [
        Column(SEQ, BigInteger, primary_key=True, autoincrement=False),
        Column(OP, String(1), nullable=False),
        Column(GROUP, Text, nullable=False),
    ]
    return Moved(
        rows=Table(table.name, MetaData(), *columns(keyed=True)),
        log=Table(f"{prefix}_l{number}", metadata, *own, *columns(keyed=False)),
        stage=Table(f"{prefix}_s{number}", metadata, *columns(keyed=True)),
        is_staged=bool(table.info.get(TAKEN_UP_MARK)),
    )


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    # As text: what is not taken apart is not changed.
    return Json(raw=True) if isinstance(type_, Json) else type_
