"""From a row to a message as it travels (RFC 5322)."""

import hashlib
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr

from courtyard.kernel.mail.schemas import Content
from courtyard.kernel.mail.store import Waiting
from courtyard.kernel.mail.transports import Refused
from courtyard.kernel.settings_sections import MailSettings

TEMPLATE_HEADER = "X-Courtyard-Template"


def compose(settings: MailSettings, mail: Waiting, content: Content) -> EmailMessage:
    """Return a mail with its text and, as the richer alternative, its HTML page.

    Every attempt gives the same message: its id and date are those of the row.

    Raises:
        Refused: the address has more in it than one address, such as a comment: who would read it is not sure.
    """
    if parseaddr(mail.recipient)[1] != mail.recipient:
        raise Refused("this is not an address that mail can be sent to")
    # An address beyond ASCII stands in the header as it is (RFC 6532): encoded words are not for addresses.
    message = EmailMessage(policy=policy.SMTP if mail.recipient.isascii() else policy.SMTPUTF8)
    message["From"] = settings.sender
    local, _, domain = mail.recipient.rpartition("@")
    message["To"] = Address(username=local, domain=domain)
    if settings.reply_to is not None:
        message["Reply-To"] = settings.reply_to
    message["Subject"] = mail.subject
    message["Date"] = mail.created_at
    sender_domain = parseaddr(settings.sender)[1].rpartition("@")[2]
    message["Message-ID"] = f"<{mail.id}@{sender_domain}>"
    # No machine shall answer: no notice of absence, no receipt (RFC 3834, section 5).
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message[TEMPLATE_HEADER] = mail.template
    if content.thread is not None:
        # The first mail of a thread answers nothing, and is found all the same (RFC 5322, section 3.6.4).
        root = hashlib.sha256(f"{mail.workspace_id}:{content.thread}".encode()).hexdigest()[:32]
        message["In-Reply-To"] = message["References"] = f"<thread.{root}@{sender_domain}>"
    if content.unsubscribe is not None:
        message["List-Unsubscribe"] = f"<{content.unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(content.text)
    message.add_alternative(content.html, subtype="html")
    message["Content-Language"] = mail.language
    return message
