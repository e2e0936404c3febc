"""Logging in at an OpenID provider, and linking one to an account."""

from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.errors import (
    AlreadyLinked,
    DomainNotAllowed,
    EmailNotVerified,
    EmailTaken,
    ForeignReturn,
    IdentityTaken,
    InvalidChallenge,
    LastWayIn,
    LinkFirst,
    NotForVisitors,
    RegistrationClosed,
)
from courtyard.kernel.accounts.events import IDENTITY_LINKED, IDENTITY_REFUSED, IDENTITY_UNLINKED
from courtyard.kernel.accounts.mails import LOGIN_PROVIDER_CHANGED
from courtyard.kernel.accounts.models import ExternalIdentityRow
from courtyard.kernel.accounts.queries import openid as identities
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import Login, TokenProof
from courtyard.kernel.accounts.schemas.openid import Identity, LoginProvider, ProviderRequest
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.registration import create_person_without_password
from courtyard.kernel.accounts.service.sessions import require_recent_proof, sign_in
from courtyard.kernel.accounts.store import sessions_of
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.crypto import digest_token
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound, Problem
from courtyard.kernel.ids import new_id
from courtyard.kernel.openid import Answered, Asked, InvalidProviderAnswer, Person, Provider, ProviderRefused
from courtyard.kernel.schema import normalise_email

# How long somebody may take at the provider.
SECONDS = 600

_ACCOUNT = bindparam("account_id", type_=Uuid(), required=True)
_PROVIDER = bindparam("provider", type_=String(), required=True)
_SUBJECT = bindparam("subject", type_=String(), required=True)
_EMAIL = bindparam("email", type_=String(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
# Whichever of the two constraints stands in the way: the identity has an owner, or the account has another one there.
_LINK = Prepared(
    insert_unless_taken(ExternalIdentityRow)
    .values(
        id=bindparam("id", type_=Uuid(), required=True),
        account_id=_ACCOUNT,
        provider=_PROVIDER,
        subject=_SUBJECT,
        email=_EMAIL,
        created_at=_NOW,
    )
    .on_conflict_do_nothing()
)
_USE = Prepared(
    update(ExternalIdentityRow)
    .where(ExternalIdentityRow.provider == _PROVIDER, ExternalIdentityRow.subject == _SUBJECT)
    .values(used_at=_NOW, email=_EMAIL)
)
_UNLINK = Prepared(
    delete(ExternalIdentityRow).where(
        ExternalIdentityRow.account_id == _ACCOUNT, ExternalIdentityRow.provider == _PROVIDER
    )
)


class Flow(msgspec.Struct, frozen=True):
    """What is remembered while somebody is at a provider, in the challenge whose token is the `state`.

    Attributes:
        provider: where they are.
        asked: what the provider's answer has to fit.
        return_to: the page to come back to.
        handed_over: whether that page sends on what comes back; otherwise the server ends the login by itself.
        session_id: of who wants to link the provider; None for a login.
    """

    provider: str
    asked: Asked
    return_to: str
    handed_over: bool
    session_id: UUID | None = None

    @property
    def purpose(self) -> challenges.Purpose:
        """What the challenge proves."""
        return "oidc_login" if self.session_id is None else "oidc_link"


def list_providers(context: ReadContext) -> list[LoginProvider]:
    """Return the providers to log in with."""
    return [LoginProvider(provider.name, provider.settings.label) for provider in context.runtime.openid.all()]


def page_of(context: ReadContext, return_to: str | None) -> str:
    """Return the page that a browser is sent to in the end.

    Raises:
        ForeignReturn: it belongs to somebody else.
    """
    settings = context.runtime.settings
    front = rules.front_of(settings.link_url)
    if return_to is None:
        return front
    page = rules.resolve_return(return_to, settings.public_url, [front, *settings.server.cors_origins])
    if page is None:
        raise ForeignReturn
    return page


async def start_login(
    context: Context, name: str, redirect_uri: str, page: str, arrival: Arrival, *, handed_over: bool
) -> ProviderRequest:
    """Return where to send somebody who wants to log in at a provider.

    Args:
        context: of a caller who need not be signed in.
        name: of the provider.
        redirect_uri: where the provider is to send them back to.
        page: where they go then, as `page_of` returns it.
        arrival: how they come. Nobody else can end the login.
        handed_over: whether the page sends on what comes back.

    Raises:
        NotFound: there is no such provider.
        ProviderAway: it cannot be reached.
        InvalidProviderAnswer: its discovery document cannot be used.
    """
    provider = find_provider(context, name)
    return await _start(context, provider, redirect_uri, arrival, page=page, handed_over=handed_over)


async def start_link(
    context: Context, name: str, redirect_uri: str, page: str, arrival: Arrival, *, handed_over: bool
) -> ProviderRequest:
    """Return where to send the caller, who wants to link a provider. The arguments are those of `start_login`.

    Raises:
        NotFound: there is no such provider.
        StepUpNeeded: the last proof is too old.
        NotForVisitors: the caller has not registered.
        AlreadyLinked: the account has an identity there already.
        ProviderAway: it cannot be reached.
        InvalidProviderAnswer: its discovery document cannot be used.
    """
    require_recent_proof(context)
    provider, outside = find_provider(context, name), context.outside()
    account = await queries.get_me(outside)
    if account.email is None:
        raise NotForVisitors
    if await identities.find_identity(outside, account.id, name) is not None:
        raise AlreadyLinked
    return await _start(context, provider, redirect_uri, arrival, page=page, handed_over=handed_over, linking=True)


async def find_flow(context: ReadContext, name: str, state: str) -> Flow | None:
    """Return what was remembered of a login at a provider, if it has not ended yet. Proves nothing."""
    pending = await identities.find_pending(context, digest_token(state))
    flow = None if pending is None else msgspec.convert(pending.data, Flow)
    return flow if flow is not None and flow.provider == name else None


async def log_in(context: Context, name: str, state: str, answered: Answered, arrival: Arrival) -> Login:
    """Open a session with what somebody brings back from a provider.

    Who is not known yet gets an account, where that is allowed and the provider vouches for the address.

    Raises:
        NotFound: there is no such provider.
        InvalidChallenge: this browser has not begun the login, or it has ended.
        ProviderRefused: the provider has not let them in, or the code is not good (any more).
        ProviderAway: it cannot be reached; the login can still be ended.
        InvalidProviderAnswer: what it says proves nothing.
        DomainNotAllowed: the address is not of a domain that may log in there.
        EmailNotVerified: they are not known, and the provider does not vouch for their address.
        LinkFirst: an account has the address, and the provider is not trusted with it.
        RegistrationClosed: they are not known, and nobody gets an account so.
        SecondFactorNeeded: the account asks for more.
    """
    provider = find_provider(context, name)
    _, person = await _prove(context, "oidc_login", provider, state, answered, arrival)
    account_id = await _account_of(context, provider, person)
    await context.db.execute(_USE, provider=name, subject=person.subject, email=_email_of(person), now=context.now)
    return await sign_in(context, account_id, arrival, "oidc")


async def link(
    context: Context, name: str, state: str, answered: Answered, arrival: Arrival, session_id: UUID | None
) -> Identity:
    """Link who has logged in at a provider to the account that wants it.

    Args:
        context: of a caller who need not be signed in.
        name: of the provider.
        state: that came back.
        answered: what else came back.
        arrival: how they come.
        session_id: by which the browser is signed in now.

    Raises:
        NotFound: there is no such provider.
        InvalidChallenge: this browser has not begun it, it has ended, or the session that has is over.
        ProviderRefused: the provider has not let them in, or the code is not good (any more).
        ProviderAway: it cannot be reached; the link can still be made.
        InvalidProviderAnswer: what it says proves nothing.
        DomainNotAllowed: the address is not of a domain that may log in there.
        IdentityTaken: another account has the identity.
        AlreadyLinked: the account has another identity there.
    """
    provider = find_provider(context, name)
    flow, person = await _prove(context, "oidc_link", provider, state, answered, arrival)
    session = None if session_id is None else await sessions_of(context.runtime).find(context, session_id)
    if session is None or session.id != flow.session_id:
        raise InvalidChallenge
    _check_domain(provider, person)
    await _link(context, provider, person, session.account_id)
    found = await identities.find_identity(context, session.account_id, name)
    if found is None:
        raise InvalidChallenge
    return _shown(context, found)


async def list_identities(context: ReadContext) -> list[Identity]:
    """Return the identities of the caller, the oldest first."""
    return [_shown(context, each) for each in await identities.list_stored_identities(context, context.account_id)]


async def unlink(context: Context, name: str) -> None:
    """Take an identity away from the caller. Sessions that were opened with it go on.

    Raises:
        StepUpNeeded: the last proof is too old.
        NotFound: there is none at this provider.
        LastWayIn: nothing else opens the account.
    """
    require_recent_proof(context)
    # Of two that are taken away at once, the second sees what the first has left.
    account = await queries.lock_account(context, context.account_id)
    if account is None or await identities.find_identity(context, account.id, name) is None:
        raise NotFound
    if (await identities.count_ways_in(context, account.id)).count == 1:
        raise LastWayIn
    await context.db.execute(_UNLINK, account_id=account.id, provider=name)
    context.note(IDENTITY_UNLINKED, object_type="account", object_id=str(account.id), provider=name)
    if account.email is not None:
        label = _label_of(context, name)
        await mail(context, LOGIN_PROVIDER_CHANGED, account, what="unlinked", provider=label)


def find_provider(context: ReadContext, name: str) -> Provider:
    """Return a provider to log in with.

    Raises:
        NotFound: there is none of this name.
    """
    provider = context.runtime.openid.find(name)
    if provider is None:
        raise NotFound
    return provider


async def _start(
    context: Context,
    provider: Provider,
    redirect_uri: str,
    arrival: Arrival,
    *,
    page: str,
    handed_over: bool,
    linking: bool = False,
) -> ProviderRequest:
    # Before the transaction begins, which nobody is to wait for.
    authorization = await provider.authorize(redirect_uri)
    session_id = context.session_id if linking else None
    flow = Flow(provider.name, authorization.asked, page, handed_over, session_id)
    issued = await challenges.issue(
        context,
        flow.purpose,
        seconds=SECONDS,
        account_id=context.account_id if linking else None,
        browser=arrival.browser,
        data=msgspec.to_builtins(flow),
    )
    return ProviderRequest(authorization.url(issued.token), SECONDS)


async def _prove(
    context: Context,
    purpose: challenges.Purpose,
    provider: Provider,
    state: str,
    answered: Answered,
    arrival: Arrival,
) -> tuple[Flow, Person]:
    """Return what was asked, and who has answered; from then on it cannot be answered again."""
    outside = context.outside()
    pending = await identities.find_pending(outside, digest_token(state))
    if pending is None or pending.purpose != purpose:
        raise InvalidChallenge
    flow = msgspec.convert(pending.data, Flow)
    # A code of one provider must not be shown to another (RFC 9700, section 4.4).
    if flow.provider != provider.name or pending.browser_digest != challenges.digest_browser(arrival.browser):
        raise InvalidChallenge
    refusal: Problem | None = None
    person: Person | None = None
    try:
        # Still before the transaction begins: a slow provider must not hold a lock.
        person = await provider.identify(flow.asked, answered)
    except (ProviderRefused, InvalidProviderAnswer) as problem:
        refusal = problem
    # Of two who bring the same, one gets further.
    await challenges.redeem(context, purpose, TokenProof(token=state), arrival.browser)
    if person is None:
        refusal = refusal or InvalidChallenge()
        context.note_refusal(
            IDENTITY_REFUSED, keep_body=False, provider=provider.name, problem=refusal.code, **refusal.extra
        )
        raise refusal
    return flow, person


async def _account_of(context: Context, provider: Provider, person: Person) -> UUID:
    """Return the account that somebody at a provider opens, which is made or linked now if it may be."""
    _check_domain(provider, person)
    known = await identities.find_owner(context, provider.name, person.subject)
    if known is not None:
        return known
    email = _email_of(person)
    if email is None or not person.email_verified:
        raise EmailNotVerified
    account_id = await queries.find_account_id(context, email)
    if account_id is None:
        return await _register(context, provider, person, email)
    if not provider.settings.trust_email:
        return await _made_meanwhile(context, provider, person)
    await _link(context, provider, person, account_id)
    return account_id


async def _register(context: Context, provider: Provider, person: Person, email: str) -> UUID:
    closed = context.runtime.settings.accounts.registration == "closed"
    if closed or provider.settings.registration == "link_only":
        raise RegistrationClosed
    name = person.name or email.partition("@")[0]
    try:
        account = await create_person_without_password(context, email, name, None)
    except EmailTaken:
        return await _made_meanwhile(context, provider, person)
    if not await _insert(context, provider, person, account.id):
        raise IdentityTaken
    return account.id


async def _made_meanwhile(context: Context, provider: Provider, person: Person) -> UUID:
    """Return the account that they have made in another tab, since it was looked for."""
    known = await identities.find_owner(context, provider.name, person.subject)
    if known is None:
        raise LinkFirst
    return known


async def _link(context: Context, provider: Provider, person: Person, account_id: UUID) -> None:
    if not await _insert(context, provider, person, account_id):
        owner = await identities.find_owner(context, provider.name, person.subject)
        if owner == account_id:
            return
        raise AlreadyLinked if owner is None else IdentityTaken
    account = await queries.get_account(context, account_id)
    if account.email is not None:
        await mail(context, LOGIN_PROVIDER_CHANGED, account, what="linked", provider=provider.settings.label)


async def _insert(context: Context, provider: Provider, person: Person, account_id: UUID) -> bool:
    made = await context.db.execute(
        _LINK,
        id=new_id(),
        account_id=account_id,
        provider=provider.name,
        subject=person.subject,
        email=_email_of(person),
        now=context.now,
    )
    if made:
        # Nobody need be signed in: the way back from a provider is open to everybody.
        context.note(
            IDENTITY_LINKED,
            object_type="account",
            object_id=str(account_id),
            actor=("person", account_id),
            keep_body=False,
            provider=provider.name,
        )
    return bool(made)


def _check_domain(provider: Provider, person: Person) -> None:
    allowed = provider.settings.allowed_domains
    email = _email_of(person) if person.email_verified else None
    if allowed and (email is None or email.rpartition("@")[2] not in allowed):
        raise DomainNotAllowed


def _email_of(person: Person) -> str | None:
    return None if person.email is None else normalise_email(person.email)


def _label_of(context: ReadContext, name: str) -> str:
    provider = context.runtime.openid.find(name)
    return name if provider is None else provider.settings.label


def _shown(context: ReadContext, stored: identities.StoredIdentity) -> Identity:
    label = _label_of(context, stored.provider)
    return Identity(stored.provider, label, stored.email, stored.created_at, stored.used_at)
