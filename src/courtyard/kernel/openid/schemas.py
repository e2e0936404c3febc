"""What goes to a provider and what comes back: of its documents, only what is used here."""

import base64
import hashlib
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta


class Asked(msgspec.Struct, frozen=True):
    """What is remembered of a login while the person is at the provider.

    Attributes:
        nonce: comes back inside the ID token, which shows that the token was made for this login.
        verifier: shown when the code is exchanged, whose digest went along with the person (PKCE, RFC 7636).
        redirect_uri: where the provider was told to send the person.
    """

    nonce: str
    verifier: str
    redirect_uri: str


class Authorization(msgspec.Struct, frozen=True):
    """A login that is about to begin.

    Attributes:
        endpoint: the page of the provider.
        parameters: that say who asks, and for what.
        asked: to be remembered.
    """

    endpoint: str
    parameters: dict[str, str]
    asked: Asked

    def url(self, state: str) -> str:
        """Return the address to send the person to; `state` comes back with them."""
        challenge = hashlib.sha256(self.asked.verifier.encode()).digest()
        query = {
            **self.parameters,
            "response_type": "code",
            "redirect_uri": self.asked.redirect_uri,
            "state": state,
            "nonce": self.asked.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self.endpoint}{'&' if '?' in self.endpoint else '?'}{urlencode(query)}"


class Answered(msgspec.Struct, frozen=True):
    """What the person brings back from the provider.

    Attributes:
        code: to be exchanged for the proof.
        issuer: who answers (RFC 9207); None where that is not said.
        error: the code of an error, in place of the code.
    """

    code: str | None = None
    issuer: str | None = None
    error: str | None = None


class Person(msgspec.Struct, frozen=True):
    """Who has logged in at the provider.

    Attributes:
        subject: whom the provider will always call so, and nobody else.
        email: None where no address is said, or something that is none.
        email_verified: whether the provider vouches for it.
        name: empty where none is said.
    """

    subject: str
    email: str | None
    email_verified: bool
    name: str


class Metadata(msgspec.Struct, frozen=True):
    """The discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    id_token_signing_alg_values_supported: list[str] = msgspec.field(default_factory=lambda: ["RS256"])
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False

    @property
    def endpoints(self) -> list[str]:
        """Every address in it that is used."""
        named = (self.authorization_endpoint, self.token_endpoint, self.jwks_uri, self.userinfo_endpoint)
        return [endpoint for endpoint in named if endpoint is not None]


class KeyDocument(msgspec.Struct, frozen=True):
    """The public keys of a provider (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class Tokens(msgspec.Struct, frozen=True):
    """What a code is exchanged for."""

    id_token: str
    access_token: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why it is not (RFC 6749, section 5.2)."""

    error: str


class Claims(msgspec.Struct, frozen=True):
    """What an ID token must say, in its types (OpenID Connect Core 1.0, section 2)."""

    iss: str
    sub: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[ -~]+$(?!\n)")]
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str | None = None
    azp: str | None = None
    at_hash: str | None = None

    @property
    def audiences(self) -> list[str]:
        """Whom it is for."""
        return [self.aud] if isinstance(self.aud, str) else self.aud
