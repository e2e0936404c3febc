"""Residence: owners see where their workspace lives. It is moved by commands of the operator (`relocation`)."""

from courtyard.kernel.application import Application
from courtyard.kernel.residence.permissions import PERMISSIONS, ROLES
from courtyard.kernel.residence.routes import ROUTES

__all__ = ["residence"]

residence = Application(
    name="residence",
    description="Where a workspace lives.",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
)
