"""Problems of accounts, of proving who one is, and of sessions."""

from courtyard.kernel.errors import Conflict, Forbidden, InvalidInput, Problem, Unauthenticated


class RegistrationClosed(Forbidden):
    """Accounts are made by invitation or by an administrator only."""

    code = "registration_closed"
    title = "Registration is closed"


class WeakPassword(InvalidInput):
    """The password would be guessed; `suggestions` says what would be better."""

    code = "weak_password"
    title = "The password is too easy to guess"


class WrongCredentials(Unauthenticated):
    """No such account, or not its password; which of the two is not said."""

    code = "wrong_credentials"
    title = "The address or the password is wrong"
    # The failure has been counted.
    commits = True


class InvalidChallenge(InvalidInput):
    """The link or code is wrong, used, expired, or was asked for by another browser; which is not said."""

    code = "invalid_challenge"
    title = "The link or code is not valid"
    # A try that failed counts.
    commits = True


class SecondFactorNeeded(Unauthenticated):
    """The first proof was right, and the account asks for a second: answer the `challenge` by one of the `methods`."""

    code = "second_factor_needed"
    title = "A second factor is needed"
    # The challenge must be there when it is answered.
    commits = True


class WrongCode(InvalidInput):
    """The code is not right, was used already, or is no more in time; which is not said."""

    code = "wrong_code"
    title = "The code is not right"
    # The failure has been counted.
    commits = True


class SecondFactorSlowed(Problem):
    """Too many wrong codes for this account, whichever login they were for. Recovery codes and passkeys go on."""

    code = "second_factor_slowed"
    status = 429
    title = "Too many wrong codes"


class TotpSetUp(Conflict):
    """There is an authenticator app: remove it before another one is set up."""

    code = "totp_set_up"
    title = "There is an authenticator app already"


class NoTotp(Conflict):
    """There is no authenticator app, or none whose setting up has begun lately."""

    code = "no_totp"
    title = "There is no authenticator app"


class PasskeyRefused(InvalidInput):
    """The answer of the authenticator does not count: another site, another question, not verified, or a copy."""

    code = "passkey_refused"
    title = "The passkey does not count"
    # The question was used up, and what a copy has tried is told to the owner.
    commits = True


class TooManyCredentials(Conflict):
    """The account has as many of them as it can: remove one first."""

    code = "too_many_credentials"
    title = "There are too many already"


class UnknownPermission(InvalidInput):
    """There is no permission of this name."""

    code = "unknown_permission"
    title = "There is no such permission"


class StepUpNeeded(Forbidden):
    """What is dangerous wants a proof from the last minutes: `POST /sessions/current/proof`."""

    code = "step_up_needed"
    title = "Prove once more who you are"


class NotForVisitors(Forbidden):
    """An anonymous visitor has no credentials: register first."""

    code = "not_for_visitors"
    title = "Register first"


class LastWayIn(Conflict):
    """Without it nobody could log in to the account any more."""

    code = "last_way_in"
    title = "That is the last way into the account"


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is unknown, used already, expired or revoked: log in again."""

    code = "invalid_refresh_token"
    title = "The session has ended"


class RefreshTokenReused(InvalidRefreshToken):
    """The refresh token was used before, by its owner or by a thief: the session has been ended."""

    code = "refresh_token_reused"
    # The refusal must not undo the end of the session.
    commits = True


class LoginSlowed(Problem):
    """Too many wrong passwords for this address, and not from a browser of its owner. Other ways in stay open."""

    code = "login_slowed"
    status = 429
    title = "Too many tries"


class EmailTaken(Conflict):
    """Another account has this address. Only the command line says so."""

    code = "email_taken"
    title = "There is an account with this address already"


class NotForPersons(Conflict):
    """The caller has registered already."""

    code = "not_for_persons"
    title = "You have registered already"


class ForeignReturn(InvalidInput):
    """The page to return to belongs neither to this server nor to `server.cors_origins`."""

    code = "foreign_return"
    title = "The browser cannot be sent to that page"


class LinkFirst(Conflict):
    """An account has this address already: log in to it in another way, and link the provider there."""

    code = "link_first"
    title = "Log in to your account first, and link the provider"
    # What was brought back from the provider is not good once more.
    commits = True


class EmailNotVerified(Forbidden):
    """The provider does not vouch for an address, which an account needs."""

    code = "email_not_verified"
    title = "The login provider names no verified address"
    commits = True


class DomainNotAllowed(Forbidden):
    """The verified address that the provider names is not of a domain that may log in with it."""

    code = "domain_not_allowed"
    title = "Addresses of this domain cannot log in so"
    commits = True


class IdentityTaken(Conflict):
    """Another account is linked with who has logged in at the provider."""

    code = "identity_taken"
    title = "Another account is linked with this login"


class AlreadyLinked(Conflict):
    """The account is linked with somebody else at this provider: take that away first."""

    code = "already_linked"
    title = "The account is linked with another login of this provider"
