"""What comes in and goes out about API keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from courtyard.kernel.schema import Input, Name, Output, Permission

Scopes = Annotated[
    list[Permission],
    Meta(max_length=200, description="Names of permissions that the key is cut down to; null for all of its owner."),
]
Days = Annotated[int, Meta(ge=1, le=3_650)]


class NewApiKey(Input, frozen=True):
    """A key by which a program is to act for its owner.

    Attributes:
        name: by which its owner will know it.
        expires_in_days: how long it is good; null for until it is revoked.
    """

    name: Name
    scopes: Scopes | None = None
    expires_in_days: Days | None = None


class ApiKey(Output, frozen=True):
    """A key, without what makes it one.

    Attributes:
        prefix: how it begins.
        used_at: when it was last used, to the minute; null for never.
    """

    id: UUID
    name: str
    prefix: str
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


class IssuedApiKey(Output, frozen=True):
    """A key that was made.

    Attributes:
        key: the whole of it, for `Authorization: Bearer`. It is shown this once.
        api_key: what is kept of it.
    """

    key: str
    api_key: ApiKey
