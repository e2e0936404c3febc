"""Passkeys as people use them: a real browser, with the virtual authenticators of its DevTools protocol."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.credentials import ORIGIN
from tests.e2e.browser import Browser, Page, ScriptFailed, chromium
from tests.factories import PASSWORD, Factory, unique
from tests.mailbox import Mailbox
from tests.running import RunningServer
from tests.sockets import Json

pytestmark = pytest.mark.slow

ELSEWHERE = "http://localhost:8001"
CREATE = """async options => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return (await navigator.credentials.create({publicKey})).toJSON();
}"""
GET = """async options => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return (await navigator.credentials.get({publicKey})).toJSON();
}"""


class Visitor:
    """Somebody at a browser.

    Args:
        page: their page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.authenticator = ""
        self.csrf: str | None = None

    async def plug_in(self, *, verifies: bool = True, transport: str = "internal") -> None:
        """Give the browser an authenticator that keeps passkeys."""
        options = {
            "protocol": "ctap2",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        plugged = await self.page.command("WebAuthn.addVirtualAuthenticator", options=options)
        self.authenticator = plugged["authenticatorId"]

    async def credentials(self) -> list[Json]:
        """Return what the authenticator keeps."""
        kept = await self.page.command("WebAuthn.getCredentials", authenticatorId=self.authenticator)
        found: list[Json] = kept["credentials"]
        return found

    async def enter(self, email: str) -> None:
        """Log in with the password, with cookies."""
        credentials = {"email": email, "password": PASSWORD, "cookies": True}
        status, login = await self.page.fetch("POST", "/sessions", credentials)
        assert status == 201, login
        self.csrf = login["csrf_token"]

    async def add_passkey(self, name: str) -> tuple[int, Json]:
        """Make a passkey and send it."""
        _, asked = await self.page.fetch("POST", "/me/passkeys/options", csrf=self.csrf)
        credential = await self.page.run(CREATE, asked["options"])
        new = {"challenge": asked["challenge"], "name": name, "credential": credential}
        return await self.page.fetch("POST", "/me/passkeys", new, csrf=self.csrf)

    async def ask(self) -> Json:
        """Begin a login without saying who one is."""
        status, asked = await self.page.fetch("POST", "/sessions/passkey/options", {})
        assert status == 201, asked
        return asked

    async def answer(self, asked: Json) -> Json:
        """Return the body that answers a question."""
        return {
            "challenge": asked["challenge"],
            "credential": await self.page.run(GET, asked["options"]),
            "cookies": True,
        }

    async def log_in(self) -> tuple[int, Json]:
        """Log in without saying who one is."""
        return await self.page.fetch("POST", "/sessions/passkey", await self.answer(await self.ask()))


@pytest.fixture
async def browser(server: RunningServer, tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser for which the server is where its settings say, and another web site that is none of ours."""
    names = {ORIGIN.removeprefix("http://"): server.url, ELSEWHERE.removeprefix("http://"): server.url}
    async with chromium(tmp_path, names=names) as started:
        yield started


async def visitor(browser: Browser, origin: str = ORIGIN) -> Visitor:
    """Open the front page in a profile of its own, with no authenticator yet."""
    page = await browser.page()
    await page.open(f"{origin}/")
    await page.command("WebAuthn.enable")
    return Visitor(page)


async def test_two_passkeys_and_a_login_without_a_name(make: Factory, browser: Browser) -> None:
    person = await make.person()
    ada = await visitor(browser)
    await ada.plug_in()
    await ada.enter(person.email or "")
    status, passkey = await ada.add_passkey("Laptop")
    assert status == 201, passkey
    # The same authenticator is not asked for a second one: it says so itself.
    with pytest.raises(ScriptFailed, match="InvalidStateError"):
        await ada.add_passkey("Laptop again")
    await ada.page.command("WebAuthn.removeVirtualAuthenticator", authenticatorId=ada.authenticator)
    await ada.plug_in(transport="usb")
    status, passkey = await ada.add_passkey("Key")
    assert status == 201, passkey
    _, listed = await ada.page.fetch("GET", "/me/passkeys")
    assert [each["name"] for each in listed] == ["Key", "Laptop"]
    (kept,) = await ada.credentials()
    assert kept["isResidentCredential"]
    status, _ = await ada.page.fetch("DELETE", "/sessions/current", csrf=ada.csrf)
    assert status == 204
    status, login = await ada.log_in()
    assert status == 201, login
    assert login["account"]["id"] == str(person.id)
    _, sessions = await ada.page.fetch("GET", "/sessions")
    assert [each["methods"] for each in sessions if each["current"]] == [["passkey"]]


async def test_an_answer_counts_once_and_in_the_browser_that_asked(make: Factory, browser: Browser) -> None:
    person = await make.person()
    ada = await visitor(browser)
    await ada.plug_in()
    await ada.enter(person.email or "")
    await ada.add_passkey("Laptop")
    answer = await ada.answer(await ada.ask())
    other = await visitor(browser)
    status, refused = await other.page.fetch("POST", "/sessions/passkey", answer)
    assert (status, refused["code"]) == (400, "invalid_challenge")
    status, _ = await ada.page.fetch("POST", "/sessions/passkey", answer)
    assert status == 201
    status, refused = await ada.page.fetch("POST", "/sessions/passkey", answer)
    assert (status, refused["code"]) == (400, "invalid_challenge")
    # Nor as the answer to another question.
    replayed = {**answer, "challenge": (await ada.ask())["challenge"]}
    status, refused = await ada.page.fetch("POST", "/sessions/passkey", replayed)
    assert (status, refused["code"]) == (400, "passkey_refused")


async def test_another_web_site_gets_nothing(make: Factory, browser: Browser) -> None:
    person = await make.person()
    ada = await visitor(browser)
    await ada.plug_in()
    await ada.enter(person.email or "")
    await ada.add_passkey("Laptop")
    (kept,) = await ada.credentials()
    # A page on another port of the same host: the browser gives it the passkey, and says where it was asked.
    thief = await visitor(browser, ELSEWHERE)
    await thief.plug_in()
    await thief.page.command("WebAuthn.addCredential", authenticatorId=thief.authenticator, credential=kept)
    status, refused = await thief.log_in()
    assert (status, refused["code"]) == (400, "passkey_refused")
    # And one on another host does not get as far as that.
    await thief.page.open(f"{make.server.url}/")
    asked = await thief.ask()
    with pytest.raises(ScriptFailed, match="SecurityError"):
        await thief.page.run(GET, asked["options"])


async def test_a_copied_authenticator_is_refused(make: Factory, browser: Browser, mailbox: Mailbox) -> None:
    person = await make.person(email=f"{unique('ada')}@example.org")
    ada = await visitor(browser)
    await ada.plug_in()
    await ada.enter(person.email or "")
    await ada.add_passkey("Laptop")
    (copied,) = await ada.credentials()
    assert (await ada.log_in())[0] == 201
    assert (await ada.log_in())[0] == 201
    (kept,) = await ada.credentials()
    assert kept["signCount"] > copied["signCount"]
    thief = await visitor(browser)
    await thief.plug_in()
    await thief.page.command("WebAuthn.addCredential", authenticatorId=thief.authenticator, credential=copied)
    status, refused = await thief.log_in()
    assert (status, refused["code"]) == (400, "passkey_refused")
    await mailbox.wait_for(person.email or "", "accounts.security_notice")
    assert (await ada.log_in())[0] == 201


async def test_an_authenticator_that_does_not_verify_makes_and_opens_nothing(make: Factory, browser: Browser) -> None:
    person = await make.person()
    ada = await visitor(browser)
    await ada.plug_in(verifies=False)
    await ada.enter(person.email or "")
    with pytest.raises(ScriptFailed, match="NotAllowedError"):
        await ada.add_passkey("Laptop")
    await ada.page.command("WebAuthn.setUserVerified", authenticatorId=ada.authenticator, isUserVerified=True)
    assert (await ada.add_passkey("Laptop"))[0] == 201
    await ada.page.command("WebAuthn.setUserVerified", authenticatorId=ada.authenticator, isUserVerified=False)
    # A page that does not ask for it gets an answer, which does not count.
    asked = await ada.ask()
    asked["options"]["userVerification"] = "discouraged"
    status, refused = await ada.page.fetch("POST", "/sessions/passkey", await ada.answer(asked))
    assert (status, refused["code"]) == (400, "passkey_refused")
    await ada.page.command("WebAuthn.setUserVerified", authenticatorId=ada.authenticator, isUserVerified=True)
    assert (await ada.log_in())[0] == 201
