"""How the operations about OpenID providers are asked for in `test_permissions.py`."""

from typing import TYPE_CHECKING, Any

import httpx2

from tests.factories import ok, unique
from tests.openid import Browser, fragment, location

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

PROVIDER = "/sessions/oidc/company"
IDENTITY = "/me/identities/company"


async def list_login_providers(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/sessions/oidc")


async def start_provider_login(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(PROVIDER, json={})


async def go_to_login_provider(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{PROVIDER}/start")


async def come_back_from_login_provider(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    """In a browser that has no cookie yet of the client, whose own has gone to the provider."""
    started = await http.get(f"{PROVIDER}/start")
    back = location(await Browser(cast.make.server).open(location(started)))
    answer = await http.get(back)
    assert not fragment(location(answer)), location(answer)
    http.cookies.clear()
    return answer


async def _at_provider(cast: "Cast", begun: httpx2.Response) -> dict[str, Any]:
    """Go where an answer says, and return what is to be shown then."""
    browser = Browser(cast.make.server)
    sent = fragment(location(await browser.open(location(await browser.open(ok(begun)["authorization_url"])))))
    return {"code": sent["code"], "state": sent["state"], "iss": sent["iss"]}


async def log_in_by_provider(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    key = {"browser_key": unique("browser-of-the-row")}
    proof = await _at_provider(cast, await http.post(PROVIDER, json=key))
    return await http.post(f"{PROVIDER}/proof", json={**proof, **key})


async def list_identities(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get("/me/identities")


async def start_link(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(IDENTITY, json={})


async def link_identity(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    client, key = await _double(cast, identity, http), {"browser_key": unique("browser-of-the-row")}
    begun = await client.post(IDENTITY, json=key)
    proof = await _at_provider(cast, begun) if begun.is_success else {"code": "x", "state": "x" * 43}
    return await client.post(f"{IDENTITY}/proof", json={**proof, **key})


async def unlink_identity(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    client, key = await _double(cast, identity, http), {"browser_key": unique("browser-of-the-row")}
    begun = await client.post(IDENTITY, json=key)
    if begun.is_success:
        ok(await client.post(f"{IDENTITY}/proof", json={**await _at_provider(cast, begun), **key}))
    return await client.delete(IDENTITY)


async def _double(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Return the client of somebody else of this kind, who has linked nothing yet."""
    if identity == "nobody":
        return http
    return (await (cast.make.visitor() if cast.people[identity].email is None else cast.make.person())).http


ASK = {
    each.__name__: each
    for each in (
        list_login_providers,
        start_provider_login,
        go_to_login_provider,
        come_back_from_login_provider,
        log_in_by_provider,
        list_identities,
        start_link,
        link_identity,
        unlink_identity,
    )
}
