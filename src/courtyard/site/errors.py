"""What the server says when it cannot begin, or not yet serve."""

from courtyard.kernel.errors import Unavailable
from courtyard.kernel.settings import SettingsError


class CannotStart(SettingsError):
    """The databases are not as this code needs them; the message is one line for the operator."""


class NotReady(Unavailable):
    """Something that the server needs does not answer, or is out of date; `checks` says what."""

    code = "not_ready"
    title = "The server is not ready"
