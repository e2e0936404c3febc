"""Logging in at an OpenID provider that keeps to the rules, and linking it."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import Select, func, or_, select, update

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.accounts.models import ChallengeRow, ExternalIdentityRow
from courtyard.kernel.crypto import digest_token
from courtyard.kernel.database import Prepared, ReadUnit, UnitOfWork
from courtyard.kernel.http import API, BROWSER_COOKIE
from tests.conftest import ServerFactory
from tests.credentials import set_up_app
from tests.entries import details, entries
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.mailbox import Mailbox
from tests.openid import Browser, OpenidStandIn, fragment, location, query, somebody
from tests.running import MovableClock, RunningServer

KEY = "a secret that this client alone has".replace(" ", "-")
INBOX = "/inbox"


async def count(server: RunningServer, statement: Select[Any]) -> int:
    return await ReadUnit(server.runtime.placement).one(Prepared(statement, int))


async def accounts_of(server: RunningServer, email: str) -> int:
    return await count(server, select(func.count()).where(AccountRow.email == email))


async def identities_of(server: RunningServer, subject: str) -> int:
    return await count(server, select(func.count()).where(ExternalIdentityRow.subject == subject))


async def signed_in(server: RunningServer, person: Person) -> Browser:
    """Return the browser of somebody who has an account."""
    browser = Browser(server)
    ok(await browser.http.post(f"{API}/sessions", json={"email": person.email, "password": PASSWORD, "cookies": True}))
    return browser


async def test_the_providers_are_listed(nobody: httpx2.AsyncClient) -> None:
    assert ok(await nobody.get("/sessions/oidc")) == [
        {"name": "company", "label": "Company"},
        {"name": "partner", "label": "Company"},
    ]


async def test_somebody_new_gets_an_account_and_is_signed_in_by_cookies(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody(name="Ada Lovelace")
    assert await browser.log_in() == f"{server.url}{INBOX}"
    me = ok(await browser.me())
    assert (me["kind"], me["name"], me["email"]) == ("person", "Ada Lovelace", company.person["email"])
    (session,) = ok(await browser.http.get(f"{API}/sessions"))
    assert session["methods"] == ["oidc"]
    (identity,) = await browser.identities()
    assert (identity["provider"], identity["label"], identity["email"]) == ("company", "Company", me["email"])
    assert identity["used_at"] is not None


async def test_the_same_person_comes_back_to_the_same_account_whatever_their_address(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    await browser.log_in()
    first = ok(await browser.me())["id"]
    moved = f"{unique('moved')}@example.org"
    company.person = {**company.person, "email": moved, "email_verified": False}
    other = Browser(server)
    await other.log_in()
    assert ok(await other.me())["id"] == first
    assert (await other.identities())[0]["email"] == moved
    assert await accounts_of(server, moved) == 0


async def test_two_providers_are_two_people(
    server: RunningServer, company: OpenidStandIn, partner: OpenidStandIn
) -> None:
    company.person = somebody()
    partner.person = somebody(sub=company.person["sub"])
    browsers = [Browser(server), Browser(server)]
    pages = await asyncio.gather(browsers[0].log_in("company"), browsers[1].log_in("partner"))
    assert set(pages) == {f"{server.url}{INBOX}"}
    ids = {ok(await browser.me())["id"] for browser in browsers}
    assert len(ids) == 2


async def test_what_goes_to_the_provider(server: RunningServer, browser: Browser, company: OpenidStandIn) -> None:
    start = await browser.http.get(f"{API}/sessions/oidc/company/start")
    address = location(start)
    assert address.startswith(f"{company.issuer}/authorize?")
    asked = query(address)
    assert asked["redirect_uri"] == f"{server.url}{API}/sessions/oidc/company/callback"
    assert asked["scope"] == "openid email profile"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert start.headers["cache-control"] == "no-store"
    (cookie,) = start.headers.get_list("set-cookie")
    assert cookie.startswith(f"{BROWSER_COOKIE}=")
    assert "HttpOnly" in cookie
    # Lax: it is sent when the provider sends the browser back, which is a GET of a whole page.
    assert "SameSite=lax" in cookie
    again = query(location(await browser.http.get(f"{API}/sessions/oidc/company/start")))
    assert all(again[name] != asked[name] for name in ("state", "nonce", "code_challenge"))


async def test_a_page_of_the_same_site_asks_for_the_address_itself(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    begun = await browser.http.post(f"{API}/sessions/oidc/company", json={"return_to": "/x?a=1#/b"})
    assert begun.status_code == 202
    back = location(await browser.open(begun.json()["authorization_url"]))
    assert location(await browser.open(back)) == f"{server.url}/x?a=1#/b"
    assert ok(await browser.me())["kind"] == "person"
    assert company.asked["/token"] == 1


async def test_a_client_that_keeps_its_tokens_is_handed_what_came_back(
    server: RunningServer, nobody: httpx2.AsyncClient, company: OpenidStandIn
) -> None:
    company.person = somebody()
    begun = await nobody.post("/sessions/oidc/company", json={"return_to": INBOX, "browser_key": KEY})
    assert "set-cookie" not in begun.headers
    stranger = Browser(server)
    page = location(await stranger.open(location(await stranger.open(begun.json()["authorization_url"]))))
    assert page.startswith(f"{server.url}{INBOX}#")
    told = fragment(page)
    assert told.pop("provider") == "company"
    assert told["iss"] == company.issuer
    # Whoever else has read the address has not begun the login.
    problem(await nobody.post("/sessions/oidc/company/proof", json=told), 400, "invalid_challenge")
    answer = await nobody.post("/sessions/oidc/company/proof", json={**told, "browser_key": KEY})
    assert answer.status_code == 201
    assert answer.json()["account"]["email"] == company.person["email"]
    assert answer.json()["refresh_token"]
    problem(
        await nobody.post("/sessions/oidc/company/proof", json={**told, "browser_key": KEY}), 400, "invalid_challenge"
    )


async def test_claims_that_are_not_in_the_token_are_asked_for(browser: Browser, company: OpenidStandIn) -> None:
    company.person = {"sub": unique("sub")}
    company.userinfo = {"email": f"{unique('ada')}@example.org", "email_verified": True, "name": "Ada"}
    await browser.log_in()
    me = ok(await browser.me())
    assert (me["email"], me["name"]) == (company.userinfo["email"], "Ada")
    assert company.asked["/userinfo"] == 1


async def test_without_a_name_the_account_has_that_of_the_address(browser: Browser, company: OpenidStandIn) -> None:
    company.person = somebody(name="\x00")
    await browser.log_in()
    assert ok(await browser.me())["name"] == company.person["email"].partition("@")[0]


async def test_an_account_that_has_the_address_is_not_opened_by_it(
    server: RunningServer, make: Factory, browser: Browser, company: OpenidStandIn
) -> None:
    person = await make.person()
    company.person = somebody(email=person.email)
    assert fragment(await browser.log_in()) == {"error": "link_first"}
    problem(await browser.me(), 401, "unauthenticated")
    assert await identities_of(server, company.person["sub"]) == 0


async def test_a_provider_that_is_trusted_with_addresses_opens_the_account_that_has_one(
    server_factory: ServerFactory, company: OpenidStandIn
) -> None:
    server = await server_factory(accounts={"oidc": {"company": company.settings(trust_email=True)}})
    make = Factory(server)
    person, browser = await make.person(), Browser(server)
    company.person = somebody(email=(person.email or "").upper(), email_verified=False)
    assert fragment(await browser.log_in()) == {"error": "email_not_verified"}
    company.person["email_verified"] = True
    await browser.log_in()
    assert ok(await browser.me())["id"] == str(person.id)
    mail = await Mailbox(server.settings.data_path).wait_for(person.email or "", "accounts.login_provider_changed")
    assert "Company" in mail.text
    # The account has one identity there: whoever else comes with the address is not let in.
    company.person = {**company.person, "sub": unique("sub")}
    assert fragment(await Browser(server).log_in()) == {"error": "already_linked"}


@pytest.mark.parametrize("claims", [{"email": None}, {"email_verified": None}, {"email_verified": "no"}, {"email": 7}])
async def test_nobody_gets_an_account_without_a_verified_address(
    server: RunningServer, browser: Browser, company: OpenidStandIn, claims: dict[str, Any]
) -> None:
    company.person, company.claims, company.userinfo = somebody(), claims, {}
    assert fragment(await browser.log_in()) == {"error": "email_not_verified"}
    assert await accounts_of(server, company.person["email"]) == 0


@pytest.mark.parametrize(
    ("accounts", "changes"),
    [({"registration": "closed"}, {}), ({}, {"registration": "link_only"})],
    ids=["closed", "link_only"],
)
async def test_where_registration_is_closed_only_those_who_are_known_come_in(
    server_factory: ServerFactory, company: OpenidStandIn, accounts: dict[str, Any], changes: dict[str, Any]
) -> None:
    server = await server_factory(accounts={"oidc": {"company": company.settings(**changes)}, **accounts})
    company.person = somebody()
    assert fragment(await Browser(server).log_in()) == {"error": "registration_closed"}
    person = await Factory(server).person()
    browser = await signed_in(server, person)
    assert location(await browser.open(await browser.link())) == f"{server.url}/account"
    other = Browser(server)
    await other.log_in()
    assert ok(await other.me())["id"] == str(person.id)


async def test_only_addresses_of_the_allowed_domains_come_in(
    server_factory: ServerFactory, company: OpenidStandIn
) -> None:
    provider = company.settings(allowed_domains="Staff.example.org,example.net")
    server = await server_factory(accounts={"oidc": {"company": provider}})
    company.person = somebody()
    assert fragment(await Browser(server).log_in()) == {"error": "domain_not_allowed"}
    company.person["email"] = f"{unique('ada')}@STAFF.example.org"
    browser = Browser(server)
    await browser.log_in()
    assert ok(await browser.me())["email"] == company.person["email"].lower()
    company.person["email_verified"] = False
    assert fragment(await Browser(server).log_in()) == {"error": "domain_not_allowed"}


async def test_other_names_of_claims(server_factory: ServerFactory, company: OpenidStandIn) -> None:
    names = {"email_claim": "mail", "verified_claim": "xms_edov", "name_claim": "display"}
    server = await server_factory(accounts={"oidc": {"company": company.settings(**names)}})
    address = f"{unique('ada')}@example.org"
    company.person = {"sub": unique("sub"), "mail": address, "xms_edov": "1", "display": "Ada", "email": "x@y.z"}
    browser = Browser(server)
    await browser.log_in()
    me = ok(await browser.me())
    assert (me["email"], me["name"]) == (address, "Ada")


async def test_who_has_a_second_factor_is_asked_for_it(
    server: RunningServer, make: Factory, company: OpenidStandIn
) -> None:
    company.person = somebody()
    person = await make.person()
    browser = await signed_in(server, person)
    await browser.open(await browser.link())
    app = await set_up_app(person)
    other = Browser(server)
    page = await other.log_in()
    told = fragment(page)
    assert page.startswith(f"{server.url}{INBOX}#")
    assert (told["error"], told["methods"]) == ("second_factor_needed", "totp,recovery_code")
    problem(await other.me(), 401, "unauthenticated")
    proof = {"by": "totp", "challenge": told["challenge"], "code": app.code(1), "cookies": True}
    # In the browser that has come back from the provider, and in no other.
    stranger = Browser(server)
    problem(await stranger.http.post(f"{API}/sessions/second-factor", json=proof), 400, "invalid_challenge")
    ok(await other.http.post(f"{API}/sessions/second-factor", json=proof))
    assert ok(await other.me())["id"] == str(person.id)
    (session, *_) = ok(await other.http.get(f"{API}/sessions"))
    assert session["methods"] == ["oidc", "totp"]


async def test_an_account_that_was_deactivated_stays_shut(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    await browser.log_in()
    account_id = UUID(ok(await browser.me())["id"])
    unit = UnitOfWork(server.runtime.placement)
    values = {"disabled_at": server.runtime.clock.now(), "disabled_by": "operator"}
    await unit.execute(Prepared(update(AccountRow).where(AccountRow.id == account_id).values(**values)))
    await unit.commit()
    assert fragment(await Browser(server).log_in()) == {"error": "wrong_credentials"}


# ---------------------------------------------------------------------------------------------------- linking


async def test_linking_and_unlinking(
    server: RunningServer, make: Factory, company: OpenidStandIn, mailbox: Mailbox
) -> None:
    person = await make.person()
    browser = await signed_in(server, person)
    # Whatever the address is: the account's owner says so, not the provider.
    company.person = somebody(email_verified=False)
    assert await browser.identities() == []
    assert location(await browser.open(await browser.link())) == f"{server.url}/account"
    (identity,) = await browser.identities()
    assert (identity["provider"], identity["email"]) == ("company", company.person["email"])
    assert "can now be opened" in (await mailbox.wait_for(person.email or "", "accounts.login_provider_changed")).text
    other = Browser(server)
    await other.log_in()
    assert ok(await other.me())["id"] == str(person.id)
    headers = {"X-CSRF-Token": browser.http.cookies["courtyard_csrf"]}
    ok(await browser.http.delete(f"{API}/me/identities/company", headers=headers))
    assert await browser.identities() == []
    assert "can no longer" in (await mailbox.wait_for(person.email or "", "accounts.login_provider_changed")).text
    problem(await browser.http.delete(f"{API}/me/identities/company", headers=headers), 404, "not_found")
    assert fragment(await Browser(server).log_in()) == {"error": "email_not_verified"}


async def test_linking_with_a_bearer_token(make: Factory, company: OpenidStandIn) -> None:
    person = await make.person()
    company.person = somebody()
    begun = await person.http.post("/me/identities/company", json={"return_to": INBOX, "browser_key": KEY})
    stranger = Browser(make.server)
    told = fragment(location(await stranger.open(location(await stranger.open(ok(begun)["authorization_url"])))))
    proof = {"code": told["code"], "state": told["state"], "iss": told["iss"], "browser_key": KEY}
    # Somebody else, with the same key: it is not their session that asked.
    other = await make.person()
    problem(await other.http.post("/me/identities/company/proof", json=proof), 400, "invalid_challenge")
    again = await person.http.post("/me/identities/company", json={"return_to": INBOX, "browser_key": KEY})
    told = fragment(location(await stranger.open(location(await stranger.open(ok(again)["authorization_url"])))))
    proof = {"code": told["code"], "state": told["state"], "iss": told["iss"], "browser_key": KEY}
    assert ok(await person.http.post("/me/identities/company/proof", json=proof))["provider"] == "company"
    assert ok(await other.http.get("/me/identities")) == []


async def test_a_login_is_no_link_and_a_link_no_login(
    server: RunningServer, make: Factory, company: OpenidStandIn
) -> None:
    company.person = somebody()
    person = await make.person()
    link = await person.http.post("/me/identities/company", json={"browser_key": KEY})
    browser = Browser(server)
    back = query(location(await browser.open(ok(link)["authorization_url"])))
    proof = {"code": back["code"], "state": back["state"], "iss": back["iss"], "browser_key": KEY}
    problem(await make.nobody.post("/sessions/oidc/company/proof", json=proof), 400, "invalid_challenge")
    login = await make.nobody.post("/sessions/oidc/company", json={"browser_key": KEY})
    back = query(location(await browser.open(ok(login)["authorization_url"])))
    proof = {"code": back["code"], "state": back["state"], "iss": back["iss"], "browser_key": KEY}
    problem(await person.http.post("/me/identities/company/proof", json=proof), 400, "invalid_challenge")
    assert await identities_of(server, company.person["sub"]) == 0
    assert not company.asked["/token"]


async def test_a_link_that_is_ended_in_another_browser_is_none(
    server: RunningServer, make: Factory, company: OpenidStandIn
) -> None:
    browser = await signed_in(server, await make.person())
    victim = await signed_in(server, await make.person())
    back = await browser.link()
    assert fragment(location(await victim.open(back))) == {"error": "invalid_challenge"}
    assert fragment(location(await Browser(server).open(back))) == {"error": "invalid_challenge"}
    assert await victim.identities() == []
    # It was not asked for there, so it can still be ended where it was.
    assert location(await browser.open(back)) == f"{server.url}/account"
    assert company.asked["/token"] == 1


@pytest.mark.parametrize("who", ["nobody", "somebody else"])
async def test_a_link_ends_with_the_session_that_wants_it(
    server: RunningServer, make: Factory, company: OpenidStandIn, who: str
) -> None:
    company.person = somebody()
    first = await make.person()
    browser = await signed_in(server, first)
    back = await browser.link()
    headers = {"X-CSRF-Token": browser.http.cookies["courtyard_csrf"]}
    if who == "nobody":
        ok(await browser.http.delete(f"{API}/sessions/current", headers=headers))
    else:
        other = await make.person()
        login = {"email": other.email, "password": PASSWORD, "cookies": True}
        ok(await browser.http.post(f"{API}/sessions", json=login))
    assert fragment(location(await browser.open(back))) == {"error": "invalid_challenge"}
    assert await identities_of(server, company.person["sub"]) == 0


async def test_one_identity_has_one_account(server: RunningServer, make: Factory, company: OpenidStandIn) -> None:
    company.person = somebody()
    browsers = [await signed_in(server, await make.person()) for _ in range(2)]
    backs = [await browser.link() for browser in browsers]
    pages = await asyncio.gather(*(browser.open(back) for browser, back in zip(browsers, backs, strict=True)))
    assert sorted(fragment(location(page)).get("error", "") for page in pages) == ["", "identity_taken"]
    assert sorted([len(await browser.identities()) for browser in browsers]) == [0, 1]
    # Nothing is kept of what was refused, not even that it was tried.
    tried = select(func.count()).where(
        ChallengeRow.purpose == "oidc_link",
        or_(*(ChallengeRow.token_digest == digest_token(query(back)["state"]) for back in backs)),
        ChallengeRow.used_at.is_not(None),
    )
    assert await count(server, tried) == 1


async def test_one_account_has_one_identity_at_a_provider(
    server: RunningServer, make: Factory, company: OpenidStandIn, partner: OpenidStandIn
) -> None:
    person = await make.person()
    browser = await signed_in(server, person)
    first, second = await browser.link(), await browser.link()
    pages = await asyncio.gather(browser.open(first), browser.open(second))
    assert sorted(fragment(location(page)).get("error", "") for page in pages) == ["", "already_linked"]
    problem(await person.http.post("/me/identities/company", json={}), 409, "already_linked")
    assert location(await browser.open(await browser.link("partner"))) == f"{server.url}/account"
    assert [identity["provider"] for identity in await browser.identities()] == ["company", "partner"]
    assert company.asked["/token"] == 2
    assert partner.asked["/token"] == 1


async def test_linking_what_is_linked_already_changes_nothing(
    server: RunningServer, make: Factory, company: OpenidStandIn
) -> None:
    company.person = somebody()
    browser = await signed_in(server, await make.person())
    backs = [await browser.link(), await browser.link()]
    for back in backs:
        assert location(await browser.open(back)) == f"{server.url}/account"
    assert len(await browser.identities()) == 1


async def test_linking_and_unlinking_want_a_recent_proof(
    server_factory: ServerFactory, clock: MovableClock, company: OpenidStandIn
) -> None:
    settings = {"oidc": {"company": company.settings()}, "step_up_seconds": 60}
    server = await server_factory(clock=clock, accounts=settings, security={"access_token_seconds": 900})
    person = await Factory(server).person()
    clock.move(seconds=90)
    problem(await person.http.post("/me/identities/company", json={}), 403, "step_up_needed")
    problem(await person.http.delete("/me/identities/company"), 403, "step_up_needed")


async def test_a_visitor_registers_first(make: Factory, company: OpenidStandIn) -> None:
    visitor = await make.visitor()
    problem(await visitor.http.post("/me/identities/company", json={}), 403, "not_for_visitors")
    assert ok(await visitor.http.get("/me/identities")) == []
    assert not company.asked["/token"]


async def test_the_last_way_in_stays(server: RunningServer, company: OpenidStandIn) -> None:
    company.person = somebody()
    browser = Browser(server)
    await browser.log_in()
    account_id = UUID(ok(await browser.me())["id"])
    unit = UnitOfWork(server.runtime.placement)
    await unit.execute(Prepared(update(AccountRow).where(AccountRow.id == account_id).values(email=None)))
    await unit.commit()
    headers = {"X-CSRF-Token": browser.http.cookies["courtyard_csrf"]}
    problem(await browser.http.delete(f"{API}/me/identities/company", headers=headers), 409, "last_way_in")
    await unit.insert(
        ExternalIdentityRow,
        id=account_id,
        account_id=account_id,
        provider="partner",
        subject=str(account_id),
        created_at=server.runtime.clock.now(),
    )
    await unit.commit()
    # Of two that are taken away at once, one stays.
    answers = await asyncio.gather(
        *(browser.http.delete(f"{API}/me/identities/{name}", headers=headers) for name in ("company", "partner"))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert len(await browser.identities()) == 1


async def test_who_has_left_takes_the_identity_along(
    server: RunningServer, browser: Browser, company: OpenidStandIn
) -> None:
    company.person = somebody()
    await browser.log_in()
    first = ok(await browser.me())["id"]
    ok(await browser.http.delete(f"{API}/me", headers={"X-CSRF-Token": browser.http.cookies["courtyard_csrf"]}))
    other = Browser(server)
    await other.log_in()
    assert ok(await other.me())["id"] != first


async def test_the_audit_log_says_who_came_in_and_what_was_linked_and_no_secret(
    make: Factory, company: OpenidStandIn
) -> None:
    company.person = somebody()
    browser = Browser(make.server)
    back = await browser.begin()
    answer = await browser.open(back)
    kept = await entries(make, answer)
    assert {"accounts:identity:linked", "accounts:session:opened"} <= set(kept)
    me = UUID(ok(await browser.me())["id"])
    linked = kept["accounts:identity:linked"]
    assert (linked.actor_id, linked.object_id, details(linked)) == (me, str(me), {"provider": "company"})
    # The `state` may be there: it is spent.
    assert query(back)["code"] not in str(kept)
    taken = await browser.http.delete(
        f"{API}/me/identities/company", headers={"X-CSRF-Token": browser.http.cookies["courtyard_csrf"]}
    )
    (entry,) = (await entries(make, taken)).values()
    assert (entry.name, entry.actor_id, details(entry)) == ("accounts:identity:unlinked", me, {"provider": "company"})


async def test_the_audit_log_keeps_what_was_refused(make: Factory, company: OpenidStandIn) -> None:
    company.claims = {"nonce": "n" * 43}
    browser = Browser(make.server)
    back = await browser.begin()
    in_the_browser = await browser.open(back)
    begun = await make.nobody.post("/sessions/oidc/company", json={"browser_key": KEY})
    shown = query(location(await browser.open(ok(begun)["authorization_url"])))
    proof = {"code": shown["code"], "state": shown["state"], "iss": shown["iss"], "browser_key": KEY}
    by_a_client = await make.nobody.post("/sessions/oidc/company/proof", json=proof)
    problem(by_a_client, 502, "invalid_provider_answer")
    for answer in (in_the_browser, by_a_client):
        kept = await entries(make, answer)
        (entry,) = kept.values()
        assert (entry.name, entry.action) == ("accounts:identity:refused", "refused")
        told = {"provider": "company", "problem": "invalid_provider_answer", "reason": "wrong_nonce"}
        assert details(entry) == told
        for secret in (query(back)["code"], shown["code"], KEY):
            assert secret not in str(kept)
