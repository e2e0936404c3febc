"""The problems of mail."""

from courtyard.kernel.errors import InvalidInput, NotFound


class InvalidStopLink(NotFound):
    """The link is not one of a mail of this server."""

    code = "invalid_stop_link"
    title = "The link is not valid"


class UnknownMailKind(InvalidInput):
    """There is no kind of mail of this name."""

    code = "unknown_mail_kind"
    title = "There is no such kind of mail"
