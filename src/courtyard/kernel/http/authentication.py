"""Who asks: by `Authorization: Bearer`, or by cookie, in which case a change needs the CSRF token of its session."""

from typing import Any

from litestar import Request

from courtyard.kernel.context import Principal
from courtyard.kernel.csrf import is_csrf_token
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.http.errors import CsrfFailed
from courtyard.kernel.runtime import Runtime

ACCESS_COOKIE = "courtyard_access"
REFRESH_COOKIE = "courtyard_refresh"
# By which a browser is known again, whoever is logged in.
BROWSER_COOKIE = "courtyard_browser"
CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def principal_of(runtime: Runtime, request: Request[Any, Any, Any]) -> Principal | None:
    """Return who sent a request, None for nobody.

    Raises:
        Unauthenticated: a credential was shown that does not count.
        CsrfFailed: a change by cookie without the token of the session.
    """
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The header must be `Authorization: Bearer <access token>`.")
        return await runtime.identity.authenticate(runtime, token.strip())
    if "cookie" not in request.headers:
        return None
    token = request.cookies.get(ACCESS_COOKIE, "")
    if not token:
        return None
    principal = await runtime.identity.authenticate(runtime, token)
    if request.method not in SAFE_METHODS:
        shown = request.headers.get(CSRF_HEADER, "")
        if not is_csrf_token(runtime.signer, principal.session_id, shown):
            raise CsrfFailed
    return principal
