"""What comes in and goes out about accounts and sessions."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Email, Input, Name, Output, Password

_URL_SAFE = r"^[A-Za-z0-9_-]+$(?!\n)"

RefreshToken = Annotated[str, Meta(min_length=20, max_length=200, pattern=_URL_SAFE)]
Token = Annotated[str, Meta(min_length=20, max_length=200, pattern=_URL_SAFE, description="From the link of a mail.")]
Code = Annotated[
    str,
    Meta(min_length=6, max_length=6, pattern=r"^[0-9]{6}$(?!\n)", description="Six digits.", examples=["204815"]),
]
BrowserKey = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=200,
        pattern=_URL_SAFE,
        description="A secret that this client keeps and shows each time, by which it is known again. Left out by "
        "browsers, which have a cookie for it.",
    ),
]
Language = Annotated[
    str, Meta(min_length=2, max_length=16, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)", examples=["fi"])
]
# Not `Password`: rules for new passwords must not lock out old ones.
OldPassword = Annotated[str, Meta(min_length=1, max_length=128)]


class Account(Output, frozen=True):
    """An account, as it sees itself."""

    id: UUID
    kind: Literal["person", "visitor", "service"]
    email: str | None
    name: str
    language: str | None
    must_change_password: bool
    version: int
    created_at: datetime


class NewAccount(Input, frozen=True):
    """A person who registers."""

    email: Email
    password: Password
    name: Name
    language: Language | None = None


class AccountPatch(Input, frozen=True):
    """What a person may change about themselves (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET
    language: Language | UnsetType | None = UNSET


class Started(Output, frozen=True):
    """A message is on its way to the address, whatever it says there.

    Attributes:
        challenge_id: goes with the code that the message holds.
        expires_in_seconds: how long link and code are good.
    """

    challenge_id: UUID
    expires_in_seconds: int


class TokenProof(Input, frozen=True, tag_field="by", tag="link"):
    """The link of a mail was opened."""

    token: Token
    browser_key: BrowserKey | None = None
    cookies: bool = False


class CodeProof(Input, frozen=True, tag_field="by", tag="code"):
    """The code of a mail was typed."""

    challenge_id: UUID
    code: Code
    browser_key: BrowserKey | None = None
    cookies: bool = False


Proof = TokenProof | CodeProof


class NewEmail(Input, frozen=True):
    """The address that is to be that of the account."""

    email: Email


class NewPassword(Input, frozen=True):
    """A change of one's own password.

    Attributes:
        current_password: left out where there is none yet.
    """

    password: Password
    current_password: OldPassword | None = None


class NewPasswordReset(Input, frozen=True):
    """Somebody has forgotten their password."""

    email: Email


class PasswordReset(Input, frozen=True):
    """A new password for whoever has the link."""

    token: Token
    password: Password


class Credentials(Input, frozen=True):
    """A login with a password.

    Attributes:
        cookies: keep the tokens in cookies that scripts cannot read, instead of in the body.
    """

    email: Email
    password: OldPassword
    browser_key: BrowserKey | None = None
    cookies: bool = False


class NewVisitor(Input, frozen=True):
    """An anonymous visitor who wants to talk, under any name."""

    name: Name
    cookies: bool = False


class NewEmailLogin(Input, frozen=True):
    """A login by a mail, without a password."""

    email: Email
    browser_key: BrowserKey | None = None


class Refresh(Input, frozen=True):
    """A refresh token to be exchanged. Left out where it is in a cookie."""

    refresh_token: RefreshToken | UnsetType = UNSET


class Login(Output, frozen=True):
    """A session that was opened or renewed.

    Attributes:
        access_token: for `Authorization: Bearer`; null where it is in a cookie.
        refresh_token: good for one renewal; null where it is in a cookie.
        csrf_token: to be sent as `X-CSRF-Token` with changes that are authenticated by cookie.
        expires_in_seconds: life of the access token.
        account: who is logged in.
    """

    access_token: str | None
    refresh_token: str | None
    csrf_token: str
    expires_in_seconds: int
    account: Account


class Session(Output, frozen=True):
    """A login of one's own.

    Attributes:
        device: what it was opened with.
        address: from where, shortened.
        methods: by which proofs.
        used_at: when it was last renewed.
        current: whether it is the one that asks.
    """

    id: UUID
    device: str
    address: str
    methods: list[str]
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    current: bool
