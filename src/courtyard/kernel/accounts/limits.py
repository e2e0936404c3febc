"""How often one may knock: the rate limits of registering and of the ways in.

While the shared store is away each process counts by itself: a way in must not stand open then.
"""

from courtyard.kernel.limits import Policy

REGISTER = Policy(
    name="accounts.register_by_address",
    description="Registering.",
    limit="20/hour",
    when_unavailable="local",
)
# An office behind one address logs in at nine o'clock; whoever tries one password on many accounts is slowed down.
LOGIN_BY_ADDRESS = Policy(
    name="accounts.login_by_address",
    description="Logins from one address, to whichever account.",
    limit="60/minute",
    when_unavailable="local",
)
# By address too: nobody can keep another one out by trying wrong passwords (OWASP ASVS 5.0, 6.3.1).
LOGIN_BY_EMAIL = Policy(
    name="accounts.login_by_address_and_email",
    description="Logins to one account from one address: guesses at a password.",
    limit="10/minute",
    by="address_and_body:email",
    when_unavailable="local",
)
ENTER = Policy(
    name="accounts.enter_by_address",
    description="Anonymous visitors who come in.",
    limit="60/minute",
    when_unavailable="local",
)
REFRESH = Policy(
    name="accounts.refresh_by_address",
    description="Refreshing sessions.",
    limit="120/minute",
    strategy="sliding_window",
)
ASK = Policy(
    name="accounts.ask_by_address",
    description="Asking for a link or a code by mail.",
    limit="20/10 minutes",
    when_unavailable="local",
)
# Whoever fills somebody's mailbox is stopped here. The password is a way in all the while, and so is a passkey.
MAIL_BY_EMAIL = Policy(
    name="accounts.mail_by_email",
    description="Links and codes to one address.",
    limit="6/10 minutes",
    by="body:email",
    when_unavailable="local",
)
PROVE = Policy(
    name="accounts.prove_by_address",
    description="Links and codes that come back.",
    limit="30/minute",
    when_unavailable="local",
)
# Each login counts twice, and an office that begins at nine comes from one address here too.
PROVIDER = Policy(
    name="accounts.provider_by_address",
    description="Going to an OpenID provider, and coming back.",
    limit="120/minute",
    when_unavailable="local",
)
PROVE_AGAIN = Policy(
    name="accounts.prove_again_by_account",
    description="Proving once more who one is, such as with the password before it is changed.",
    limit="10/minute",
    by="account",
    when_unavailable="local",
)
