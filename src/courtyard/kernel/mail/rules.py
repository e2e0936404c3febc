"""Whose a preference is, and the link by which somebody turns off mails of a kind. Pure, without I/O."""

import base64
import binascii
from typing import NamedTuple
from uuid import UUID

import msgspec

from courtyard.kernel.crypto import Signer
from courtyard.kernel.schema import normalise_email

PURPOSE = "mail unsubscribe"
_DIGEST_BYTES = 32


class Stop(NamedTuple):
    """What a link turns off: mails of a kind, from a workspace, to somebody."""

    workspace_id: UUID
    subject: str
    kind: str


def subject_of(recipient: str, account_id: UUID | None) -> str:
    """Return whose preference counts: that of the account, or of an address that nobody is known by."""
    return normalise_email(recipient) if account_id is None else str(account_id)


def stop_token(signer: Signer, workspace_id: UUID, subject: str, kind: str) -> str:
    """Return what stands in the link of a mail. It does not end: mails are kept for long."""
    packed = msgspec.msgpack.encode((workspace_id.bytes, subject, kind))
    return base64.urlsafe_b64encode(signer.digest(PURPOSE, packed) + packed).rstrip(b"=").decode()


def read_stop_token(signer: Signer, token: str) -> Stop | None:
    """Return what a link turns off; None where it is not one of ours."""
    try:
        given = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    digest, packed = given[:_DIGEST_BYTES], given[_DIGEST_BYTES:]
    if not signer.matches(PURPOSE, packed, digest):
        return None
    workspace, subject, kind = msgspec.msgpack.decode(packed, type=tuple[bytes, str, str])
    return Stop(UUID(bytes=workspace), subject, kind)
