"""Passkeys (Web Authentication Level 3): making them, and logging in with them without saying who one is."""

from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec
import webauthn
from msgspec import UNSET
from sqlalchemy import BigInteger, Boolean, LargeBinary, String, Uuid, and_, bindparam, delete, or_, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_known
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json_dict, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from courtyard.kernel.accounts import queries
from courtyard.kernel.accounts.errors import NotForVisitors, PasskeyRefused, TooManyCredentials
from courtyard.kernel.accounts.events import PASSKEY_ADDED, PASSKEY_COPIED, PASSKEY_REMOVED, PASSKEY_RENAMED
from courtyard.kernel.accounts.mails import SECOND_FACTOR_CHANGED, SECURITY_NOTICE
from courtyard.kernel.accounts.models import PasskeyRow
from courtyard.kernel.accounts.queries.passkeys import KnownCredential, find_credential, get_passkey, list_credentials
from courtyard.kernel.accounts.rules import Arrival, RelyingParty, counter_moves, relying_party
from courtyard.kernel.accounts.schemas import Login, TokenProof
from courtyard.kernel.accounts.schemas.passkeys import (
    Assertion,
    Attestation,
    NewPasskey,
    Passkey,
    PasskeyPatch,
    PasskeyQuestion,
)
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.sessions import require_recent_proof, sign_in, take_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Json, Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound, PreconditionFailed
from courtyard.kernel.ids import new_id

QUESTION_SECONDS = 300
MOST = 20

_ID = bindparam("id", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_NAME = bindparam("name", type_=String(), required=True)
_COUNT = bindparam("shown_count", type_=BigInteger(), required=True)
_BACKED_UP = bindparam("backed_up", type_=Boolean(), required=True)
_INSERT = Prepared(
    insert_unless_known(PasskeyRow)
    .values(
        id=_ID,
        account_id=_ACCOUNT_ID,
        credential_id=bindparam("credential_id", type_=LargeBinary(), required=True),
        public_key=bindparam("public_key", type_=LargeBinary(), required=True),
        sign_count=_COUNT,
        transports=bindparam("transports", type_=Json(), required=True),
        name=_NAME,
        backed_up=_BACKED_UP,
        version=1,
        created_at=_NOW,
    )
    .on_conflict_do_nothing(index_elements=[PasskeyRow.credential_id])
)
# Of two logins at once with one counter, the second finds that it does not move.
_USE = Prepared(
    update(PasskeyRow)
    .where(PasskeyRow.id == _ID, or_(PasskeyRow.sign_count < _COUNT, and_(PasskeyRow.sign_count == 0, _COUNT == 0)))
    .values(sign_count=_COUNT, backed_up=_BACKED_UP, used_at=_NOW)
)
_RENAME = Prepared(
    update(PasskeyRow)
    .where(PasskeyRow.id == _ID, PasskeyRow.account_id == _ACCOUNT_ID)
    .where(PasskeyRow.version == bindparam("seen_version", type_=BigInteger(), required=True))
    .values(name=_NAME, version=PasskeyRow.version + 1)
)
_REMOVE = Prepared(delete(PasskeyRow).where(PasskeyRow.id == _ID, PasskeyRow.account_id == _ACCOUNT_ID))


class _Answered(NamedTuple):
    credential: KnownCredential
    sign_count: int
    backed_up: bool


async def start_creation(context: Context) -> PasskeyQuestion:
    """Return what the authenticator of the caller is to be asked for a new passkey.

    Raises:
        NotForVisitors: the caller has not registered.
        StepUpNeeded: the last proof is too old.
        TooManyCredentials: there is no room for another one.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    if account.email is None:
        raise NotForVisitors
    known = await list_credentials(context, account.id)
    if len(known) >= MOST:
        raise TooManyCredentials
    challenge = webauthn.helpers.generate_challenge()
    issued = await challenges.issue(
        context,
        "passkey_creation",
        seconds=QUESTION_SECONDS,
        account_id=account.id,
        # The answer comes from the session that has asked.
        browser=str(context.session_id),
        data={"challenge": bytes_to_base64url(challenge)},
    )
    options = webauthn.generate_registration_options(
        rp_id=_party_of(context).id,
        rp_name=context.runtime.settings.service_name,
        # Not the address: an authenticator shows it to whoever holds it (section 14.6.1).
        user_id=account.id.bytes,
        user_name=account.email,
        user_display_name=account.name,
        challenge=challenge,
        timeout=QUESTION_SECONDS * 1_000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(
                each.credential_id, transports=[AuthenticatorTransport(name) for name in each.transports]
            )
            for each in known
        ],
    )
    return PasskeyQuestion(issued.token, options_to_json_dict(options), QUESTION_SECONDS)


async def create(context: Context, new: NewPasskey) -> Passkey:
    """Keep a passkey that the authenticator of the caller has made.

    Raises:
        InvalidChallenge: nobody has asked for it in this session lately, or it was answered before.
        PasskeyRefused: the answer is for another site, not verified, or the passkey is known.
        StepUpNeeded: the last proof is too old.
        TooManyCredentials: there is no room for another one.
    """
    require_recent_proof(context)
    proof = TokenProof(token=new.challenge)
    challenge = await challenges.redeem(context, "passkey_creation", proof, str(context.session_id))
    # Locked, so that two at once are counted.
    account = await queries.lock_account(context, context.account_id)
    if account is None or challenge.account_id != account.id:
        raise PasskeyRefused
    if len(await list_credentials(context, account.id)) >= MOST:
        raise TooManyCredentials
    credential, party = _checked(new.credential), _party_of(context)
    try:
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=base64url_to_bytes(challenge.data["challenge"]),
            expected_rp_id=party.id,
            expected_origin=party.origins,
            require_user_verification=True,
        )
    except Exception as error:
        # What cannot be parsed ends in errors of many kinds, not all of them the library's own.
        raise PasskeyRefused from error
    passkey_id = new_id()
    known_transports = set(AuthenticatorTransport)
    inserted = await context.db.execute(
        _INSERT,
        id=passkey_id,
        account_id=account.id,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        shown_count=made.sign_count,
        transports=[name for name in new.credential.response.transports or () if name in known_transports],
        name=new.name,
        backed_up=made.credential_backed_up,
        now=context.now,
    )
    if not inserted:
        raise PasskeyRefused
    context.note(PASSKEY_ADDED, object_type="passkey", object_id=str(passkey_id), keep_body=False, called=new.name)
    await take_proof(context, "passkey")
    await mail(context, SECOND_FACTOR_CHANGED, account, what="passkey_added")
    return await get_passkey(context, passkey_id)


async def rename(context: Context, passkey_id: UUID, patch: PasskeyPatch, version: int | None) -> Passkey:
    """Change what the owner calls a passkey.

    Raises:
        NotFound: the caller has none of this id.
        PreconditionFailed: it has changed since the version that the caller has seen.
    """
    passkey = await get_passkey(context, passkey_id)
    if version is not None and version != passkey.version:
        raise PreconditionFailed
    if patch.name is UNSET or patch.name == passkey.name:
        return passkey
    bound = {"id": passkey_id, "account_id": context.account_id, "seen_version": passkey.version}
    if not await context.db.execute(_RENAME, name=patch.name, **bound):
        raise PreconditionFailed
    context.note(PASSKEY_RENAMED, object_type="passkey", object_id=str(passkey_id), called=passkey.name)
    return await get_passkey(context, passkey_id)


async def remove(context: Context, passkey_id: UUID) -> None:
    """Remove a passkey of the caller. There is always another way in: a mail to the address of the account.

    Raises:
        NotFound: the caller has none of this id.
        StepUpNeeded: the last proof is too old.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    if not await context.db.execute(_REMOVE, id=passkey_id, account_id=account.id):
        raise NotFound
    context.note(PASSKEY_REMOVED, object_type="passkey", object_id=str(passkey_id))
    await mail(context, SECOND_FACTOR_CHANGED, account, what="passkey_removed")


async def start_login(context: Context, arrival: Arrival) -> PasskeyQuestion:
    """Return what an authenticator is to be asked by somebody who has not said who they are."""
    return await _ask(context, "passkey_login", arrival.browser)


async def log_in(context: Context, token: str, credential: Assertion, arrival: Arrival) -> Login:
    """Open a session for whoever has a passkey. No other factor is asked for.

    Raises:
        InvalidChallenge: the question is not open (any more), or was asked by another browser.
        PasskeyRefused: the answer does not count.
        WrongCredentials: the account is not active.
    """
    answered = await _take(context, "passkey_login", token, credential, arrival.browser)
    return await sign_in(context, answered.account_id, arrival, "passkey")


async def start_proof(context: Context) -> PasskeyQuestion:
    """Return what the authenticator of the caller is to be asked, to prove once more who it is."""
    return await _ask(context, "passkey_proof", str(context.session_id), context.account_id)


async def prove(context: Context, token: str, credential: Assertion) -> None:
    """Prove once more who one is.

    Raises:
        InvalidChallenge: the question is not open (any more), or was asked by another session.
        PasskeyRefused: the answer does not count, or is somebody else's.
    """
    answered = await _take(context, "passkey_proof", token, credential, str(context.session_id))
    if answered.account_id != context.account_id:
        raise PasskeyRefused
    await take_proof(context, "passkey")


async def _ask(
    context: Context, purpose: challenges.Purpose, browser: str | None, account_id: UUID | None = None
) -> PasskeyQuestion:
    challenge = webauthn.helpers.generate_challenge()
    issued = await challenges.issue(
        context,
        purpose,
        seconds=QUESTION_SECONDS,
        account_id=account_id,
        browser=browser,
        data={"challenge": bytes_to_base64url(challenge)},
    )
    options = webauthn.generate_authentication_options(
        rp_id=_party_of(context).id,
        challenge=challenge,
        timeout=QUESTION_SECONDS * 1_000,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return PasskeyQuestion(issued.token, options_to_json_dict(options), QUESTION_SECONDS)


async def _take(
    context: Context, purpose: challenges.Purpose, token: str, credential: Assertion, browser: str | None
) -> KnownCredential:
    """Check the answer of an authenticator, and move its counter on (section 7.2)."""
    challenge = await challenges.redeem(context, purpose, TokenProof(token=token), browser)
    answered = await _verify(context, base64url_to_bytes(challenge.data["challenge"]), credential)
    known = answered.credential
    moved = counter_moves(known.sign_count, answered.sign_count) and await context.db.execute(
        _USE, id=known.id, shown_count=answered.sign_count, backed_up=answered.backed_up, now=context.now
    )
    if not moved:
        await _tell_of_copy(context, known)
    return known


async def _verify(context: Context, challenge: bytes, credential: Assertion) -> _Answered:
    shown, party = _checked(credential), _party_of(context)
    known = await find_credential(context, _decoded(credential.id))
    # Of whom the authenticator thinks that it is: it was told when the passkey was made.
    handle = _decoded(credential.response.user_handle or "")
    if known is None or handle != known.account_id.bytes:
        raise PasskeyRefused
    try:
        verified = webauthn.verify_authentication_response(
            credential=shown,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origins,
            credential_public_key=known.public_key,
            # Looked at by the caller: a counter that stands still is more than a wrong answer.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:
        # What cannot be parsed ends in errors of many kinds, not all of them the library's own.
        raise PasskeyRefused from error
    return _Answered(known, verified.new_sign_count, verified.credential_backed_up)


def _party_of(context: Context) -> RelyingParty:
    settings = context.runtime.settings
    return relying_party(settings.public_url, settings.accounts.passkey_rp_id, settings.accounts.passkey_origins)


def _checked(credential: Attestation | Assertion) -> dict[str, Any]:
    """Return an answer as the library takes it; one that a frame in a page of others has given does not count."""
    try:
        client = parse_client_data_json(base64url_to_bytes(credential.response.client_data))
    except Exception as error:
        raise PasskeyRefused from error
    if client.cross_origin:
        raise PasskeyRefused
    shown: dict[str, Any] = msgspec.to_builtins(credential)
    return shown


def _decoded(value: str) -> bytes:
    try:
        return base64url_to_bytes(value)
    except ValueError:
        return b""


async def _tell_of_copy(context: Context, known: KnownCredential) -> NoReturn:
    """Refuse a passkey whose counter does not move on: there are two that have its key. Nothing else is closed."""
    account = await queries.get_account(context, known.account_id)
    await mail(context, SECURITY_NOTICE, account, what="passkey_copied", thing=known.name)
    context.note_refusal(
        PASSKEY_COPIED, object_type="passkey", object_id=str(known.id), keep_body=False, account_id=account.id
    )
    raise PasskeyRefused
