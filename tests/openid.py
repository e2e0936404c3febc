"""An OpenID provider on this machine that does what a test tells it, wrong things included."""

import asyncio
import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit
from uuid import uuid4

import httpx2
import uvicorn
from joserfc import jws
from joserfc.jwk import ECKey, Key
from litestar.types import Receive, Scope

from courtyard.kernel.http import API
from courtyard.serving import listen
from tests.running import RunningServer, WebServer

CLIENT_ID = "courtyard"
CLIENT_SECRET = "hush: not a word + 100%"


_Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Response:
    """What the provider answers with over HTTP."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    @classmethod
    def of(cls, document: object, status: int = 200) -> "Response":
        """Answer with JSON."""
        return cls(status, json.dumps(document).encode())


Answer = Callable[["Asking"], Awaitable[Response]]


@dataclass
class Asking:
    """What the provider is asked over HTTP."""

    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]


def somebody(**claims: Any) -> dict[str, Any]:
    """Return somebody whom nobody has seen before."""
    name = uuid4().hex[:12]
    return {"sub": name, "email": f"{name}@example.org", "email_verified": True, "name": f"Person {name}", **claims}


class OpenidStandIn:
    """The provider. It lets everybody in, without a question.

    Attributes:
        issuer: its address.
        person: who logs in next; None for somebody new each time.
        metadata: changes to the discovery document; None takes a member away.
        claims: changes to the ID tokens, likewise.
        header: changes to their headers.
        userinfo: what is said of the person there and not in the ID token; None for nothing.
        sends_issuer: whether `iss` comes back with the code (RFC 9207).
        forgives: whether it takes a code as often as it is shown, whoever shows it.
        sign: makes a token of header and claims.
        answers: path → what answers there, in place of the provider.
        asked: how often each path was asked for.
        keys: with which it signs, the newest first.
    """

    def __init__(self) -> None:
        self._listener = listen("127.0.0.1", 0)
        self.issuer = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._web_server = WebServer(
            uvicorn.Config(self, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        self._task: asyncio.Task[None] | None = None
        self.keys: list[Key] = []
        self.rotate_key()
        self.behave()

    def behave(self) -> None:
        """Forget everything that a test has told it; its keys stay."""
        self.person: dict[str, Any] | None = None
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.sends_issuer = True
        self.forgives = False
        self.sign: Callable[[dict[str, Any], dict[str, Any]], str] = self._sign
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self._given: dict[str, dict[str, Any]] = {}
        self._access_tokens: dict[str, dict[str, Any]] = {}

    def rotate_key(self) -> None:
        """Sign with a new key from now on; the old one is no longer shown."""
        self.keys = [ECKey.generate_key("P-256", {"use": "sig", "kid": uuid4().hex})]

    async def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._web_server.serve(sockets=[self._listener]))
        await self._web_server.ready.wait()

    async def stop(self) -> None:
        """Stop."""
        self._web_server.should_exit = True
        if self._task is not None:
            await self._task

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return what a server is to be told of it."""
        return {
            "label": "Company",
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            **changes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: _Send) -> None:
        """Answer one request (ASGI)."""
        body, more = b"", True
        while more:
            message: Any = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asking = Asking(
            dict(parse_qsl(scope["query_string"].decode())),
            dict(parse_qsl(body.decode())),
            {name.decode(): value.decode() for name, value in scope["headers"]},
        )
        path = scope["path"]
        self.asked[path] += 1
        own: dict[str, Answer] = {
            "/.well-known/openid-configuration": self._discovery,
            "/authorize": self._authorize,
            "/token": self._token,
            "/keys": self._keys,
            "/userinfo": self._userinfo,
        }
        answer = self.answers.get(path) or own.get(path)
        response = Response(404) if answer is None else await answer(asking)
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _discovery(self, _: Asking) -> Response:
        return Response.of(
            changed(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                    "userinfo_endpoint": f"{self.issuer}/userinfo",
                    "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                },
                self.metadata,
            )
        )

    async def _authorize(self, asking: Asking) -> Response:
        query = asking.query
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = uuid4().hex
        self._given[code] = {**query, "person": self.person or somebody()}
        back = {"code": code, "state": query["state"], **({"iss": self.issuer} if self.sends_issuer else {})}
        return Response(303, headers={"location": f"{query['redirect_uri']}?{urlencode(back)}"})

    async def _token(self, asking: Asking) -> Response:
        kind, _, pair = asking.headers.get("authorization", "").partition(" ")
        shown = (asking.form.get("client_id", ""), asking.form.get("client_secret", ""))
        if kind == "Basic":
            client_id, _, secret = base64.b64decode(pair).decode().partition(":")
            shown = (unquote(client_id), unquote(secret.replace("+", " ")))
        if shown not in {(CLIENT_ID, CLIENT_SECRET), (CLIENT_ID, "")}:
            return Response.of({"error": "invalid_client"}, 401)
        given = self._given.get(asking.form["code"]) if self.forgives else self._given.pop(asking.form["code"], None)
        digest = hashlib.sha256(asking.form["code_verifier"].encode()).digest()
        if given is None or (
            not self.forgives
            and (
                base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != given["code_challenge"]
                or asking.form["redirect_uri"] != given["redirect_uri"]
            )
        ):
            return Response.of({"error": "invalid_grant"}, 400)
        person, access_token = given["person"], uuid4().hex
        self._access_tokens[access_token] = person
        now = int(time.time())
        half = base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()[:16]).rstrip(b"=").decode()
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": given["nonce"],
            "at_hash": half,
            **person,
        }
        header = {"alg": "ES256", "kid": self.keys[0].kid, **self.header}
        id_token = self.sign(header, changed(claims, self.claims))
        return Response.of({"access_token": access_token, "token_type": "Bearer", "id_token": id_token})

    async def _keys(self, _: Asking) -> Response:
        return Response.of({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def _userinfo(self, asking: Asking) -> Response:
        person = self._access_tokens.get(asking.headers.get("authorization", "").removeprefix("Bearer "))
        if person is None or self.userinfo is None:
            return Response.of({"error": "invalid_token"}, 401)
        return Response.of({"sub": person["sub"], **self.userinfo})

    def _sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return jws.serialize_compact(header, json.dumps(claims), self.keys[0], algorithms=[header["alg"]])


def changed(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with changes; None takes a member away."""
    return {name: value for name, value in {**document, **changes}.items() if value is not None}


def fragment(address: str) -> dict[str, str]:
    """Return what a page is told behind the `#`."""
    return dict(parse_qsl(urlsplit(address).fragment))


def query(address: str) -> dict[str, str]:
    """Return the query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def location(response: httpx2.Response) -> str:
    """Return where a browser is sent."""
    assert response.status_code == 303, response.text
    assert not response.content
    return response.headers["location"]


class Browser:
    """A browser without scripts: it keeps cookies, and goes only where it is told.

    Args:
        server: where its owner wants to log in.
    """

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.http = server.client()

    async def open(self, address: str) -> httpx2.Response:
        """Open an address of the server or of anybody else."""
        if address.startswith(("/", self._server.url)):
            return await self.http.get(address)
        async with httpx2.AsyncClient(trust_env=False, verify=False) as elsewhere:
            return await elsewhere.get(address)

    async def begin(self, provider: str = "company", return_to: str = "/inbox") -> str:
        """Go to a provider, and return where it sends one back to."""
        start = await self.http.get(f"{API}/sessions/oidc/{provider}/start", params={"return_to": return_to})
        return location(await self.open(location(start)))

    async def log_in(self, provider: str = "company", return_to: str = "/inbox") -> str:
        """Go to a provider and back, and return the page that one ends on."""
        return location(await self.open(await self.begin(provider, return_to)))

    async def link(self, provider: str = "company", return_to: str = "/account") -> str:
        """Go to a provider to link it, and return where it sends one back to."""
        headers = {"X-CSRF-Token": self.http.cookies["courtyard_csrf"]}
        begun = await self.http.post(f"{API}/me/identities/{provider}", json={"return_to": return_to}, headers=headers)
        assert begun.status_code == 202, begun.text
        return location(await self.open(begun.json()["authorization_url"]))

    async def me(self) -> httpx2.Response:
        """Ask who is signed in."""
        return await self.http.get(f"{API}/me")

    async def identities(self) -> list[dict[str, Any]]:
        """Return the identities of who is signed in."""
        listed: list[dict[str, Any]] = (await self.http.get(f"{API}/me/identities")).json()
        return listed
