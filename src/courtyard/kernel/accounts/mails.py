"""What accounts write to people: to prove an address, to log in, and for the safety of an account.

`link` leads to a page of the server. Notices of safety go out whatever somebody has unsubscribed from.
"""

from functools import partial

from courtyard.kernel.mail import Template

_mail = partial(Template, of_workspaces=False)

# To an address that somebody has registered with.
CONFIRM_REGISTRATION = _mail(name="accounts.confirm_registration", fields=("name", "link", "code", "minutes"))
# Instead of it, where the address has an account: whoever registers is not told. Links to log in, and to the reset.
ALREADY_REGISTERED = _mail(name="accounts.already_registered", fields=("name", "link", "reset_link"))
LOGIN = _mail(name="accounts.login", fields=("link", "code", "minutes"))
# Instead of it, where there is no account. Link to the registration.
LOGIN_UNKNOWN = _mail(name="accounts.login_unknown", fields=("link",))
# To the new address.
CONFIRM_EMAIL = _mail(name="accounts.confirm_email", fields=("link", "code", "minutes"))
# To the old address. The new one is shortened: who reads the old mailbox may not be its owner. The link undoes it;
# None where nothing does.
EMAIL_CHANGED = _mail(name="accounts.email_changed", fields=("new_address", "link"))
# The code may be None.
PASSWORD_RESET = _mail(name="accounts.password_reset", fields=("link", "code", "minutes"))
# Link to the reset.
PASSWORD_CHANGED = _mail(name="accounts.password_changed", fields=("link",))
# The address is shortened, the time a datetime; link to the list of sessions.
NEW_DEVICE = _mail(name="accounts.new_device", fields=("device", "address", "time", "link"))
# What is totp_added, totp_removed, passkey_added, passkey_removed or recovery_codes_renewed; anything else is told as
# "changed". Link to the account.
SECOND_FACTOR_CHANGED = _mail(name="accounts.second_factor_changed", fields=("what", "link"))
# What is linked or unlinked, the provider its label; link to the account.
LOGIN_PROVIDER_CHANGED = _mail(name="accounts.login_provider_changed", fields=("what", "provider", "link"))
RECOVERY_CODE_USED = _mail(name="accounts.recovery_code_used", fields=("left", "link"))
# What is codes_guessed, passkey_copied, api_key_added or api_key_removed; the thing is the name of the passkey or key,
# or None. Link to the account.
SECURITY_NOTICE = _mail(name="accounts.security_notice", fields=("what", "thing", "link"))
ACCOUNT_DEACTIVATED = _mail(name="accounts.account_deactivated", fields=("name",))
ACCOUNT_DELETED = _mail(name="accounts.account_deleted", fields=("name",))
# Somebody tries passwords. Link to the reset.
LOCKED = _mail(name="accounts.locked", fields=("minutes", "link"))

MAILS = (
    CONFIRM_REGISTRATION,
    ALREADY_REGISTERED,
    LOGIN,
    LOGIN_UNKNOWN,
    CONFIRM_EMAIL,
    EMAIL_CHANGED,
    PASSWORD_RESET,
    PASSWORD_CHANGED,
    NEW_DEVICE,
    SECOND_FACTOR_CHANGED,
    LOGIN_PROVIDER_CHANGED,
    RECOVERY_CODE_USED,
    SECURITY_NOTICE,
    ACCOUNT_DEACTIVATED,
    ACCOUNT_DELETED,
    LOCKED,
)
