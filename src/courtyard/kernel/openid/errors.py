"""Problems with an OpenID provider."""

import re

from courtyard.kernel.errors import Problem, Unauthenticated, Unavailable

# Error codes of OAuth 2.0 (RFC 6749, section 4.1.2.1) are such words; anything else is not repeated.
_WORD = re.compile(r"[a-z_]{1,64}")


class ProviderAway(Unavailable):
    """The OpenID provider does not answer, or not in time."""

    code = "provider_unavailable"
    title = "The login provider does not answer"


class ProviderRefused(Unauthenticated):
    """The OpenID provider did not let the person log in; `reason` is the error code that it gave."""

    code = "provider_refused"
    title = "The login provider refused"
    # What was sent out has come back: it is not good once more.
    commits = True

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason if _WORD.fullmatch(reason) else "other")


class InvalidProviderAnswer(Problem):
    """The OpenID provider gave an answer that proves nothing; `reason` says what is wrong with it."""

    code = "invalid_provider_answer"
    status = 502
    title = "The answer of the login provider is not valid"
    commits = True

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)
