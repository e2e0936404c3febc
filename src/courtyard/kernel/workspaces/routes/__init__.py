"""The HTTP interface of workspaces."""

from courtyard.kernel.workspaces.routes import (
    invitations,
    members,
    ownership,
    roles,
    service_keys,
    services,
    workspaces,
)

ROUTES = (
    *workspaces.ROUTES,
    *members.ROUTES,
    *roles.ROUTES,
    *invitations.ROUTES,
    *ownership.ROUTES,
    *services.ROUTES,
    *service_keys.ROUTES,
)
