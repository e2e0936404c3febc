"""How the operations on webhooks are asked for in `test_permissions.py`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import httpx2

from tests.factories import ok

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}
# Nobody is there: what is asked for is done all the same.
NEW = {"url": "https://receiver.invalid/hook", "events": ["chat.nothing.*"]}


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


def place(cast: "Cast") -> str:
    return f"{cast.workspace.path}/webhooks"


async def endpoint(cast: "Cast") -> str:
    """Return the path of an endpoint that may be removed."""
    endpoints, owner = f"{place(cast)}/endpoints", cast.workspace.owner.http
    for old in ok(await owner.get(endpoints)):
        ok(await owner.delete(f"{endpoints}/{old['id']}"))
    return f"{endpoints}/{ok(await owner.post(endpoints, json=NEW))['endpoint']['id']}"


async def delivery(cast: "Cast") -> str:
    made = ok(await cast.workspace.owner.http.post(f"{await endpoint(cast)}/test"))
    return f"{place(cast)}/deliveries/{made['id']}"


@asks
async def list_webhook_events(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{place(cast)}/events")


@asks
async def list_webhook_endpoints(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{place(cast)}/endpoints")


@asks
async def create_webhook_endpoint(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    await endpoint(cast)
    return await http.post(f"{place(cast)}/endpoints", json=NEW)


@asks
async def get_webhook_endpoint(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(await endpoint(cast))


@asks
async def change_webhook_endpoint(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.patch(await endpoint(cast), json={"description": "Changed"})


@asks
async def delete_webhook_endpoint(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(await endpoint(cast))


@asks
async def rotate_webhook_secret(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await endpoint(cast)}/secret")


@asks
async def test_webhook_endpoint(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    del identity
    return await http.post(f"{await endpoint(cast)}/test")


@asks
async def list_webhook_deliveries(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{await endpoint(cast)}/deliveries")


@asks
async def get_webhook_delivery(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(await delivery(cast))


@asks
async def replay_webhook_delivery(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await delivery(cast)}/replay")
