"""ID tokens: whether one was signed by the provider, for this server, now, and for this very login."""

import base64
import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry
from joserfc.jws import CompactSignature

from courtyard.kernel.crypto import same
from courtyard.kernel.openid.errors import InvalidProviderAnswer
from courtyard.kernel.openid.schemas import Claims

# Kind of key → algorithms. None that needs no key, or one that both sides have: who can verify could also sign.
ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA", "Ed25519"),
}
# Clocks of two machines may differ by as much.
LEEWAY_SECONDS = 30
# Of `at_hash`: that of the algorithm, whose name ends with it; Ed25519 has SHA-512 inside.
_DIGESTS = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


class Header(msgspec.Struct, frozen=True):
    """What the header of a token says of its signature."""

    alg: str
    kid: str | None = None


class Signed:
    """A token whose signature has not been looked at yet.

    Attributes:
        header: what it says of its signature.

    Raises:
        InvalidProviderAnswer: it is no token.
    """

    def __init__(self, token: str) -> None:
        try:
            self._token: CompactSignature = jws.extract_compact(token.encode())
            self.header = msgspec.convert(self._token.headers(), Header)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise InvalidProviderAnswer("malformed") from error

    def verified(self, key: dict[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
        """Return the claims, if they were signed with this key and one of these algorithms.

        Raises:
            InvalidProviderAnswer: they were not.
        """
        if self.header.alg not in allowed:
            raise InvalidProviderAnswer("algorithm_not_allowed")
        try:
            with warnings.catch_warnings():
                # Short keys of RSA, for one. The name EdDSA has got a successor (RFC 9864), and is as good.
                warnings.simplefilter("error", SecurityWarning)
                warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)
                right = jws.validate_compact(self._token, JWKRegistry.import_key(key), [self.header.alg])
            claims = msgspec.json.decode(self._token.payload or b"", type=dict[str, Any])
        except SecurityWarning as warning:
            raise InvalidProviderAnswer("weak_key") from warning
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise InvalidProviderAnswer("malformed") from error
        if not right:
            raise InvalidProviderAnswer("wrong_signature")
        return claims


def allowed_algorithms(supported: Sequence[str]) -> list[str]:
    """Return those of a provider's algorithms that are good enough."""
    return [name for names in ALGORITHMS.values() for name in names if name in supported]


def find_key(keys: Sequence[dict[str, Any]], header: Header) -> dict[str, Any] | None:
    """Return the key that a token was signed with: that of its id, or, without an id, the only one that fits."""
    fitting = [
        key
        for key in keys
        if header.alg in ALGORITHMS.get(str(key.get("kty")), ())
        and key.get("use", "sig") == "sig"
        and key.get("alg", header.alg) == header.alg
        and header.kid in {None, key.get("kid")}
    ]
    return fitting[0] if len(fitting) == 1 else None


def check_claims(claims: dict[str, Any], *, issuer: str, client_id: str, nonce: str, now: float) -> Claims:
    """Return what an ID token says, if it is for this server, good now, and made for this login.

    The steps are those of OpenID Connect Core 1.0, section 3.1.3.7.

    Args:
        claims: of a token whose signature is right.
        issuer: the provider.
        client_id: what it knows this server by.
        nonce: that went out with this login.
        now: seconds since 1970.

    Raises:
        InvalidProviderAnswer: one of them fails.
    """
    try:
        said = msgspec.convert(claims, Claims)
    except msgspec.ValidationError as error:
        raise InvalidProviderAnswer("malformed") from error
    if said.iss != issuer:
        raise InvalidProviderAnswer("wrong_issuer")
    others = [audience for audience in said.audiences if audience != client_id]
    meant = client_id if said.azp is None and not others else said.azp
    if client_id not in said.audiences or meant != client_id:
        raise InvalidProviderAnswer("wrong_audience")
    if said.exp + LEEWAY_SECONDS <= now:
        raise InvalidProviderAnswer("expired")
    if said.iat - LEEWAY_SECONDS > now:
        raise InvalidProviderAnswer("issued_in_the_future")
    if said.nonce is None or not same(said.nonce, nonce):
        raise InvalidProviderAnswer("wrong_nonce")
    return said


def check_access_token(at_hash: str, access_token: str, algorithm: str) -> None:
    """Go on only if an access token came with the ID token that has this digest of it (section 3.1.3.6).

    Raises:
        InvalidProviderAnswer: it is another one.
    """
    digest = _DIGESTS.get(algorithm[-3:], hashlib.sha512)(access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not same(half, at_hash):
        raise InvalidProviderAnswer("wrong_access_token")
