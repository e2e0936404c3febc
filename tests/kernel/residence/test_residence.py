"""Owners see where their workspace lives, and nobody sees what opens it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, address
from courtyard.kernel.relocation.moves import begin
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards import PlacementRow, StorageRow, encoded, place, store_in
from tests.conftest import ServerFactory
from tests.factories import Factory, Workspace, ok
from tests.services import Databases, Kind

AWAY = "postgresql://west:hunter22@db.invalid:5433/west?sslmode=require"
BUCKET = StorageSettings.model_validate(
    {
        "kind": "s3",
        "bucket": "west",
        "prefix": "files",
        "endpoint": "https://s3.invalid",
        "access_key_id": "key-of-west",
        "secret_access_key": "hunter23",
    }
)
AT_HOME = {
    "database": {"own": False, "address": None, "since": None},
    "storage": {
        "own": False,
        "kind": None,
        "bucket": None,
        "prefix": None,
        "endpoint": None,
        "since": None,
        "moving": False,
    },
    "move": None,
}


@pytest.fixture
async def make(databases: Databases, database_kind: Kind, server_factory: ServerFactory) -> AsyncIterator[Factory]:
    """A server with a main database of its own: one of its workspaces will live nowhere."""
    factory = Factory(await server_factory(database=await databases.new(database_kind)))
    yield factory
    await factory.close()


async def settle(make: Factory, workspace: Workspace) -> None:
    """Let a workspace live where nobody is, and be on the way to somewhere else."""
    runtime = make.server.runtime
    context = Context(runtime, None, None, "test")
    try:
        await place(context.db, runtime.keys, workspace.id, AWAY, context.now)
        await store_in(context.db, runtime.keys, workspace.id, (encoded(BUCKET), None), context.now, also=True)
        await begin(context.db, runtime.keys, workspace.id, AWAY, AWAY.replace("west?", "east?"), context.now)
        await context.commit()
    finally:
        await context.rollback()


async def test_at_home(make: Factory) -> None:
    workspace = await make.workspace()
    assert ok(await workspace.owner.http.get(f"{workspace.path}/places")) == AT_HOME


async def test_elsewhere_also_while_nobody_answers_there(make: Factory) -> None:
    workspace, neighbour = await make.workspace(), await make.workspace()
    await settle(make, workspace)
    answer = await workspace.owner.http.get(f"{workspace.path}/places")
    found = ok(answer)
    assert found["database"].pop("since")
    assert found["database"] == {"own": True, "address": address(AWAY)}
    assert found["storage"].pop("since")
    assert found["storage"] == {
        "own": True,
        "kind": "s3",
        "bucket": "west",
        "prefix": "files",
        "endpoint": "https://s3.invalid",
        "moving": True,
    }
    assert found["move"].pop("started_at") == found["move"].pop("changed_at")
    assert found["move"] == {"state": "copying", "target": address(AWAY.replace("west?", "east?"))}
    assert not {word for word in ("hunter22", "hunter23", "key-of-west", "sslmode") if word in answer.text}
    assert ok(await neighbour.owner.http.get(f"{neighbour.path}/places")) == AT_HOME


async def test_what_cannot_be_decrypted_is_not_there(make: Factory) -> None:
    workspace = await make.workspace()
    await settle(make, workspace)
    main = make.server.runtime.placement.main
    for statement in (update(PlacementRow).values(uri=b"lost"), update(StorageRow).values(written=b"lost")):
        await main.fetch(Prepared(statement), {}, writers=True)
    found = ok(await workspace.owner.http.get(f"{workspace.path}/places"))
    assert (found["database"]["own"], found["database"]["address"]) == (True, None)
    assert (found["storage"]["own"], found["storage"]["bucket"], found["storage"]["moving"]) == (True, None, True)
