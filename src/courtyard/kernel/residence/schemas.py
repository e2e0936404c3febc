"""What goes out about where a workspace lives."""

from datetime import datetime
from typing import Literal, TypeAlias

from courtyard.kernel.schema import Output

MoveState: TypeAlias = Literal["copying", "following", "switched", "done"]


class DatabasePlace(Output, frozen=True):
    """The database of a workspace.

    Attributes:
        own: whether it is one of its own.
        address: without the password and options; null for the main one, and where it cannot be read.
        since: when the workspace was placed there.
    """

    own: bool
    address: str | None
    since: datetime | None


class StoragePlace(Output, frozen=True):
    """The storage of the files of a workspace. Keys are never shown.

    Attributes:
        own: whether it is one of its own. What follows is null for the shared one, and where it cannot be read.
        kind: `local`, `s3`, `gcs` or `azure`.
        bucket: for Azure the container.
        prefix: what every key in it begins with.
        endpoint: where it is not that of Amazon, Google or Azure.
        since: when the files were placed there.
        moving: whether files are still read from the storage before.
    """

    own: bool
    kind: str | None
    bucket: str | None
    prefix: str | None
    endpoint: str | None
    since: datetime | None
    moving: bool


class WorkspaceMove(Output, frozen=True):
    """A move to another database that has not been cleared away.

    Attributes:
        state: `copying` and `following`, the workspace lives where it did; `switched`, in the new place, and the rest
            has to be done; `done`, the old rows are still there.
        target: the address without the password; null for the main database, and where it cannot be read.
        changed_at: when it came to this state.
    """

    state: MoveState
    target: str | None
    started_at: datetime
    changed_at: datetime


class WorkspacePlaces(Output, frozen=True):
    """Where a workspace lives.

    Attributes:
        database: where its rows are.
        storage: where its files are.
        move: its move to another database, if there is one.
    """

    database: DatabasePlace
    storage: StoragePlace
    move: WorkspaceMove | None
