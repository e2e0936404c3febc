"""Quotas: how much of something a workspace may have, and how much it has.

Stands on the web layer and the database. Knows nothing of what is counted: a part declares its quotas, takes from one
before it makes something, and gives back when that is gone.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.quotas.cli import commands
from courtyard.kernel.quotas.errors import QuotaExceeded
from courtyard.kernel.quotas.models import QuotaRow
from courtyard.kernel.quotas.permissions import PERMISSIONS, ROLES
from courtyard.kernel.quotas.routes import ROUTES
from courtyard.kernel.quotas.rules import Quota
from courtyard.kernel.quotas.service import charge, give_back, recount, set_limit, take

__all__ = ["Quota", "QuotaExceeded", "charge", "commands", "give_back", "quotas", "recount", "set_limit", "take"]

quotas = Application(
    name="quotas",
    description="How much of something a workspace may have.",
    models=(QuotaRow,),
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
)
