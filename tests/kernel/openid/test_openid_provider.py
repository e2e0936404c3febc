"""A provider as the server sees it: its documents, how long they are believed, and what is not taken from it."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from courtyard.kernel.openid import (
    Answered,
    Authorization,
    InvalidProviderAnswer,
    Person,
    Provider,
    ProviderAway,
    ProviderRefused,
    Providers,
)
from courtyard.kernel.openid.provider import _leads_somewhere
from courtyard.kernel.openid.transport import MAX_BYTES
from courtyard.kernel.settings_openid import OpenidProvider
from tests.openid import CLIENT_ID, Asking, OpenidStandIn, Response, query, somebody
from tests.running import MovableClock

BACK = "http://127.0.0.1:8000/back"
DISCOVERY = "/.well-known/openid-configuration"

Make = Callable[..., Provider]


@pytest.fixture
async def make(company: OpenidStandIn, clock: MovableClock) -> AsyncIterator[Make]:
    """Makes what the server has of the provider, with nothing known of it yet."""
    made: list[Providers] = []

    def one(**changes: Any) -> Provider:
        providers = Providers({"company": OpenidProvider(**company.settings(**changes))}, clock)
        made.append(providers)
        return providers.all()[0]

    yield one
    for providers in made:
        await providers.close()


async def visit(authorization: Authorization) -> Answered:
    """Go to the provider, and return what one brings back."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        sent = await browser.get(authorization.url("state"))
    back = query(sent.headers["location"])
    assert back["state"] == "state"
    return Answered(back["code"], back.get("iss"))


async def log_in(provider: Provider) -> Person:
    authorization = await provider.authorize(BACK)
    return await provider.identify(authorization.asked, await visit(authorization))


def reason_of(problem: pytest.ExceptionInfo[InvalidProviderAnswer]) -> str:
    return str(problem.value.extra["reason"])


async def test_a_login(make: Make, company: OpenidStandIn) -> None:
    company.person = somebody(name="Ada")
    assert await log_in(make()) == Person(
        subject=company.person["sub"], email=company.person["email"], email_verified=True, name="Ada"
    )


async def test_documents_are_asked_for_once_an_hour(make: Make, company: OpenidStandIn, clock: MovableClock) -> None:
    provider = make()
    for _ in range(3):
        await log_in(provider)
    assert (company.asked[DISCOVERY], company.asked["/keys"]) == (1, 1)
    clock.move(minutes=59)
    await provider.authorize(BACK)
    assert company.asked[DISCOVERY] == 1
    clock.move(minutes=2)
    await provider.authorize(BACK)
    assert company.asked[DISCOVERY] == 2


async def test_many_at_once_ask_once(make: Make, company: OpenidStandIn) -> None:
    provider = make()
    await asyncio.gather(*(log_in(provider) for _ in range(10)))
    assert (company.asked[DISCOVERY], company.asked["/keys"]) == (1, 1)


async def test_many_at_once_wait_for_one_that_is_away_together(make: Make, company: OpenidStandIn) -> None:
    async def slow(_: Asking) -> Response:
        await asyncio.sleep(5)
        return Response()

    company.answers = {DISCOVERY: slow}
    provider = make(timeout_seconds=0.5)
    started = asyncio.get_running_loop().time()
    failures = await asyncio.gather(*(provider.authorize(BACK) for _ in range(10)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {ProviderAway}
    # Not one after the other, which would be five seconds.
    assert asyncio.get_running_loop().time() - started < 3
    assert company.asked[DISCOVERY] == 1
    # Whoever comes later does not suffer for it.
    company.answers = {}
    await provider.authorize(BACK)


async def test_a_provider_that_changes_its_key_is_believed_at_once(make: Make, company: OpenidStandIn) -> None:
    provider = make()
    await log_in(provider)
    company.rotate_key()
    await log_in(provider)
    assert company.asked["/keys"] == 2


async def test_keys_that_are_not_there_are_not_looked_for_again_and_again(
    make: Make, company: OpenidStandIn, clock: MovableClock
) -> None:
    provider = make()
    await log_in(provider)
    company.header = {"kid": "nobody-has-it"}
    for _ in range(5):
        with pytest.raises(InvalidProviderAnswer) as problem:
            await log_in(provider)
        assert reason_of(problem) == "unknown_key"
    assert company.asked["/keys"] == 2
    clock.move(seconds=11)
    with pytest.raises(InvalidProviderAnswer):
        await log_in(provider)
    assert company.asked["/keys"] == 3


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSAKey.generate_key(2048)),
        ("RS512", RSAKey.generate_key(2048)),
        ("PS256", RSAKey.generate_key(2048)),
        ("ES384", ECKey.generate_key("P-384")),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
async def test_algorithms(make: Make, company: OpenidStandIn, algorithm: str, key: Key) -> None:
    company.metadata = {"id_token_signing_alg_values_supported": [algorithm]}
    company.header, company.claims = {"alg": algorithm, "kid": None}, {"at_hash": None}
    other = OKPKey.generate_key("X25519", {"use": "enc"})

    async def keys(_: Asking) -> Response:
        # Without ids, beside one for something else and one of a kind that nobody knows.
        return Response.of({"keys": [other.as_dict(private=False), {"kty": "AKP"}, key.as_dict(private=False)]})

    def sign(_: dict[str, Any], claims: dict[str, Any]) -> str:
        return jws.serialize_compact({"alg": algorithm}, json.dumps(claims), key, algorithms=[algorithm])

    company.answers, company.sign = {"/keys": keys}, sign
    person = await log_in(make())
    assert person.email_verified


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_key_that_is_too_short_proves_nothing(make: Make, company: OpenidStandIn) -> None:
    company.keys = [RSAKey.generate_key(1024, {"kid": uuid4().hex})]
    company.header = {"alg": "RS256"}
    try:
        with pytest.raises(InvalidProviderAnswer) as problem:
            await log_in(make())
    finally:
        company.rotate_key()
    assert reason_of(problem) == "weak_key"


async def test_of_two_keys_without_a_name_none_is_guessed(make: Make, company: OpenidStandIn) -> None:
    keys = [ECKey.generate_key("P-256").as_dict(private=False) for _ in range(2)]

    async def answer(_: Asking) -> Response:
        return Response.of({"keys": keys})

    company.answers = {"/keys": answer}
    company.header = {"kid": uuid4().hex}
    with pytest.raises(InvalidProviderAnswer) as problem:
        await log_in(make())
    assert reason_of(problem) == "unknown_key"


@pytest.mark.parametrize("methods", [None, ["client_secret_basic"], ["client_secret_post"]])
@pytest.mark.parametrize("changes", [{}, {"client_secret": None}], ids=["confidential", "public"])
async def test_how_the_server_proves_itself(
    make: Make, company: OpenidStandIn, methods: list[str] | None, changes: dict[str, Any]
) -> None:
    company.metadata = {"token_endpoint_auth_methods_supported": methods}
    person = await log_in(make(**changes))
    assert person.subject


async def test_a_wrong_secret(make: Make, company: OpenidStandIn) -> None:
    assert company.asked["/token"] == 0
    with pytest.raises(ProviderRefused) as problem:
        await log_in(make(client_secret="another one"))
    assert problem.value.extra["reason"] == "invalid_client"


# ------------------------------------------------------------------------------------------- documents that lie


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"issuer": "https://login.example.org"}, "wrong_issuer"),
        ({"issuer": None}, "malformed"),
        ({"token_endpoint": None}, "malformed"),
        ({"jwks_uri": 7}, "malformed"),
        ({"token_endpoint": "file:///etc/passwd"}, "unsafe_endpoint"),
        ({"token_endpoint": "/token"}, "unsafe_endpoint"),
        ({"token_endpoint": "http://user:word@127.0.0.1/token"}, "unsafe_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "unsafe_endpoint"),
        ({"authorization_endpoint": "https://login.example.org/\r\nSet-Cookie: x"}, "unsafe_endpoint"),
        ({"userinfo_endpoint": "gopher://127.0.0.1"}, "unsafe_endpoint"),
        ({"jwks_uri": "http://[::1"}, "unsafe_endpoint"),
    ],
)
async def test_a_discovery_document_that_cannot_be_used(
    make: Make, company: OpenidStandIn, metadata: dict[str, Any], reason: str
) -> None:
    company.metadata = metadata
    with pytest.raises(InvalidProviderAnswer) as problem:
        await make().authorize(BACK)
    assert reason_of(problem) == reason


def test_whoever_is_reached_by_https_does_not_lead_to_http() -> None:
    assert _leads_somewhere("https://login.example.org/token?tenant=a", {"https"})
    assert not _leads_somewhere("http://login.example.org/token", {"https"})


HTML = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}
ANSWERS = {
    "too_large": Response(body=b"[" + b" " * MAX_BYTES + b"]", headers=JSON),
    "redirect": Response(302, headers={"location": "http://169.254.169.254/latest/meta-data"}),
    "not_json": Response(body=b"{}", headers=HTML),
    "malformed": Response(body=b"{", headers=JSON),
    "compressed": Response(body=gzip.compress(b"{}"), headers={**JSON, "content-encoding": "gzip"}),
}


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token", "/userinfo"])
@pytest.mark.parametrize("reason", ANSWERS)
async def test_an_answer_that_is_none(make: Make, company: OpenidStandIn, path: str, reason: str) -> None:
    async def answer(_: Asking) -> Response:
        return ANSWERS[reason]

    company.person, company.claims = somebody(), {"email": None}
    company.answers = {path: answer}
    with pytest.raises(InvalidProviderAnswer) as problem:
        await log_in(make())
    assert reason_of(problem) == reason
    assert company.asked[path] == 1


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/userinfo"])
async def test_a_page_that_is_not_there(make: Make, company: OpenidStandIn, path: str) -> None:
    async def answer(_: Asking) -> Response:
        return Response(404)

    company.person, company.claims = somebody(), {"email": None}
    company.answers = {path: answer}
    with pytest.raises(InvalidProviderAnswer):
        await log_in(make())


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_provider_that_says_to_come_again(make: Make, company: OpenidStandIn, status: int) -> None:
    async def answer(_: Asking) -> Response:
        return Response(status)

    company.answers = {"/token": answer}
    with pytest.raises(ProviderAway):
        await log_in(make())


async def test_a_provider_that_sends_a_word_a_minute(make: Make) -> None:
    """The time is that of the whole answer, not of each part of it."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        provider = make(issuer=f"http://127.0.0.1:{port}", timeout_seconds=0.3)
        async with asyncio.timeout(10):
            with pytest.raises(ProviderAway):
                await provider.authorize(BACK)


async def test_cookies_of_a_provider_are_not_sent_back(make: Make, company: OpenidStandIn) -> None:
    seen: list[str | None] = []
    right = company._discovery

    async def answer(asking: Asking) -> Response:
        seen.append(asking.headers.get("cookie"))
        response = await right(asking)
        return Response(200, response.body, {**response.headers, "set-cookie": "who=the-last-one; Path=/"})

    company.answers = {DISCOVERY: answer}
    provider = make()
    await provider.authorize(BACK)
    company.answers = {DISCOVERY: answer, "/keys": answer}
    with pytest.raises(InvalidProviderAnswer):
        await log_in(provider)
    assert seen == [None, None]


async def test_the_address_of_a_provider_may_have_a_query(make: Make, company: OpenidStandIn) -> None:
    company.metadata = {"authorization_endpoint": f"{company.issuer}/authorize?tenant=a"}
    asked = query((await make().authorize(BACK)).url("s"))
    assert (asked["tenant"], asked["client_id"], asked["state"]) == ("a", CLIENT_ID, "s")


async def test_errors_that_are_the_providers_own_leave_the_login_open(make: Make, company: OpenidStandIn) -> None:
    provider = make()
    authorization = await provider.authorize(BACK)
    for error in ("server_error", "temporarily_unavailable"):
        with pytest.raises(ProviderAway):
            await provider.identify(authorization.asked, Answered(None, company.issuer, error))
    with pytest.raises(ProviderRefused):
        await provider.identify(authorization.asked, Answered(None, company.issuer, "login_required"))
    # Nor is an error believed that somebody else sends.
    with pytest.raises(InvalidProviderAnswer):
        await provider.identify(authorization.asked, Answered(None, "https://login.example.org", "server_error"))
