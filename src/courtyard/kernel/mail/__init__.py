"""Outgoing mail: written in the transaction of the change, delivered by a task after its commit.

Stands on the tasks and the web layer. Knows no account: whoever sends a mail says to whom, in which language, and with
what in it.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.mail.delivery import SCHEDULES, TASKS
from courtyard.kernel.mail.mails import MAILS
from courtyard.kernel.mail.models import MailPreferenceRow, MailRow, MailTemplateRow
from courtyard.kernel.mail.permissions import PERMISSIONS, ROLES
from courtyard.kernel.mail.routes import ROUTES
from courtyard.kernel.mail.schemas import Kind, Message, Template, Value
from courtyard.kernel.mail.service.sending import send
from courtyard.kernel.mail.transports import Refused, Transport, Unavailable

__all__ = [
    "Kind",
    "MailRow",
    "Message",
    "Refused",
    "Template",
    "Transport",
    "Unavailable",
    "Value",
    "mail",
    "send",
]

mail = Application(
    name="mail",
    description="Outgoing mail.",
    models=(MailRow, MailPreferenceRow, MailTemplateRow),
    migrations=Path(__file__).parent / "migrations",
    mails=MAILS,
    templates=Path(__file__).parent / "templates",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    tasks=TASKS,
    schedules=SCHEDULES,
)
