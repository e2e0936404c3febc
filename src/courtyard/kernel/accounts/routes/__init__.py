"""The HTTP interface of accounts."""

from courtyard.kernel.accounts.routes import accounts, api_keys, openid, passkeys, second_factors, sessions

ROUTES = (
    *accounts.ROUTES,
    *sessions.ROUTES,
    *second_factors.ROUTES,
    *passkeys.ROUTES,
    *openid.ROUTES,
    *api_keys.ROUTES,
)
