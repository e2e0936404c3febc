"""How the operations about second factors, passkeys and API keys are asked for in `test_permissions.py`.

Whoever changes something here is somebody else of the same kind, so that the cast stays as it is.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import httpx2

from tests.credentials import App, Authenticator, add_passkey, first_factor, passkey_login, set_up_app
from tests.factories import PASSWORD, Person, ok

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


async def double(cast: "Cast", identity: str) -> Person | None:
    """Return somebody else of this kind; None for nobody."""
    if identity == "nobody":
        return None
    return await (cast.make.visitor() if cast.people[identity].email is None else cast.make.person())


async def client(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    person = await double(cast, identity)
    return http if person is None else person.http


def reads(name: str, path: str) -> None:
    async def ask(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
        return await http.get(path)

    ASK[name] = ask


reads("get_security", "/me/security")
reads("list_passkeys", "/me/passkeys")
reads("list_api_keys", "/me/api-keys")


@asks
async def begin_totp(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await client(cast, identity, http)).post("/me/totp")


@asks
async def confirm_totp(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    asking = await client(cast, identity, http)
    begun = await asking.post("/me/totp")
    code = App(begun.json()["secret"]).code() if begun.is_success else "123456"
    return await asking.post("/me/totp/confirm", json={"code": code})


@asks
async def remove_totp(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    person = await double(cast, identity)
    if person is not None and person.email is not None:
        await set_up_app(person)
    return await (http if person is None else person.http).delete("/me/totp")


@asks
async def renew_recovery_codes(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    person = await double(cast, identity)
    if person is not None and person.email is not None:
        await set_up_app(person)
    return await (http if person is None else person.http).post("/me/recovery-codes")


@asks
async def log_in_by_second_factor(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    person = await cast.make.person()
    app = await set_up_app(person)
    factor = {"by": "totp", "challenge": await first_factor(http, person), "code": app.code(1)}
    return await http.post("/sessions/second-factor", json=factor)


@asks
async def prove(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/sessions/current/proof", json={"by": "password", "password": PASSWORD})


@asks
async def start_passkey_proof(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/sessions/current/proof/options")


@asks
async def start_passkey(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await client(cast, identity, http)).post("/me/passkeys/options")


@asks
async def create_passkey(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    person = await double(cast, identity)
    asker = await cast.make.person() if person is None or person.email is None else person
    asked = ok(await asker.http.post("/me/passkeys/options"))
    new = {"challenge": asked["challenge"], "name": "Laptop", "credential": Authenticator().create(asked["options"])}
    return await (http if person is None else person.http).post("/me/passkeys", json=new)


async def some_passkey(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> tuple[httpx2.AsyncClient, str]:
    """Return somebody of this kind and the path of a passkey of theirs, where they can have one."""
    person = await double(cast, identity)
    if person is None or person.email is None:
        return http, f"/me/passkeys/{uuid4()}"
    return person.http, f"/me/passkeys/{(await add_passkey(person, Authenticator()))['id']}"


@asks
async def rename_passkey(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    asking, path = await some_passkey(cast, identity, http)
    return await asking.patch(path, json={"name": "Other name"})


@asks
async def remove_passkey(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    asking, path = await some_passkey(cast, identity, http)
    return await asking.delete(path)


@asks
async def start_passkey_login(_: "Cast", __: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post("/sessions/passkey/options", json={})


@asks
async def log_in_by_passkey(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    authenticator = Authenticator()
    await add_passkey(await cast.make.person(), authenticator)
    return await passkey_login(http, authenticator)


@asks
async def create_api_key(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await (await client(cast, identity, http)).post("/me/api-keys", json={"name": "Key"})


@asks
async def revoke_api_key(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    asking = await client(cast, identity, http)
    made = await asking.post("/me/api-keys", json={"name": "Key"})
    key_id = made.json()["api_key"]["id"] if made.is_success else uuid4()
    return await asking.delete(f"/me/api-keys/{key_id}")
