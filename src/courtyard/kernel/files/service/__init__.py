"""Every change of files."""

from collections.abc import Sequence
from uuid import UUID

from courtyard.kernel.context import Context
from courtyard.kernel.errors import FieldError, InvalidInput, NotFound
from courtyard.kernel.files import queries, store
from courtyard.kernel.files.errors import FileAttached
from courtyard.kernel.files.permissions import UPLOAD
from courtyard.kernel.files.rules import FileKind

MAX_ATTACHED = 100


async def attach(
    context: Context, kind: FileKind, file_ids: Sequence[UUID], thing_id: UUID, *, pointer: str = "/file_ids"
) -> None:
    """Make files that the caller has uploaded part of a thing, in the transaction that makes the thing.

    From then on whoever may see the thing reads them, and they go with it.

    Args:
        context: of the change.
        kind: of the files; the things are those that its `authorise` knows.
        file_ids: which, at most 100.
        thing_id: what they become part of.
        pointer: where in the input the ids stand.

    Raises:
        InvalidInput: one of them is not there, not of this kind, not the caller's, or part of something already.
    """
    ids = list(dict.fromkeys(file_ids))
    if not ids:
        return
    if len(ids) > MAX_ATTACHED:
        raise InvalidInput(errors=[FieldError(f"at most {MAX_ATTACHED} files", pointer=pointer)])
    if await store.attach(context, ids, kind.name, thing_id) != len(ids):
        raise InvalidInput(errors=[FieldError("not all of these files can be used here", pointer=pointer)])


async def detach(context: Context, kind: FileKind, thing_ids: Sequence[UUID]) -> None:
    """Remove the files of things, in the transaction that removes the things."""
    if thing_ids:
        await store.detach(context, kind.name, list(thing_ids))


async def remove_file(context: Context, file_id: UUID) -> None:
    """Remove a file of the caller that is part of nothing.

    Raises:
        NotFound: there is none, or the caller may not know of it.
        FileAttached: it is part of something.
    """
    context.require(UPLOAD)
    file = await queries.lock(context, file_id)
    if file.attached_id is not None:
        await queries.readable(context, file_id)
        raise FileAttached
    if file.owner_id != context.account_id:
        raise NotFound
    await store.remove(context, file_id)
