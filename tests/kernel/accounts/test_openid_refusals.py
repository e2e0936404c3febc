"""An OpenID provider that misbehaves on purpose, and people who bring back what is not theirs."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import ECKey
from sqlalchemy import func, select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.accounts.models import ExternalIdentityRow, SessionRow
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import ok, problem, unique
from tests.openid import Answer, Asking, Browser, OpenidStandIn, Response, fragment, location, query, somebody
from tests.running import MovableClock, RunningServer

SECONDS = 10


async def rows(server: RunningServer, company: OpenidStandIn) -> tuple[int, int, int]:
    """Return how many accounts, identities and sessions the person at the provider has."""
    assert company.person is not None
    of_account = AccountRow.email == company.person["email"]
    counts = [
        select(func.count()).select_from(AccountRow).where(of_account),
        select(func.count()).where(ExternalIdentityRow.subject == company.person["sub"]),
        select(func.count())
        .select_from(SessionRow)
        .join(AccountRow, AccountRow.id == SessionRow.account_id)
        .where(of_account),
    ]
    found = [await ReadUnit(server.runtime.placement).one(Prepared(count, int)) for count in counts]
    return found[0], found[1], found[2]


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}."


def with_the_public_key(company: OpenidStandIn) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    """Sign with what everybody knows, in the hope that it is taken for a shared secret."""

    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        key = company.keys[0]
        assert isinstance(key, ECKey)
        # By hand: the library refuses to do this.
        signed = f"{encoded({**header, 'alg': 'HS256'})}.{encoded(claims)}"
        digest = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    return sign


def with_another_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jws.serialize_compact(header, json.dumps(claims), ECKey.generate_key("P-256"), algorithms=["ES256"])


@dataclass
class Lie:
    """What the provider says wrong, and what is answered to it."""

    reason: str
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None


LIES = {
    "another issuer": Lie("wrong_issuer", {"iss": "https://login.example.org"}),
    "no issuer": Lie("malformed", {"iss": None}),
    "another audience": Lie("wrong_audience", {"aud": "somebody-else"}),
    "several audiences, and not the party that asked": Lie("wrong_audience", {"aud": ["courtyard", "somebody-else"]}),
    "another authorized party": Lie("wrong_audience", {"aud": ["courtyard"], "azp": "somebody-else"}),
    "expired": Lie("expired", {"exp": 1_700_000_000}),
    "issued in the future": Lie("issued_in_the_future", {"iat": 4_000_000_000, "exp": 4_000_000_300}),
    "no end": Lie("malformed", {"exp": None}),
    "another nonce": Lie("wrong_nonce", {"nonce": "n" * 43}),
    "no nonce": Lie("wrong_nonce", {"nonce": None}),
    "the digest of another access token": Lie("wrong_access_token", {"at_hash": "a" * 22}),
    "no subject": Lie("malformed", {"sub": None}),
    "a subject that is too long": Lie("malformed", {"sub": "s" * 256}),
    "a subject that no column can hold": Lie("malformed", {"sub": "\x00"}),
    "a number for a subject": Lie("malformed", {"sub": 7}),
    "an unknown key": Lie("unknown_key", header={"kid": "nobody-has-it"}),
    "a signature of another key": Lie("wrong_signature", sign=with_another_key),
    "no signature": Lie("algorithm_not_allowed", sign=unsigned),
    "no token": Lie("malformed", sign=lambda _, __: "not.a.token"),
    "a token of one part": Lie("malformed", sign=lambda _, __: "x"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_token_that_proves_nothing_lets_nobody_in(
    server: RunningServer, browser: Browser, company: OpenidStandIn, name: str
) -> None:
    lie = LIES[name]
    company.person = somebody()
    company.claims, company.header = lie.claims, lie.header
    company.sign = lie.sign or company.sign
    back = await browser.begin()
    answer = await browser.open(back)
    assert fragment(location(answer)) == {"error": "invalid_provider_answer", "reason": lie.reason}
    assert "set-cookie" not in answer.headers
    assert await rows(server, company) == (0, 0, 0)
    # It has been used up.
    company.behave()
    assert fragment(location(await browser.open(back))) == {"error": "invalid_challenge"}


async def test_a_public_key_is_no_shared_secret(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    company.sign = with_the_public_key(company)
    told = fragment(await browser.log_in())
    assert told == {"error": "invalid_provider_answer", "reason": "algorithm_not_allowed"}
    assert await rows(server, company) == (0, 0, 0)


async def test_it_is_no_better_where_the_provider_says_that_it_signs_so(
    server_factory: ServerFactory, company: OpenidStandIn
) -> None:
    company.metadata = {"id_token_signing_alg_values_supported": ["none", "HS256", "ES256"]}
    server = await server_factory(accounts={"oidc": {"company": company.settings()}})
    company.sign = with_the_public_key(company)
    reason = "algorithm_not_allowed"
    assert fragment(await Browser(server).log_in())["reason"] == reason
    company.sign = unsigned
    assert fragment(await Browser(server).log_in())["reason"] == reason
    # And one that is good, where the provider does not say that it uses it.
    company.behave()
    company.metadata = {"id_token_signing_alg_values_supported": ["RS256"]}
    server = await server_factory(accounts={"oidc": {"company": company.settings()}})
    assert fragment(await Browser(server).log_in())["reason"] == reason


async def test_what_is_said_of_somebody_else_is_not_taken(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    company.claims = {"email": None}
    company.userinfo = {"sub": "somebody-else", "email": company.person["email"], "email_verified": True}
    told = fragment(await browser.log_in())
    assert told == {"error": "invalid_provider_answer", "reason": "wrong_subject"}
    assert await rows(server, company) == (0, 0, 0)


async def test_the_word_of_one_place_does_not_verify_the_address_of_another(
    browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody(name="Ada")
    company.claims = {"email": None}
    company.userinfo = {"email": f"{unique('eve')}@example.org", "name": "Eve"}
    assert fragment(await browser.log_in()) == {"error": "email_not_verified"}


async def test_the_person_said_no(server: RunningServer, browser: Browser, company: OpenidStandIn) -> None:
    company.person = somebody()
    asked = query(location(await browser.http.get(f"{API}/sessions/oidc/company/start")))
    back = {"state": asked["state"], "error": "access_denied", "iss": company.issuer}
    callback = f"{API}/sessions/oidc/company/callback"
    page = location(await browser.http.get(callback, params=back))
    assert fragment(page) == {"error": "provider_refused", "reason": "access_denied"}
    assert fragment(location(await browser.http.get(callback, params=back))) == {"error": "invalid_challenge"}
    # What a provider makes up is not repeated.
    asked = query(location(await browser.http.get(f"{API}/sessions/oidc/company/start")))
    strange = {"state": asked["state"], "error": "<script>", "iss": company.issuer}
    page = location(await browser.http.get(callback, params=strange))
    assert fragment(page) == {"error": "provider_refused", "reason": "other"}
    assert await rows(server, company) == (0, 0, 0)


@pytest.mark.parametrize("sent", [{}, {"state": ""}, {"state": "x" * 43, "code": "x"}, {"code": "x"}, {"error": "x"}])
async def test_what_was_never_asked_for_leads_to_the_front_page(
    server: RunningServer, browser: Browser, sent: dict[str, str]
) -> None:
    page = location(await browser.http.get(f"{API}/sessions/oidc/company/callback", params=sent))
    assert page == f"{server.url}/#error=invalid_challenge"


async def test_a_code_counts_once(server: RunningServer, browser: Browser, company: OpenidStandIn) -> None:
    company.person = somebody()
    # Even where the provider would take it again.
    company.forgives = True
    back = await browser.begin()
    assert "error" not in fragment(location(await browser.open(back)))
    asked = company.asked["/token"]
    assert fragment(location(await browser.open(back))) == {"error": "invalid_challenge"}
    assert company.asked["/token"] == asked
    assert await rows(server, company) == (1, 1, 1)


async def test_of_many_at_once_with_one_code_one_is_let_in(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    company.forgives = True
    back = await browser.begin()
    pages = await asyncio.gather(*(browser.open(back) for _ in range(5)))
    codes = sorted(fragment(location(page)).get("error", "") for page in pages)
    assert codes == ["", *["invalid_challenge"] * 4]
    assert await rows(server, company) == (1, 1, 1)


async def test_of_two_first_logins_at_once_one_makes_the_account_and_both_get_in(
    server: RunningServer, company: OpenidStandIn
) -> None:
    company.person = somebody()
    browsers = [Browser(server) for _ in range(4)]
    pages = await asyncio.gather(*(browser.log_in() for browser in browsers))
    assert {fragment(page).get("error") for page in pages} == {None}
    assert len({ok(await browser.me())["id"] for browser in browsers}) == 1
    assert await rows(server, company) == (1, 1, 4)


async def test_a_login_does_not_end_in_another_browser(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    victim = Browser(server)
    await victim.http.get(f"{API}/sessions/oidc/company/start")
    back = await browser.begin()
    # The attacker's way back, opened by the victim: with it, the victim would write into the attacker's account.
    assert fragment(location(await victim.open(back))) == {"error": "invalid_challenge"}
    problem(await victim.me(), 401, "unauthenticated")
    proof = {"code": query(back)["code"], "state": query(back)["state"], "iss": company.issuer}
    answer = await victim.http.post(f"{API}/sessions/oidc/company/proof", json=proof)
    problem(answer, 400, "invalid_challenge")
    assert not company.asked["/token"]
    assert "error" not in fragment(location(await browser.open(back)))


async def test_a_stolen_code_is_good_in_no_other_login(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    stolen = query(await browser.begin())["code"]
    thief = Browser(server)
    own = query(await thief.begin())
    callback = f"{API}/sessions/oidc/company/callback"
    inject = {"code": stolen, "state": own["state"], "iss": company.issuer}
    told = fragment(location(await thief.http.get(callback, params=inject)))
    # The provider sees that the verifier is not that of the login for which it gave the code.
    assert told == {"error": "provider_refused", "reason": "invalid_grant"}
    # A provider that does not look says by the nonce whose login it was.
    company.forgives = True
    stolen, own = query(await browser.begin())["code"], query(await thief.begin())
    inject = {"code": stolen, "state": own["state"], "iss": company.issuer}
    told = fragment(location(await thief.http.get(callback, params=inject)))
    assert told == {"error": "invalid_provider_answer", "reason": "wrong_nonce"}
    assert await rows(server, company) == (0, 0, 0)


async def test_one_provider_is_not_taken_for_another(
    server: RunningServer, browser: Browser, company: OpenidStandIn, partner: OpenidStandIn
) -> None:
    company.person = somebody()
    before = (company.asked["/token"], partner.asked["/token"])
    back = await browser.begin("company")
    # The way back of one, with the state of the other.
    mixed = back.replace("/oidc/company/", "/oidc/partner/")
    assert fragment(location(await browser.open(mixed))) == {"error": "invalid_challenge"}
    proof = {name: query(back)[name] for name in ("code", "state")}
    answer = await browser.http.post(f"{API}/sessions/oidc/partner/proof", json=proof)
    problem(answer, 400, "invalid_challenge")
    # The answer of another, at the right address (RFC 9207).
    other = back.replace(query(back)["iss"].replace(":", "%3A").replace("/", "%2F"), "https%3A%2F%2Flogin.example.org")
    assert other != back
    told = fragment(location(await browser.open(other)))
    assert told == {"error": "invalid_provider_answer", "reason": "wrong_issuer"}
    assert (company.asked["/token"], partner.asked["/token"]) == before
    assert await rows(server, company) == (0, 0, 0)


async def test_a_provider_that_says_who_answers_always_says_it(
    server_factory: ServerFactory, company: OpenidStandIn
) -> None:
    company.sends_issuer = False
    server = await server_factory(accounts={"oidc": {"company": company.settings()}})
    assert "error" not in fragment(await Browser(server).log_in())
    company.metadata = {"authorization_response_iss_parameter_supported": True}
    server = await server_factory(accounts={"oidc": {"company": company.settings()}})
    assert fragment(await Browser(server).log_in())["reason"] == "wrong_issuer"


async def test_a_login_that_takes_too_long_has_to_begin_again(
    server_factory: ServerFactory, clock: MovableClock, company: OpenidStandIn
) -> None:
    server = await server_factory(clock=clock, accounts={"oidc": {"company": company.settings()}})
    browser = Browser(server)
    back = await browser.begin()
    clock.move(seconds=601)
    assert location(await browser.open(back)) == f"{server.url}/#error=invalid_challenge"
    assert not company.asked["/token"]


# -------------------------------------------------------------------------------- where the browser is sent to

FOREIGN = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "inbox",
    "?x",
    "#x",
]


@pytest.mark.parametrize("page", FOREIGN)
async def test_nobody_is_sent_to_a_page_of_others(browser: Browser, company: OpenidStandIn, page: str) -> None:
    for answer in (
        await browser.http.get(f"{API}/sessions/oidc/company/start", params={"return_to": page}),
        await browser.http.post(f"{API}/sessions/oidc/company", json={"return_to": page}),
    ):
        assert answer.status_code == 400
        assert answer.json()["code"] in {"foreign_return", "invalid_input"}
    assert not company.asked["/authorize"]


@pytest.mark.parametrize("tail", ["@evil.example/", ".evil.example/", ":1/"])
async def test_nor_to_one_that_begins_like_ours(server: RunningServer, browser: Browser, tail: str) -> None:
    page = {"return_to": server.url + tail}
    problem(await browser.http.get(f"{API}/sessions/oidc/company/start", params=page), 400, "foreign_return")


async def test_pages_of_this_installation(server_factory: ServerFactory, company: OpenidStandIn) -> None:
    server = await server_factory(
        server={"cors_origins": "https://shop.example.org"},
        accounts={
            "oidc": {"company": company.settings()},
            "link_url": "https://www.example.org/app/{purpose}#{token}",
        },
    )
    pages = {
        "/inbox?a=b#c": f"{server.url}/inbox?a=b#c",
        f"{server.url}/inbox": f"{server.url}/inbox",
        "https://shop.example.org/cart": "https://shop.example.org/cart",
        "https://www.example.org/any": "https://www.example.org/any",
    }
    for page, end in pages.items():
        assert await Browser(server).log_in(return_to=page) == end
    browser = Browser(server)
    start = await browser.http.get(f"{API}/sessions/oidc/company/start")
    back = location(await browser.open(location(start)))
    assert location(await browser.open(back)) == "https://www.example.org/app/"


# ---------------------------------------------------------------------------------------- a provider that is away


async def test_a_provider_that_is_away(server_factory: ServerFactory, company: OpenidStandIn) -> None:
    server = await server_factory(
        accounts={"oidc": {"company": company.settings(issuer="http://127.0.0.1:9"), "other": company.settings()}}
    )
    browser = Browser(server)
    page = location(await browser.http.get(f"{API}/sessions/oidc/company/start", params={"return_to": "/inbox"}))
    assert page == f"{server.url}/inbox#error=provider_unavailable"
    answer = await browser.http.post(f"{API}/sessions/oidc/company", json={})
    assert int(answer.headers["retry-after"]) >= 1
    problem(answer, 503, "provider_unavailable")
    assert "error" not in fragment(await browser.log_in("other"))


async def slow(_: Asking) -> Response:
    await asyncio.sleep(SECONDS)
    return Response()


async def failing(_: Asking) -> Response:
    return Response(500)


@pytest.mark.parametrize("answer", [slow, failing])
@pytest.mark.parametrize("path", ["/token", "/keys", "/userinfo"])
async def test_a_login_can_still_be_ended_when_the_provider_is_back(
    server_factory: ServerFactory, company: OpenidStandIn, path: str, answer: Answer
) -> None:
    company.person, company.forgives = somebody(), True
    company.claims = {"name": None}
    company.userinfo = {"name": "Ada"}
    server = await server_factory(accounts={"oidc": {"company": company.settings(timeout_seconds=0.3)}})
    browser = Browser(server)
    back = await browser.begin()
    company.answers = {path: answer}
    assert fragment(location(await browser.open(back))) == {"error": "provider_unavailable"}
    assert await rows(server, company) == (0, 0, 0)
    company.answers = {}
    assert "error" not in fragment(location(await browser.open(back)))
    assert await rows(server, company) == (1, 1, 1)


async def test_a_slow_provider_holds_nobody_else_up(
    browser: Browser, nobody: httpx2.AsyncClient, company: OpenidStandIn
) -> None:
    company.person = somebody()
    back = await browser.begin()
    asked, go_on = asyncio.Event(), asyncio.Event()
    right = company._token

    async def waiting(asking: Asking) -> Response:
        asked.set()
        await go_on.wait()
        return await right(asking)

    company.answers = {"/token": waiting}
    login = asyncio.create_task(browser.open(back))
    async with asyncio.timeout(SECONDS):
        await asked.wait()
        # A change by somebody else, while the provider is being asked.
        ok(await nobody.post("/sessions/anonymous", json={"name": "Visitor"}))
    assert not login.done()
    go_on.set()
    assert "error" not in fragment(location(await login))
