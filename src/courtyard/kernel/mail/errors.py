"""The problems of mail."""

from courtyard.kernel.errors import NotFound


class InvalidStopLink(NotFound):
    """The link is not one of a mail of this server."""

    code = "invalid_stop_link"
    title = "The link is not valid"
