"""Webhooks: what happens in a workspace, told to addresses that it names.

Stands on the event log and on tasks. A trigger of the database notes each event of a workspace that has an endpoint, in
the transaction of the event; `Fanout` makes deliveries of these notes, and a task makes each delivery.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.webhooks.models import (
    WebhookAttemptRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookPendingRow,
)
from courtyard.kernel.webhooks.permissions import PERMISSIONS, ROLES
from courtyard.kernel.webhooks.queries import count_notes
from courtyard.kernel.webhooks.routes import ROUTES
from courtyard.kernel.webhooks.tasks import SCHEDULES, TASKS, Fanout

__all__ = ["Fanout", "count_notes", "webhooks"]

webhooks = Application(
    name="webhooks",
    description="What happens in a workspace, told to addresses that it names.",
    models=(WebhookEndpointRow, WebhookPendingRow, WebhookDeliveryRow, WebhookAttemptRow),
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    tasks=TASKS,
    schedules=SCHEDULES,
)
