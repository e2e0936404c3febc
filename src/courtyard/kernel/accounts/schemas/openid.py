"""What comes in and goes out about logging in at an OpenID provider."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from courtyard.kernel.accounts.schemas import BrowserKey, Token
from courtyard.kernel.schema import Input, Output

# What an address can hold without being encoded, and no backslash, which browsers take for a slash.
_ADDRESS = r"^[!-\[\]-~]*$(?!\n)"

ReturnTo = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_000,
        pattern=_ADDRESS,
        description="The page that the browser comes back to: a path of this server, or an address of it, of the page "
        "that links in mails open, or of `server.cors_origins`. Left out: the page that links in mails open.",
        examples=["/inbox"],
    ),
]
ProviderName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32,
        pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$(?!\n)",
        description="Name of the provider.",
        examples=["company"],
    ),
]
ProviderCode = Annotated[
    str, Meta(min_length=1, max_length=4_000, pattern=r"^[ -~]+$(?!\n)", description="What the provider sent along.")
]
Issuer = Annotated[str, Meta(max_length=1_000, description="The `iss` that the provider sent along, if it did.")]
State = Annotated[Token, Meta(description="The `state` that came back from the provider.")]


class LoginProvider(Output, frozen=True):
    """An OpenID provider to log in with.

    Attributes:
        name: by which it is called in addresses.
        label: for the button.
    """

    name: str
    label: str


class NewProviderLogin(Input, frozen=True):
    """A login at an OpenID provider, or the wish to link it.

    Attributes:
        browser_key: with it, the page of `return_to` is given `code` and `state` behind its `#`, and sends them on.
            Without it, the login ends by itself in the browser that has asked, with cookies.
    """

    return_to: ReturnTo | None = None
    browser_key: BrowserKey | None = None


class ProviderRequest(Output, frozen=True):
    """Where to send the person.

    Attributes:
        authorization_url: a page of the provider.
        expires_in_seconds: how long they have to come back.
    """

    authorization_url: str
    expires_in_seconds: int


class ProviderProof(Input, frozen=True):
    """What the provider has sent along, for a login."""

    code: ProviderCode
    state: State
    iss: Issuer | None = None
    browser_key: BrowserKey | None = None
    cookies: bool = False


class IdentityProof(Input, frozen=True):
    """What the provider has sent along, for a link."""

    code: ProviderCode
    state: State
    iss: Issuer | None = None
    browser_key: BrowserKey | None = None


class Identity(Output, frozen=True):
    """A login at an OpenID provider that opens one's own account.

    Attributes:
        provider: its name.
        label: for people; the name where the provider is no longer configured.
        email: what the provider called the address when it was last used.
        used_at: when it was last logged in with.
    """

    provider: str
    label: str
    email: str | None
    created_at: datetime
    used_at: datetime | None
