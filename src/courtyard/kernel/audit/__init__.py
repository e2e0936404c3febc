"""The audit log, as far as it is looked after: reading, exporting, sealing, verifying, removing what is too old.

Stands on the web layer. How entries are written is in `trail`, which every context has.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.audit.permissions import PERMISSIONS, ROLES
from courtyard.kernel.audit.routes import ROUTES
from courtyard.kernel.audit.service import EXPORTED, verify
from courtyard.kernel.audit.tasks import PRUNED, Keeper
from courtyard.kernel.trail import LIMITED, REFUSED, AuditChainRow, AuditEntryRow, AuditPendingRow, AuditSealRow

__all__ = ["Keeper", "audit", "verify"]

audit = Application(
    name="audit",
    description="Who changed what, from what to what, and what was refused.",
    models=(AuditEntryRow, AuditPendingRow, AuditSealRow, AuditChainRow),
    migrations=Path(__file__).parent / "migrations",
    # What was done in a workspace can be looked up when it is gone, as long as `audit.retention_days` says.
    outlives_workspaces=True,
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    audit_names={
        LIMITED: "A rate limit was reached; told once a minute for each of whom it counts for.",
        REFUSED: "A permission was refused to somebody; told once a minute for each account and permission.",
        EXPORTED: "The audit log was exported.",
        PRUNED: "The oldest entries of audit logs were removed, as the settings say.",
    },
)
