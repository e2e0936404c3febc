"""What the audit log is told about accounts and sessions, beside the rows of accounts that change."""

# Sessions have no audited row: they change with every refresh.
OPENED = "accounts:session:opened"
ENDED = "accounts:session:ended"
PROVEN = "accounts:session:proven"
REUSED = "accounts:session:reused"
FAILED = "accounts:login:failed"
CONVERTED = "accounts:visitor:registered"
PASSWORD_CHANGED = "accounts:password:changed"  # noqa: S105 - a name
EMAIL_CHANGED = "accounts:email:changed"
DEACTIVATED = "accounts:account:deactivated"
REACTIVATED = "accounts:account:reactivated"
REMOVED = "accounts:account:removed"
TOTP_ADDED = "accounts:totp:added"
TOTP_REMOVED = "accounts:totp:removed"
CODES_RENEWED = "accounts:recovery_codes:renewed"
CODE_USED = "accounts:recovery_code:used"
CODE_REFUSED = "accounts:second_factor:refused"
PASSKEY_ADDED = "accounts:passkey:added"
PASSKEY_RENAMED = "accounts:passkey:renamed"
PASSKEY_REMOVED = "accounts:passkey:removed"
PASSKEY_COPIED = "accounts:passkey:copied"
IDENTITY_LINKED = "accounts:identity:linked"
IDENTITY_UNLINKED = "accounts:identity:unlinked"
IDENTITY_REFUSED = "accounts:identity:refused"
API_KEY_ISSUED = "accounts:api_key:issued"
API_KEY_REVOKED = "accounts:api_key:revoked"

AUDIT_NAMES = {
    OPENED: "Somebody logged in, or entered as a visitor.",
    ENDED: "A session was ended: by its owner, or with the account or its password.",
    PROVEN: "Somebody who was logged in proved once more who they are.",
    REUSED: "A refresh token was shown that had been used before; its session was ended.",
    FAILED: "A login was refused. Of an address that is known, the account is kept; of another, a keyed digest.",
    CONVERTED: "An anonymous visitor registered.",
    PASSWORD_CHANGED: "A password was changed or reset.",
    EMAIL_CHANGED: "An account moved to another address.",
    DEACTIVATED: "An account was closed, by its owner or an operator.",
    REACTIVATED: "An account was opened again.",
    REMOVED: "An account was deleted: name, address and credentials are gone.",
    TOTP_ADDED: "An authenticator app was set up.",
    TOTP_REMOVED: "An authenticator app was removed, and the recovery codes with it.",
    CODES_RENEWED: "New recovery codes were made; the old ones are void.",
    CODE_USED: "A recovery code was used.",
    CODE_REFUSED: "A code of an authenticator app or from paper was refused.",
    PASSKEY_ADDED: "A passkey was added.",
    PASSKEY_RENAMED: "A passkey was renamed.",
    PASSKEY_REMOVED: "A passkey was removed.",
    PASSKEY_COPIED: "A passkey was refused because its counter did not go on: there may be a copy of it.",
    IDENTITY_LINKED: "An OpenID provider was linked to an account, by its owner or with the first login there.",
    IDENTITY_UNLINKED: "The login at an OpenID provider was taken away from an account.",
    IDENTITY_REFUSED: "What somebody brought back from an OpenID provider was refused.",
    API_KEY_ISSUED: "An API key was made.",
    API_KEY_REVOKED: "An API key was revoked.",
}
