"""What can be wrong with a file."""

from courtyard.kernel.errors import Conflict, InvalidInput, Problem, Unavailable


class FileTypeRefused(Problem):
    """What the file is by its content, `content_type`, is not `accepted` here."""

    code = "file_type_refused"
    status = 415
    title = "Files of this type are not taken here"


class UnknownFileKind(InvalidInput):
    """No installed application takes files of this kind."""

    code = "unknown_file_kind"
    title = "There is no such kind of file"


class UploadInProgress(Conflict):
    """The same upload, by its `Idempotency-Key`, is under way; when it has ended, this answers what came of it."""

    code = "upload_in_progress"
    title = "The same file is being uploaded"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class UploadLost(Conflict):
    """The upload took so long that its beginning has been cleared away: begin again."""

    code = "upload_lost"
    title = "The upload took too long"


class FileAttached(Conflict):
    """The file is part of something, and goes when that goes."""

    code = "file_attached"
    title = "The file is part of something"


class LinkInvalid(Problem):
    """The link was changed, or its time is over."""

    code = "link_invalid"
    status = 403
    title = "The link is not valid"


class ThumbnailPending(Unavailable):
    """The thumbnail is being made."""

    code = "thumbnail_pending"
    title = "The thumbnail is not there yet"
