"""What comes in and goes out about accounts and sessions."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Email, Input, Name, Output, Password

RefreshToken = Annotated[str, Meta(min_length=20, max_length=200, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")]


class Account(Output, frozen=True):
    """An account, as it sees itself."""

    id: UUID
    kind: Literal["person", "visitor", "service"]
    email: str | None
    name: str
    version: int
    created_at: datetime


class NewAccount(Input, frozen=True):
    """A person who registers."""

    email: Email
    password: Password
    name: Name


class AccountPatch(Input, frozen=True):
    """What a person may change about themselves (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET


class Credentials(Input, frozen=True):
    """A login with a password.

    Attributes:
        cookies: keep the tokens in cookies that scripts cannot read, instead of in the body.
    """

    email: Email
    # Not `Password`: rules for new passwords must not lock out old ones.
    password: Annotated[str, Meta(min_length=1, max_length=128)]
    cookies: bool = False


class NewVisitor(Input, frozen=True):
    """An anonymous visitor who wants to talk, under any name."""

    name: Name
    cookies: bool = False


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
