"""Databases: how rows are described, read, changed and moved between versions.

Stands on the settings alone. Knows nothing of requests, accounts or events; what a statement may see is decided by
who writes it, except for the tenant, which is part of every statement here.
"""

from courtyard.kernel.database.auditing import Action, Auditor, RowChange
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.drivers import FENCED_MESSAGE, FENCED_STATE, Connection, sqlite_path
from courtyard.kernel.database.errors import DatabaseUnavailable, UniqueViolation
from courtyard.kernel.database.migrations import address, pending
from courtyard.kernel.database.models import (
    AUDIT_MARK,
    TAKEN_UP_MARK,
    WORKSPACE,
    Auditable,
    Audited,
    MainBase,
    WorkspaceBase,
)
from courtyard.kernel.database.pages import DEFAULT_LIMIT, Cursor, Limit, Number, Page, page, sort_key
from courtyard.kernel.database.placement import INSTALLATION, Placement, SharedPlacement, passing_over
from courtyard.kernel.database.pool import Pool
from courtyard.kernel.database.statements import Prepared
from courtyard.kernel.database.types import AnyOf, Json, UtcDateTime
from courtyard.kernel.database.unit import ReadUnit, UnitOfWork

__all__ = [
    "AUDIT_MARK",
    "DEFAULT_LIMIT",
    "FENCED_MESSAGE",
    "FENCED_STATE",
    "INSTALLATION",
    "TAKEN_UP_MARK",
    "WORKSPACE",
    "Action",
    "AnyOf",
    "Auditable",
    "Audited",
    "Auditor",
    "Connection",
    "Cursor",
    "Database",
    "DatabaseUnavailable",
    "Json",
    "Limit",
    "MainBase",
    "Number",
    "Page",
    "Placement",
    "Pool",
    "Prepared",
    "ReadUnit",
    "RowChange",
    "SharedPlacement",
    "UniqueViolation",
    "UnitOfWork",
    "UtcDateTime",
    "WorkspaceBase",
    "address",
    "page",
    "passing_over",
    "pending",
    "sort_key",
    "sqlite_path",
]
