"""What comes in and goes out about second factors, and about proving once more who one is."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from courtyard.kernel.accounts.schemas import BrowserKey, Code, OldPassword, Token
from courtyard.kernel.accounts.schemas.passkeys import Assertion, Passkey
from courtyard.kernel.schema import Input, Output

RecoveryCode = Annotated[
    str,
    Meta(
        min_length=12,
        max_length=40,
        pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)",
        description="As it stands on paper; case, spaces and hyphens do not matter.",
        examples=["7K2M-9QXD-T40V"],
    ),
]


class TotpSecret(Output, frozen=True):
    """What an authenticator app is to be given. It is shown this once.

    Attributes:
        secret: in base 32, for typing.
        uri: the same with the name of the account, for a QR code (`otpauth://totp/…`).
        expires_in_seconds: how long the app can be confirmed by a first code.
    """

    secret: str
    uri: str
    expires_in_seconds: int


class TotpCode(Input, frozen=True):
    """A code of the authenticator app."""

    code: Code


class RecoveryCodes(Output, frozen=True):
    """Codes that each stand in for the authenticator app once. They are shown this once."""

    codes: list[str]


class TotpFactor(Input, frozen=True, tag_field="by", tag="totp"):
    """The second factor of a login: a code of the authenticator app.

    Attributes:
        challenge: of the answer `second_factor_needed`.
    """

    challenge: Token
    code: Code
    browser_key: BrowserKey | None = None
    cookies: bool = False


class RecoveryCodeFactor(Input, frozen=True, tag_field="by", tag="recovery_code"):
    """The second factor of a login: a recovery code.

    Attributes:
        challenge: of the answer `second_factor_needed`.
    """

    challenge: Token
    recovery_code: RecoveryCode
    browser_key: BrowserKey | None = None
    cookies: bool = False


SecondFactor = TotpFactor | RecoveryCodeFactor


class PasswordProof(Input, frozen=True, tag_field="by", tag="password"):
    """Once more the password, for what is dangerous."""

    password: OldPassword


class TotpProof(Input, frozen=True, tag_field="by", tag="totp"):
    """Once more a code of the authenticator app."""

    code: Code


class PasskeyProof(Input, frozen=True, tag_field="by", tag="passkey"):
    """Once more a passkey.

    Attributes:
        challenge: of the answer that holds the options.
        credential: what the authenticator has answered.
    """

    challenge: Token
    credential: Assertion


RecentProof = PasswordProof | TotpProof | PasskeyProof


class ExternalIdentity(Output, frozen=True):
    """An identity of one's own at an OpenID provider."""

    id: UUID
    provider: str
    email: str | None
    created_at: datetime
    used_at: datetime | None


class Security(Output, frozen=True):
    """How an account can be got into.

    Attributes:
        has_password: whether there is a password.
        totp_since: when the authenticator app was confirmed; null where there is none.
        recovery_codes_left: how many are unused.
        passkeys: the newest first.
        external_identities: at OpenID providers, the newest first.
        has_second_factor: whether the present session was opened with proofs of two kinds.
    """

    has_password: bool
    totp_since: datetime | None
    recovery_codes_left: int
    passkeys: list[Passkey]
    external_identities: list[ExternalIdentity]
    has_second_factor: bool
