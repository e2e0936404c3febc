"""Authenticators for tests: an app that makes codes, and a device that makes passkeys and answers with them."""

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pyotp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

from courtyard.kernel.accounts.rules import time_step
from courtyard.kernel.clock import Clock, SystemClock
from tests.factories import PASSWORD, Person, ok, problem
from tests.sockets import Json

# Where a server with default settings says that it is.
ORIGIN = "http://localhost:8000"
RP_ID = "localhost"

# Flags of what an authenticator says (Web Authentication Level 3, section 6.1).
PRESENT, VERIFIED, MAY_BE_BACKED_UP, BACKED_UP, HAS_CREDENTIAL = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass
class App:
    """An authenticator app.

    Attributes:
        secret: the one that it was given.
        recovery_codes: that were shown with it.
        clock: that it goes by.
    """

    secret: str
    recovery_codes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=SystemClock)

    def code(self, steps: int = 0) -> str:
        """Return the code of now, or of some steps of 30 seconds later."""
        return pyotp.HOTP(self.secret).at(time_step(self.clock.now()) + steps)

    def wrong_code(self) -> str:
        """Return a code that is none of these minutes."""
        near = {self.code(steps) for steps in range(-5, 6)}
        return next(code for code in (f"{number:06}" for number in range(20)) if code not in near)


async def set_up_app(person: Person, clock: Clock | None = None) -> App:
    """Give somebody an authenticator app. The code of this moment is used then."""
    begun = ok(await person.http.post("/me/totp"))
    uri = urlsplit(begun["uri"])
    assert parse_qs(uri.query)["secret"] == [begun["secret"]]
    app = App(begun["secret"], clock=clock or SystemClock())
    app.recovery_codes = ok(await person.http.post("/me/totp/confirm", json={"code": app.code()}))["codes"]
    return app


async def first_factor(http: httpx2.AsyncClient, person: Person) -> str:
    """Log in with the password, and return the challenge for the second factor."""
    answer = await http.post("/sessions", json={"email": person.email, "password": PASSWORD})
    document = problem(answer, 401, "second_factor_needed")
    assert document["methods"] == ["totp", "recovery_code"]
    return str(document["challenge"])


@dataclass
class Credential:
    """A passkey, as its authenticator keeps it."""

    id: bytes
    key: ec.EllipticCurvePrivateKey
    user_handle: bytes
    counter: int = 0


class Authenticator:
    """A device that keeps passkeys, and does what a test wants, which no real one would.

    Args:
        counts: whether it has a signature counter; those that synchronise have none.
    """

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts
        self.credentials: list[Credential] = []

    def create(
        self, options: Json, *, origin: str = ORIGIN, rp_id: str = RP_ID, flags: int = PRESENT | VERIFIED
    ) -> Json:
        """Make a passkey and return what a browser would send of it."""
        key = ec.generate_private_key(ec.SECP256R1())
        number = len(self.credentials)
        credential = Credential(
            hashlib.sha256(key.public_key().public_numbers().x.to_bytes(32, "big") + bytes([number])).digest(),
            key,
            base64url_to_bytes(options["user"]["id"]),
        )
        self.credentials.append(credential)
        point = key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        attested = bytes(16) + struct.pack(">H", len(credential.id)) + credential.id + encode_cbor(cose)
        data = self._data(rp_id, flags | HAS_CREDENTIAL, credential) + attested
        return {
            "id": bytes_to_base64url(credential.id),
            "rawId": bytes_to_base64url(credential.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": {
                "clientDataJSON": bytes_to_base64url(_client_data("webauthn.create", options["challenge"], origin)),
                "attestationObject": bytes_to_base64url(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
                "transports": ["internal", "hybrid", "telepathy"],
            },
        }

    def answer(
        self,
        options: Json,
        *,
        credential: Credential | None = None,
        origin: str = ORIGIN,
        rp_id: str = RP_ID,
        flags: int = PRESENT | VERIFIED,
        **client: Json,
    ) -> Json:
        """Return what a browser would send of somebody who logs in, with the newest passkey unless told otherwise."""
        credential = credential or self.credentials[-1]
        credential.counter += self.counts
        data = self._data(rp_id, flags, credential)
        said = _client_data("webauthn.get", options["challenge"], origin, **client)
        signature = credential.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        return {
            "id": bytes_to_base64url(credential.id),
            "rawId": bytes_to_base64url(credential.id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": bytes_to_base64url(said),
                "authenticatorData": bytes_to_base64url(data),
                "signature": bytes_to_base64url(signature),
                "userHandle": bytes_to_base64url(credential.user_handle),
            },
        }

    @staticmethod
    def _data(rp_id: str, flags: int, credential: Credential) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, credential.counter)


def _client_data(kind: str, challenge: str, origin: str, /, **more: Any) -> bytes:
    said = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False, **more}
    return json.dumps(said).encode()


async def add_passkey(person: Person, authenticator: Authenticator, name: str = "Laptop") -> Json:
    """Give somebody a passkey."""
    asked = ok(await person.http.post("/me/passkeys/options"))
    new = {"challenge": asked["challenge"], "name": name, "credential": authenticator.create(asked["options"])}
    return ok(await person.http.post("/me/passkeys", json=new))


async def passkey_login(
    http: httpx2.AsyncClient, authenticator: Authenticator, browser_key: str = "the-browser-of-this-test", **wrong: Any
) -> httpx2.Response:
    """Log in without saying who one is."""
    browser = {"browser_key": browser_key}
    asked = ok(await http.post("/sessions/passkey/options", json=browser))
    credential = authenticator.answer(asked["options"], **wrong)
    answer = {**browser, "challenge": asked["challenge"], "credential": credential}
    return await http.post("/sessions/passkey", json=answer)
