"""What comes in and goes out about passkeys. The names of Web Authentication Level 3, where they are its own."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from courtyard.kernel.accounts.schemas import BrowserKey, Token
from courtyard.kernel.schema import Input, Name, Output

_BASE_64 = r"^[A-Za-z0-9_-]+$(?!\n)"
# The id of a credential has at most 1,023 bytes (section 4).
CredentialId = Annotated[str, Meta(min_length=1, max_length=1_364, pattern=_BASE_64)]
Encoded = Annotated[str, Meta(min_length=1, max_length=20_000, pattern=_BASE_64, description="In base64url.")]
Transport = Annotated[str, Meta(max_length=32)]
Transports = Annotated[list[Transport], Meta(max_length=16)]


class AttestationResponse(msgspec.Struct, frozen=True):
    """What an authenticator says of a new credential. Browsers may send more."""

    client_data: Encoded = field(name="clientDataJSON")
    attestation: Encoded = field(name="attestationObject")
    transports: Transports | UnsetType = UNSET


class Attestation(msgspec.Struct, frozen=True):
    """A new credential: `RegistrationResponseJSON`, as `PublicKeyCredential.toJSON()` makes it."""

    id: CredentialId
    raw_id: CredentialId = field(name="rawId")
    type: Literal["public-key"]
    response: AttestationResponse


class AssertionResponse(msgspec.Struct, frozen=True):
    """What an authenticator says of somebody who logs in."""

    client_data: Encoded = field(name="clientDataJSON")
    authenticator_data: Encoded = field(name="authenticatorData")
    signature: Encoded
    user_handle: Encoded | UnsetType | None = field(name="userHandle", default=UNSET)


class Assertion(msgspec.Struct, frozen=True):
    """A proof by a credential: `AuthenticationResponseJSON`, as `PublicKeyCredential.toJSON()` makes it."""

    id: CredentialId
    raw_id: CredentialId = field(name="rawId")
    type: Literal["public-key"]
    response: AssertionResponse


class PasskeyQuestion(Output, frozen=True):
    """What an authenticator is to be asked.

    Attributes:
        challenge: to be sent back with the answer, once.
        options: for `PublicKeyCredential.parseCreationOptionsFromJSON()` or `…parseRequestOptionsFromJSON()`.
        expires_in_seconds: how long there is time for the answer.
    """

    challenge: str
    options: dict[str, Any]
    expires_in_seconds: int


class NewPasskey(Input, frozen=True):
    """A passkey that was made.

    Attributes:
        challenge: of the answer that holds the options.
        name: by which its owner will know it.
        credential: what the authenticator has answered.
    """

    challenge: Token
    name: Name
    credential: Attestation


class PasskeyPatch(Input, frozen=True):
    """What can be changed about a passkey (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET


class NewPasskeyLogin(Input, frozen=True):
    """A login with a passkey, without saying who one is."""

    browser_key: BrowserKey | None = None


class PasskeyLogin(Input, frozen=True):
    """A passkey that logs in.

    Attributes:
        challenge: of the answer that holds the options.
        credential: what the authenticator has answered.
        cookies: keep the tokens in cookies that scripts cannot read, instead of in the body.
    """

    challenge: Token
    credential: Assertion
    browser_key: BrowserKey | None = None
    cookies: bool = False


class Passkey(Output, frozen=True):
    """A passkey of one's own.

    Attributes:
        backed_up: whether its authenticator keeps it in more places than one.
        used_at: when it was last used; null for never.
    """

    id: UUID
    name: str
    backed_up: bool
    version: int
    created_at: datetime
    used_at: datetime | None
