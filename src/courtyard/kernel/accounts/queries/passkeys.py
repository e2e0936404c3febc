"""Reads of passkeys."""

from uuid import UUID

import msgspec
from sqlalchemy import LargeBinary, Uuid, bindparam, select

from courtyard.kernel.accounts.models import PasskeyRow
from courtyard.kernel.accounts.schemas.passkeys import Passkey
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import NotFound

_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_PASSKEY = select(*(getattr(PasskeyRow, name) for name in Passkey.__struct_fields__)).where(
    PasskeyRow.account_id == _ACCOUNT_ID
)


class KnownCredential(msgspec.Struct, frozen=True):
    """What an answer of an authenticator is checked against."""

    id: UUID
    account_id: UUID
    name: str
    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]


_KNOWN = select(*(getattr(PasskeyRow, name) for name in KnownCredential.__struct_fields__))

_LIST = Prepared(_PASSKEY.order_by(PasskeyRow.id.desc()), Passkey)
_ONE = Prepared(_PASSKEY.where(PasskeyRow.id == bindparam("id", type_=Uuid(), required=True)), Passkey)
_CREDENTIALS = Prepared(_KNOWN.where(PasskeyRow.account_id == _ACCOUNT_ID), KnownCredential)
_BY_CREDENTIAL = Prepared(
    _KNOWN.where(PasskeyRow.credential_id == bindparam("credential_id", type_=LargeBinary(), required=True)),
    KnownCredential,
)


async def list_passkeys(context: ReadContext) -> list[Passkey]:
    """Return the passkeys of the caller, the newest first."""
    return await context.db.all(_LIST, account_id=context.account_id)


async def get_passkey(context: ReadContext, passkey_id: UUID) -> Passkey:
    """Return one passkey of the caller.

    Raises:
        NotFound: there is none of this id, or it is somebody else's.
    """
    passkey = await context.db.first(_ONE, account_id=context.account_id, id=passkey_id)
    if passkey is None:
        raise NotFound
    return passkey


async def list_credentials(context: ReadContext, account_id: UUID) -> list[KnownCredential]:
    """Return the credentials of an account."""
    return await context.db.all(_CREDENTIALS, account_id=account_id)


async def find_credential(context: ReadContext, credential_id: bytes) -> KnownCredential | None:
    """Return whose a credential is, which its authenticator has named."""
    return await context.db.first(_BY_CREDENTIAL, credential_id=credential_id)
