"""Outgoing mail: written in the transaction of the change, delivered after its commit.

Stands on the context. Knows no account: whoever sends a mail says to whom, in which language, and with what in it.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.mail.delivery import Delivery
from courtyard.kernel.mail.mails import MAILS
from courtyard.kernel.mail.models import MailRow
from courtyard.kernel.mail.schemas import Message, Template, Value
from courtyard.kernel.mail.service import MAIL_CHANNEL, send
from courtyard.kernel.mail.transports import Refused, Transport, Unavailable

__all__ = [
    "MAIL_CHANNEL",
    "Delivery",
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
    models=(MailRow,),
    migrations=Path(__file__).parent / "migrations",
    mails=MAILS,
    templates=Path(__file__).parent / "templates",
)
