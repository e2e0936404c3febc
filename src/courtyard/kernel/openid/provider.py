"""One provider, and all of them: the way there, and what is made of the code that comes back."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlsplit

import msgspec
import structlog

from courtyard.kernel.clock import Clock
from courtyard.kernel.crypto import new_token
from courtyard.kernel.errors import Problem
from courtyard.kernel.openid import tokens
from courtyard.kernel.openid.errors import InvalidProviderAnswer, ProviderAway, ProviderRefused
from courtyard.kernel.openid.schemas import (
    Answered,
    Asked,
    Authorization,
    Claims,
    KeyDocument,
    Metadata,
    Person,
    Refusal,
    Tokens,
)
from courtyard.kernel.openid.transport import Reply, Transport
from courtyard.kernel.schema import Email, Name
from courtyard.kernel.settings_openid import OpenidProvider

log = structlog.get_logger()

OK = 200
# How long a document of a provider is believed.
KEPT = timedelta(hours=1)
# How long after a look for a new key there is no other.
RENEWAL = timedelta(seconds=10)
# Errors by which a provider says that it is its own fault (RFC 6749, section 4.1.2.1).
ITS_OWN_FAULT = frozenset({"server_error", "temporarily_unavailable"})
# Not every provider has a boolean for it.
TRUE = (True, "1", "true")

T = TypeVar("T")


class _Kept(Generic[T]):
    """A document that is fetched when it is needed and kept for a while. Of many who need it at once, one fetches."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._document: T | None = None
        self._fetched_at = self._renewed_at = self._failed_at = datetime.min.replace(tzinfo=clock.now().tzinfo)
        self._failure: Problem | None = None

    async def get(self) -> T:
        """Return the document."""
        asked_at = self._clock.now()
        async with self._lock:
            if self._failure is not None and self._failed_at >= asked_at:
                # Who has waited for somebody else's try does not wait for another one.
                raise self._failure.with_traceback(None)
            if self._document is None or self._clock.now() - self._fetched_at >= KEPT:
                return await self._renewed()
            return self._document

    async def renew(self) -> T:
        """Fetch it again, because something is missing in it; not more often than is good for the provider."""
        async with self._lock:
            if self._document is not None and self._clock.now() - self._renewed_at < RENEWAL:
                return self._document
            self._renewed_at = self._clock.now()
            return await self._renewed()

    async def _renewed(self) -> T:
        try:
            document = await self._fetch()
        except Problem as problem:
            self._failure, self._failed_at = problem, self._clock.now()
            raise
        self._document, self._fetched_at = document, self._clock.now()
        return document


class Provider:
    """An OpenID provider.

    Args:
        name: by which it is called here.
        settings: what the operator has said of it.
        transport: how it is reached.
        clock: the time.
    """

    def __init__(self, name: str, settings: OpenidProvider, transport: Transport, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._transport = transport
        self._clock = clock
        self._metadata = _Kept(self._discover, clock)
        self._keys = _Kept(self._fetch_keys, clock)

    async def authorize(self, redirect_uri: str) -> Authorization:
        """Begin a login that is to end at an address of this server.

        Raises:
            ProviderAway: the provider cannot be reached.
            InvalidProviderAnswer: its discovery document cannot be used.
        """
        metadata = await self._watched(self._metadata.get())
        parameters = {"client_id": self.settings.client_id, "scope": " ".join(self.settings.scopes)}
        return Authorization(metadata.authorization_endpoint, parameters, Asked(new_token(), new_token(), redirect_uri))

    async def identify(self, asked: Asked, answered: Answered) -> Person:
        """Return who has logged in, from what they bring back.

        Raises:
            ProviderRefused: nobody has; or the code was used before, or was given to another login.
            ProviderAway: the provider cannot be reached.
            InvalidProviderAnswer: what it says proves nothing.
        """
        return await self._watched(self._identify(asked, answered))

    async def _watched(self, work: Awaitable[T]) -> T:
        """Let the operator know what goes wrong with a provider."""
        try:
            return await work
        except Problem as problem:
            log.warning("openid.failed", provider=self.name, problem=problem.code, reason=problem.extra.get("reason"))
            raise

    async def _identify(self, asked: Asked, answered: Answered) -> Person:
        metadata = await self._metadata.get()
        # Somebody else's answer, an error included, must not pass for this provider's (RFC 9207, section 2.4).
        if answered.issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise InvalidProviderAnswer("wrong_issuer")
        if answered.issuer not in {None, metadata.issuer}:
            raise InvalidProviderAnswer("wrong_issuer")
        if answered.error in ITS_OWN_FAULT:
            raise ProviderAway
        if answered.code is None:
            raise ProviderRefused(answered.error or "other")
        given = await self._exchange(metadata, asked, answered.code)
        said, claims = await self._read(metadata, asked, given)
        return await self._person(metadata, said, claims, given.access_token)

    async def _exchange(self, metadata: Metadata, asked: Asked, code: str) -> Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": asked.redirect_uri,
            "code_verifier": asked.verifier,
        }
        headers: dict[str, str] = {}
        client_id, secret = self.settings.client_id, self.settings.client_secret
        if secret is None:
            form["client_id"] = client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # Both are encoded as in a form first (RFC 6749, section 2.3.1).
            pair = f"{quote_plus(client_id)}:{quote_plus(secret.get_secret_value())}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client_id, "client_secret": secret.get_secret_value()}
        reply = await self._ask(metadata.token_endpoint, form=form, headers=headers)
        if reply.status != OK:
            raise ProviderRefused(reply.decode(Refusal).error)
        return reply.decode(Tokens)

    async def _read(self, metadata: Metadata, asked: Asked, given: Tokens) -> tuple[Claims, dict[str, Any]]:
        signed = tokens.Signed(given.id_token)
        allowed = tokens.allowed_algorithms(metadata.id_token_signing_alg_values_supported)
        if signed.header.alg not in allowed:
            raise InvalidProviderAnswer("algorithm_not_allowed")
        key = tokens.find_key(await self._keys.get(), signed.header)
        # The provider may have begun to sign with a key that is newer than what is known here.
        key = key or tokens.find_key(await self._keys.renew(), signed.header)
        if key is None:
            raise InvalidProviderAnswer("unknown_key")
        claims = signed.verified(key, allowed)
        said = tokens.check_claims(
            claims,
            issuer=metadata.issuer,
            client_id=self.settings.client_id,
            nonce=asked.nonce,
            now=self._clock.now().timestamp(),
        )
        if said.at_hash is not None:
            tokens.check_access_token(said.at_hash, given.access_token, signed.header.alg)
        return said, claims

    async def _person(self, metadata: Metadata, said: Claims, claims: Mapping[str, Any], access_token: str) -> Person:
        settings = self.settings
        address, word = settings.email_claim, settings.verified_claim
        further: Mapping[str, Any] = {}
        is_missing = any(name not in claims for name in (address, word, settings.name_claim))
        if is_missing and metadata.userinfo_endpoint is not None and access_token:
            further = await self._userinfo(metadata.userinfo_endpoint, said.sub, access_token)
        # An address and the word that it is verified belong together, so both are taken from the same place.
        source = further if address in further and not (address in claims and word in claims) else claims
        name = _as(Name, claims.get(settings.name_claim)) or _as(Name, further.get(settings.name_claim))
        return Person(said.sub, _as(Email, source.get(address)), source.get(word) in TRUE, name or "")

    async def _userinfo(self, endpoint: str, subject: str, access_token: str) -> Mapping[str, Any]:
        reply = await self._ask(endpoint, headers={"Authorization": f"Bearer {access_token}"})
        if reply.status != OK:
            raise InvalidProviderAnswer("no_userinfo")
        further = reply.decode(dict[str, Any])
        # Or else it is about somebody else (OpenID Connect Core 1.0, section 5.3.2).
        if further.get("sub") != subject:
            raise InvalidProviderAnswer("wrong_subject")
        return further

    async def _discover(self) -> Metadata:
        url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await self._document(url, Metadata)
        if metadata.issuer != self.settings.issuer:
            raise InvalidProviderAnswer("wrong_issuer")
        schemes = {"https", urlsplit(self.settings.issuer).scheme}
        for endpoint in metadata.endpoints:
            if not _leads_somewhere(endpoint, schemes):
                raise InvalidProviderAnswer("unsafe_endpoint")
        return metadata

    async def _fetch_keys(self) -> list[dict[str, Any]]:
        metadata = await self._metadata.get()
        return (await self._document(metadata.jwks_uri, KeyDocument)).keys

    async def _document(self, url: str, kind: type[T]) -> T:
        reply = await self._ask(url)
        if reply.status != OK:
            raise InvalidProviderAnswer("no_document")
        return reply.decode(kind)

    async def _ask(
        self, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self._transport.ask(url, self.settings.timeout_seconds, form=form, headers=headers)


class Providers:
    """The providers of this installation, by name.

    Args:
        settings: what the operator has said of each.
        clock: the time.
    """

    def __init__(self, settings: Mapping[str, OpenidProvider], clock: Clock) -> None:
        self._transport = Transport()
        self._providers = {name: Provider(name, each, self._transport, clock) for name, each in settings.items()}

    def find(self, name: str) -> Provider | None:
        """Return the provider of this name."""
        return self._providers.get(name)

    def all(self) -> list[Provider]:
        """Return every provider, in the order of the settings."""
        return list(self._providers.values())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.close()


def _leads_somewhere(endpoint: str, schemes: set[str]) -> bool:
    """Return whether an address of a document may be asked, or a person be sent to."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return False
    plain = endpoint.isascii() and endpoint.isprintable() and not any(sign in endpoint for sign in " \\#")
    return plain and parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc


def _as(kind: Any, value: object) -> str | None:  # noqa: ANN401 - an annotated type
    """Return a text within its bounds, None for anything else."""
    try:
        text: str = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
    return text
