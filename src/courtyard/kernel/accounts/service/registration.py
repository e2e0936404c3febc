"""Registering: an account is made when its address is proven, not before."""

from uuid import UUID

from sqlalchemy import String, Uuid, bindparam, exists, select, update
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import queries
from courtyard.kernel.accounts.errors import EmailTaken, InvalidChallenge, NotForPersons, RegistrationClosed
from courtyard.kernel.accounts.events import CONVERTED
from courtyard.kernel.accounts.mails import ALREADY_REGISTERED, CONFIRM_REGISTRATION
from courtyard.kernel.accounts.models import AccountRow
from courtyard.kernel.accounts.schemas import Account, NewAccount, Proof, Started
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import link, mail, write
from courtyard.kernel.accounts.service.passwords import hash_new
from courtyard.kernel.accounts.service.rights import rights_changed
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UniqueViolation, UtcDateTime
from courtyard.kernel.ids import new_id
from courtyard.kernel.schema import normalise_email

_VALUES = {
    "email": bindparam("email", type_=String(), required=True),
    "name": bindparam("name", type_=String(), required=True),
    "language": bindparam("language", type_=String(), required=True),
    "password_hash": bindparam("password_hash", type_=SqlText(), required=True),
    "password_changed_at": bindparam("now", type_=UtcDateTime(), required=True),
}
_ID = bindparam("id", type_=Uuid(), required=True)
_INSERT = Prepared(
    insert_unless_taken(AccountRow)
    .values(
        id=_ID,
        kind="person",
        must_change_password=False,
        rights_epoch=0,
        version=1,
        created_at=bindparam("now", type_=UtcDateTime(), required=True),
        **_VALUES,
    )
    .on_conflict_do_nothing(index_elements=[AccountRow.email])
)
_OTHER = select(AccountRow.id).where(AccountRow.email == _VALUES["email"]).correlate(None)
_CONVERT = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID, AccountRow.kind == "visitor", AccountRow.disabled_at.is_(None), ~exists(_OTHER))
    .values(kind="person", version=AccountRow.version + 1, **_VALUES)
)


async def start_registration(context: Context, new: NewAccount) -> Started:
    """Mail a link and a code that make the account; somebody who has one is told that instead.

    Raises:
        RegistrationClosed: nobody may register by themselves.
        WeakPassword: the password would be guessed.
    """
    return await _start(context, new, None)


async def start_conversion(context: Context, new: NewAccount) -> Started:
    """Let an anonymous visitor register, who keeps everything: the account becomes that of a person.

    Raises:
        Unauthenticated: nobody is signed in.
        NotForPersons: the caller has registered already.
        RegistrationClosed: nobody may register by themselves.
        WeakPassword: the password would be guessed.
    """
    visitor_id = context.account_id
    if context.principal is None or context.principal.kind != "visitor":
        raise NotForPersons
    return await _start(context, new, visitor_id)


async def _start(context: Context, new: NewAccount, visitor_id: UUID | None) -> Started:
    settings = context.runtime.settings.accounts
    if settings.registration == "closed":
        raise RegistrationClosed
    email = normalise_email(new.email)
    # Both before the transaction begins, and both whether or not the address is taken.
    password_hash = await hash_new(context, new.password, email, new.name)
    known = await queries.find_account_by_email(context.outside(), email)
    issued = await challenges.issue(
        context,
        "registration",
        seconds=settings.proof_seconds,
        account_id=visitor_id,
        data={"email": email, "name": new.name, "language": new.language, "password_hash": password_hash},
    )
    if known is not None:
        await mail(context, ALREADY_REGISTERED, known, link=link(context, "login"))
    else:
        await write(
            context,
            CONFIRM_REGISTRATION,
            email,
            new.name,
            new.language,
            link=link(context, "registration", issued.token),
            code=issued.code,
            minutes=settings.proof_seconds // 60,
        )
    return Started(issued.id, settings.proof_seconds)


async def confirm_registration(context: Context, proof: Proof) -> Account:
    """Make the account whose address has been proven.

    It opens no session: the link may have been opened on another device than the one that registers.

    Raises:
        InvalidChallenge: the link or code is not good, or the address has found another owner meanwhile.
    """
    challenge = await challenges.redeem(context, "registration", proof)
    values = {**challenge.data, "now": context.now}
    if challenge.account_id is None:
        account_id = new_id()
        made = await context.db.execute(_INSERT, id=account_id, **values)
    else:
        account_id = challenge.account_id
        context.name_changes(CONVERTED)
        try:
            made = await context.db.execute(_CONVERT, id=account_id, **values)
        except UniqueViolation as error:
            # Somebody else has the address since a moment ago.
            raise InvalidChallenge from error
        await rights_changed(context, [account_id])
    if not made:
        raise InvalidChallenge
    return await queries.get_account(context, account_id)


async def create_person(context: Context, new: NewAccount) -> Account:
    """Make an account whose address needs no proof: for the command line, and for who accepts an invitation to it.

    Raises:
        EmailTaken: there is one with this address.
        WeakPassword: the password would be guessed.
    """
    email = normalise_email(new.email)
    password_hash = await hash_new(context, new.password, email, new.name)
    return await _insert(context, email, new.name, new.language, password_hash)


async def create_person_without_password(context: Context, email: str, name: str, language: str | None) -> Account:
    """Make an account for somebody who has proven the address elsewhere, such as to an OpenID provider.

    Raises:
        EmailTaken: there is one with this address.
    """
    return await _insert(context, normalise_email(email), name, language, None)


async def _insert(context: Context, email: str, name: str, language: str | None, password_hash: str | None) -> Account:
    account_id: UUID = new_id()
    values = {"email": email, "name": name, "language": language, "password_hash": password_hash}
    if not await context.db.execute(_INSERT, id=account_id, now=context.now, **values):
        raise EmailTaken
    return await queries.get_account(context, account_id)
