"""Who asks: access tokens in a header, or in cookies with the CSRF token of the session."""

import base64
import json
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from courtyard.kernel.crypto import AccessTokens
from courtyard.kernel.http import ACCESS_COOKIE, API, BROWSER_COOKIE, REFRESH_COOKIE
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem
from tests.running import MovableClock

CSRF_COOKIE = "courtyard_csrf"


async def test_a_bearer_token_says_who_asks(make: Factory) -> None:
    person = await make.person()
    assert ok(await make.nobody.get("/me", headers=person.headers))["id"] == str(person.id)
    # Names of schemes do not depend on case (RFC 9110, section 11.1).
    assert ok(await make.nobody.get("/me", headers={"Authorization": f"bearer {person.token}"}))["id"] == str(person.id)


async def test_without_a_credential_nobody_asks(nobody: httpx2.AsyncClient) -> None:
    refused = await nobody.get("/me")
    problem(refused, 401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token {token}", "{token}", "Bearer  "])
async def test_another_scheme_is_refused(make: Factory, header: str) -> None:
    person = await make.person()
    headers = {"Authorization": header.format(token=person.token)}
    problem(await make.nobody.get("/me", headers=headers), 401, "unauthenticated")


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def changed(token: str, index: int) -> str:
    parts = token.split(".")
    parts[index] = parts[index][:-2] + ("AA" if parts[index][-2:] != "AA" else "BB")
    return ".".join(parts)


@pytest.mark.parametrize(
    "forgery", ["header", "payload", "signature", "none", "cut", "words", "foreign", "long", "utf8"]
)
async def test_a_forged_token_is_refused(make: Factory, forgery: str) -> None:
    person = await make.person()
    header, payload, signature = person.token.split(".")
    foreign = AccessTokens([("foreign", secrets.token_bytes(32))])
    session_id = uuid4()
    token = {
        "header": changed(person.token, 0),
        "payload": changed(person.token, 1),
        "signature": changed(person.token, 2),
        "none": f"{part({'typ': 'JWT', 'alg': 'none', 'kid': 'x'})}.{payload}.",
        "cut": f"{header}.{payload}",
        "words": "no token at all",
        "foreign": foreign.issue(person.id, session_id, datetime.now(UTC), 900),
        "long": f"{header}.{payload}.{signature * 300}",
        "utf8": f"{header}.{payload}.ü",
    }[forgery]
    headers = [(b"Authorization", f"Bearer {token}".encode())]
    refused = problem(await make.nobody.get("/me", headers=headers), 401, "unauthenticated")
    assert refused["reason"] == "token_invalid"


async def test_a_token_of_a_session_that_never_was_is_refused(make: Factory) -> None:
    person = await make.person()
    token = make.server.runtime.tokens.issue(person.id, uuid4(), datetime.now(UTC), 900)
    refused = problem(
        await make.nobody.get("/me", headers={"Authorization": f"Bearer {token}"}), 401, "unauthenticated"
    )
    assert refused["reason"] == "session_ended"


async def test_a_token_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(clock=clock, security={"access_token_seconds": 60})
    person = await Factory(server).person()
    assert person.login["expires_in_seconds"] == 60
    clock.move(seconds=58)
    ok(await person.http.get("/me"))
    clock.move(seconds=2)
    for _ in range(2):
        assert problem(await person.http.get("/me"), 401, "unauthenticated")["reason"] == "token_expired"


async def test_a_session_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(
        clock=clock, security={"access_token_seconds": 86_400, "refresh_token_seconds": 3_600}
    )
    person = await Factory(server).person()
    clock.move(seconds=3_601)
    server.runtime.identity.forget()
    assert problem(await person.http.get("/me"), 401, "unauthenticated")["reason"] == "session_ended"
    refresh = {"refresh_token": person.login["refresh_token"]}
    problem(await server.client().post(f"{API}/sessions/refresh", json=refresh), 401, "invalid_refresh_token")


@pytest.fixture
async def person(make: Factory) -> Person:
    return await make.person()


@pytest.fixture
async def browser(make: Factory, person: Person) -> httpx2.AsyncClient:
    """A client that keeps its login in cookies; it shows no CSRF token by itself."""
    client = make.server.client(base_url=make.server.url + API)
    credentials = {"email": person.email, "password": PASSWORD, "cookies": True}
    login = ok(await client.post("/sessions", json=credentials))
    assert (login["access_token"], login["refresh_token"]) == (None, None)
    assert login["csrf_token"] == client.cookies[CSRF_COOKIE]
    return client


def csrf(client: httpx2.AsyncClient) -> dict[str, str]:
    return {"X-CSRF-Token": client.cookies[CSRF_COOKIE]}


async def test_a_cookie_says_who_asks(browser: httpx2.AsyncClient, person: Person) -> None:
    assert ok(await browser.get("/me"))["id"] == str(person.id)


async def test_cookies_are_kept_from_scripts_and_other_sites(make: Factory, person: Person) -> None:
    credentials = {"email": person.email, "password": PASSWORD, "cookies": True}
    answer = await make.nobody.post("/sessions", json=credentials)
    make.nobody.cookies.clear()
    cookies = {header.partition("=")[0]: header.lower().split("; ") for header in answer.headers.get_list("set-cookie")}
    assert set(cookies) == {ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE, BROWSER_COOKIE}
    for name, attributes in cookies.items():
        assert "samesite=lax" in attributes
        assert ("httponly" in attributes) == (name != CSRF_COOKIE)
        # The public URL of the tests is plain http.
        assert "secure" not in attributes
        assert not [attribute for attribute in attributes if attribute.startswith("domain")]
    assert f"path={API}/sessions" in cookies[REFRESH_COOKIE]


async def test_cookies_stay_on_https_where_the_server_does(server_factory: ServerFactory) -> None:
    server = await server_factory(server={"public_url": "https://courtyard.example.org"})
    answer = await server.client().post(f"{API}/sessions/anonymous", json={"name": "Ada", "cookies": True})
    headers = answer.headers.get_list("set-cookie")
    assert len(headers) == 4
    assert all("; secure" in header.lower() for header in headers)


@pytest.mark.parametrize("shown", ["missing", "wrong", "of another session", "not hexadecimal", "empty"])
async def test_a_change_by_cookie_needs_the_token_of_its_session(
    browser: httpx2.AsyncClient, person: Person, shown: str
) -> None:
    # `person` has another session, with another token.
    headers = {
        "missing": {},
        "wrong": {"X-CSRF-Token": "00" * 32},
        "of another session": {"X-CSRF-Token": person.login["csrf_token"]},
        "not hexadecimal": {"X-CSRF-Token": "ghi"},
        "empty": {"X-CSRF-Token": ""},
    }[shown]
    for refused in (
        await browser.patch("/me", json={"name": "Eve"}, headers=headers),
        await browser.post("/workspaces", json={"slug": "eves", "name": "Eve"}, headers=headers),
        await browser.delete("/sessions/current", headers=headers),
    ):
        problem(refused, 403, "csrf_failed")
    assert ok(await browser.get("/me"))["name"] == person.name


async def test_a_change_by_cookie_with_the_token_is_made(browser: httpx2.AsyncClient) -> None:
    assert ok(await browser.patch("/me", json={"name": "Ada L."}, headers=csrf(browser)))["name"] == "Ada L."


async def test_a_change_by_header_needs_no_token_even_with_cookies(browser: httpx2.AsyncClient, person: Person) -> None:
    assert ok(await browser.patch("/me", json={"name": "Ada L."}, headers=person.headers))["name"] == "Ada L."


async def test_a_forged_cookie_is_refused(make: Factory) -> None:
    client = make.server.client(base_url=make.server.url + API, cookies={ACCESS_COOKIE: "forged"})
    problem(await client.get("/me"), 401, "unauthenticated")


async def test_other_cookies_are_nobody(make: Factory) -> None:
    client = make.server.client(base_url=make.server.url + API, cookies={"theme": "dark"})
    problem(await client.get("/me"), 401, "unauthenticated")


async def test_logging_out_takes_the_cookies_away(browser: httpx2.AsyncClient) -> None:
    answer = await browser.delete("/sessions/current", headers=csrf(browser))
    assert answer.status_code == 204
    assert {header.partition("=")[0] for header in answer.headers.get_list("set-cookie")} == {
        ACCESS_COOKIE,
        REFRESH_COOKIE,
        CSRF_COOKIE,
    }
    # What stays says only that it is the same browser.
    assert set(browser.cookies) == {BROWSER_COOKIE}
    problem(await browser.get("/me"), 401, "unauthenticated")


async def test_a_browser_refreshes_by_cookie(browser: httpx2.AsyncClient, person: Person) -> None:
    before = dict(browser.cookies)
    login = ok(await browser.post("/sessions/refresh", json={}, headers=csrf(browser)))
    assert (login["access_token"], login["refresh_token"]) == (None, None)
    assert browser.cookies[REFRESH_COOKIE] != before[REFRESH_COOKIE]
    assert ok(await browser.get("/me"))["id"] == str(person.id)


async def test_without_a_refresh_token_nothing_is_refreshed(nobody: httpx2.AsyncClient) -> None:
    problem(await nobody.post("/sessions/refresh", json={}), 401, "invalid_refresh_token")


async def test_a_browser_whose_access_token_has_run_out_can_refresh_and_log_in(
    server_factory: ServerFactory, clock: MovableClock
) -> None:
    server = await server_factory(clock=clock, security={"access_token_seconds": 60})
    person = await Factory(server).person()
    browser = server.client(base_url=server.url + API)
    credentials = {"email": person.email, "password": PASSWORD, "cookies": True}
    ok(await browser.post("/sessions", json=credentials))
    clock.move(seconds=61)
    problem(await browser.get("/me"), 401, "unauthenticated")
    ok(await browser.post("/sessions/refresh", json={}))
    ok(await browser.get("/me"))
    clock.move(seconds=61)
    ok(await browser.post("/sessions", json=credentials))
    ok(await browser.get("/me"))
