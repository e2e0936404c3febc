"""`courtyard workspaces database` and `courtyard workspaces move`. Running servers follow within a second."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from courtyard.kernel.context import Context
from courtyard.kernel.crypto import CryptoError
from courtyard.kernel.database import address
from courtyard.kernel.errors import NotFound
from courtyard.kernel.relocation import service
from courtyard.kernel.relocation.files import clean_files, move_files
from courtyard.kernel.relocation.models import DONE
from courtyard.kernel.relocation.mover import Mover
from courtyard.kernel.relocation.moves import find_move
from courtyard.kernel.relocation.preparation import examine
from courtyard.kernel.relocation.service import set_database, with_mover
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards import Placed, load_placed, url_of
from courtyard.kernel.workspaces import find_workspace

T = TypeVar("T")
Open: TypeAlias = Callable[[str], AbstractAsyncContextManager[Context]]
Named = Annotated[str, typer.Argument(metavar="SLUG|ID", help="Slug or id of the workspace.")]
Uri = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URI",
        help="postgresql://… or sqlite:///…; `-` reads it from standard input, so that no list of processes shows it.",
    ),
]

database = typer.Typer(
    help="Let workspaces live in databases of their own.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


moving = typer.Typer(add_completion=False, rich_markup_mode=None)


def commands() -> dict[str, Any]:
    """Return what is added to the commands of workspaces, by name."""
    return {"database": typer.main.get_command(database), "move": typer.main.get_command(moving)}


@database.command("set")
def set_(context: typer.Context, named: Named, uri: Uri) -> None:
    """Give a workspace that has no rows yet a database of its own."""
    url = _given(uri)
    _run(context, named, lambda opened, workspace_id: set_database(opened, workspace_id, url, _progress))
    typer.echo(f"{named} lives in {address(url)}.")


@database.command()
def unset(context: typer.Context, named: Named) -> None:
    """Let a workspace without rows live in the main database again."""
    _run(context, named, lambda opened, workspace_id: set_database(opened, workspace_id, None, _progress))
    typer.echo(f"{named} lives in the main database.")


@database.command()
def show(context: typer.Context, named: Named) -> None:
    """Say where a workspace lives, without the password."""
    typer.echo(_run(context, named, _where))


@database.command()
def check(context: typer.Context, uri: Uri) -> None:
    """Say what keeps a database from taking a workspace, one line each; 0 if nothing does."""
    url = _given(uri)
    faults = _open(context, lambda opened: examine(opened.runtime, url))
    for fault in faults:
        typer.echo(f"{fault.field}: {fault.detail}", err=True)
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{address(url)} can take a workspace.")


@moving.command()
def move(
    context: typer.Context,
    named: Named,
    *,
    uri: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="URI", help="postgresql://…, sqlite:///…, `main`, or `-` to read it from stdin."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where files go: JSON with the settings of `files.storage`, `-` for standard input, or `shared`.",
        ),
    ] = None,
    pause: Annotated[
        float, typer.Option(min=2, max=600, help="Seconds for which changes may be refused at the end.")
    ] = 10.0,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Undo a move that has not switched.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove the old rows of a move that is done.")] = False,
) -> None:
    """Move a workspace to another database while it is used. Run again, it goes on where it was interrupted."""

    async def work(opened: Context, workspace_id: UUID) -> None:
        runtime, found = opened.runtime, await find_move(opened.outside().db, workspace_id)
        if clean:
            # Files first: their rows say which there are.
            if not await clean_files(runtime, workspace_id, _progress) or found is not None:
                await with_mover(opened, found, _progress, Mover.clean)
        elif roll_back:
            await with_mover(opened, found, _progress, Mover.roll_back)
        elif uri is None and found is None and storage is None:
            raise typer.BadParameter("say where to: --database or --storage")
        else:
            if uri is not None or (found is not None and found.state != DONE):
                target = None if uri == "main" else _given(uri or "")
                await service.move(opened, workspace_id, target, _progress, pause)
            if storage is not None:
                await move_files(runtime, workspace_id, _storage(storage), _progress)

    if roll_back and clean:
        raise typer.BadParameter("--roll-back or --clean")
    _run(context, named, work)


def _storage(given: str) -> StorageSettings | None:
    if given == "shared":
        return None
    text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
    try:
        settings = StorageSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "storage"
        raise typer.BadParameter(f"{where}: {first['msg']}") from None
    if (settings.bucket is None) == (settings.kind != "local"):
        raise typer.BadParameter("bucket: a bucket is needed, but for the local kind")
    return settings


async def _where(opened: Context, workspace_id: UUID) -> str:
    placed = await load_placed(opened.outside().db, workspace_id)
    if placed is None:
        return "main"
    return f"{_address(opened, placed)} (since {placed.placed_at:%Y-%m-%d %H:%M} UTC)"


def _address(opened: Context, placed: Placed) -> str:
    try:
        return address(url_of(opened.runtime.keys, placed))
    except CryptoError as error:
        return f"cannot be read: {error}"


def _given(uri: str) -> str:
    return sys.stdin.readline().strip() if uri == "-" else uri


def _progress(line: str) -> None:
    typer.echo(f"  {line}")


def _run(context: typer.Context, named: str, work: Callable[[Context, UUID], Awaitable[T]]) -> T:
    async def find(opened: Context) -> T:
        workspace = await find_workspace(opened.outside(), named)
        if workspace is None:
            raise NotFound(f"There is no workspace {named}")
        return await work(opened, workspace.id)

    return _open(context, find)


def _open(context: typer.Context, work: Callable[[Context], Awaitable[T]]) -> T:
    opening: Open = context.obj

    async def run() -> T:
        async with opening(f"workspaces {context.info_name}") as opened:
            return await work(opened)

    return asyncio.run(run())
