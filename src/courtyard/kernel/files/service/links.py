"""Signed links: whoever has one reads the file until its time is over, or the file is gone."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from courtyard.kernel.context import ReadContext
from courtyard.kernel.files import queries
from courtyard.kernel.files.errors import LinkInvalid
from courtyard.kernel.files.schemas import Link, NewLink, StoredFile
from courtyard.kernel.http import API

PURPOSE = "file link"


async def make_link(context: ReadContext, file_id: UUID, new: NewLink) -> Link:
    """Return a link to a file that the caller may read."""
    await queries.readable(context, file_id)
    most = context.runtime.settings.files.link_seconds
    expires_at = context.now.replace(microsecond=0) + timedelta(seconds=min(new.seconds or most, most))
    expires, variant = int(expires_at.timestamp()), new.thumbnail or ""
    # These keys do not retire, so a link is good for as long as it says.
    digest = context.runtime.digests.digest(PURPOSE, _text(context, file_id, expires, variant))
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    path = f"{API}/workspaces/{context.workspace.workspace_id}/files/{file_id}/link"
    query = f"expires={expires}&signature={signature}" + (f"&thumbnail={variant}" if variant else "")
    return Link(f"{context.runtime.settings.public_url}{path}?{query}", expires_at)


async def follow_link(
    context: ReadContext, file_id: UUID, expires: int, signature: str, variant: str
) -> tuple[StoredFile, int]:
    """Return the file that a link leads to, and for how many seconds it is still good.

    Raises:
        LinkInvalid: it was changed, or its time is over.
        NotFound: the file is gone.
    """
    try:
        digest = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except (binascii.Error, ValueError):
        raise LinkInvalid from None
    left = int((datetime.fromtimestamp(expires, UTC) - context.now).total_seconds())
    if not context.runtime.digests.matches(PURPOSE, _text(context, file_id, expires, variant), digest) or left <= 0:
        raise LinkInvalid
    return await queries.stored(context, file_id), left


def _text(context: ReadContext, file_id: UUID, expires: int, variant: str) -> str:
    return f"{context.workspace.workspace_id} {file_id} {expires} {variant}"
