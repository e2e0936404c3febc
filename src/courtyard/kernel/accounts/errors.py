"""Problems of accounts and sessions."""

from courtyard.kernel.errors import Conflict, Unauthenticated


class EmailTaken(Conflict):
    """Another account has this address."""

    code = "email_taken"
    title = "There is an account with this address already"


class WrongCredentials(Unauthenticated):
    """No such account, or not its password; which of the two is not said."""

    code = "wrong_credentials"
    title = "The address or the password is wrong"


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is unknown, used already, expired or revoked: log in again."""

    code = "invalid_refresh_token"
    title = "The session has ended"


class RefreshTokenReused(InvalidRefreshToken):
    """The refresh token was used before, by its owner or by a thief: the session has been ended."""

    code = "refresh_token_reused"
    # The refusal must not undo the end of the session.
    commits = True
