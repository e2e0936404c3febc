"""Logging in at an OpenID provider: the protocol, from the way there to the proof that comes back.

OpenID Connect Core 1.0 with the authorization code flow, PKCE (RFC 7636) and the issuer in the answer (RFC 9207), as
RFC 9700 advises. Stands on the settings. Knows no account: whom a proof lets in is decided by those who ask for it.
"""

from courtyard.kernel.openid.errors import InvalidProviderAnswer, ProviderAway, ProviderRefused
from courtyard.kernel.openid.provider import Provider, Providers
from courtyard.kernel.openid.schemas import Answered, Asked, Authorization, Person

__all__ = [
    "Answered",
    "Asked",
    "Authorization",
    "InvalidProviderAnswer",
    "Person",
    "Provider",
    "ProviderAway",
    "ProviderRefused",
    "Providers",
]
