"""How the operations on files are asked for in `test_permissions.py`: each caller with a file of its own."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import httpx2

from courtyard.kernel.application import Application
from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import FileKind
from tests.factories import ok

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


async def _nobody_may(_: ReadContext, __: UUID) -> None:
    raise NotFound


# What applications take is theirs to decide. This one is added to a server that runs.
SHELF = Application(
    name="shelf",
    description="Files for the walk.",
    files=(
        FileKind(
            name="shelf.thing",
            description="Anything.",
            permission="files.file.upload",
            authorise=_nobody_may,
            content_types=frozenset({"*/*"}),
            max_bytes=1_000,
        ),
    ),
)


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


@asks
async def upload_file(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    parts = cast.make.server.runtime.parts
    assert isinstance(parts, list)
    if SHELF not in parts:
        parts.append(SHELF)
    return await http.post(f"{cast.workspace.path}/files", params={"kind": "shelf.thing"}, content=b"content")


async def own_file(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> str:
    """Return the path of a file of the caller; of the owner for nobody."""
    client = cast.people["owner"].http if identity == "nobody" else http
    file = ok(await upload_file(cast, identity, client))
    return f"{cast.workspace.path}/files/{file['id']}"


@asks
async def get_file(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(await own_file(cast, identity, http))


@asks
async def get_file_content(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{await own_file(cast, identity, http)}/content")


@asks
async def make_file_link(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{await own_file(cast, identity, http)}/links", json={})


@asks
async def follow_file_link(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    owner = cast.people["owner"].http
    link = ok(await owner.post(f"{await own_file(cast, 'owner', owner)}/links", json={}))
    address = urlsplit(link["url"])
    return await http.get(f"{cast.make.server.url}{address.path}?{address.query}")


@asks
async def remove_file(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.delete(await own_file(cast, identity, http))
