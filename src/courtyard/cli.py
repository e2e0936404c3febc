"""The `courtyard` command.

What is slow to import is imported by the command that needs it: `courtyard --help` loads nothing of the
kernel.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperGroup
from typing_extensions import override

if TYPE_CHECKING:
    from courtyard.kernel.application import Application
    from courtyard.kernel.database import Placement
    from courtyard.kernel.settings import Settings

SETTINGS_PAGE = Path("docs/reference/settings.md")
OPENAPI_FILE = Path("docs/reference/openapi.json")
ASYNCAPI_FILE = Path("docs/reference/asyncapi.json")
PERMISSIONS_PAGE = Path("docs/reference/permissions.md")
OPERATIONAL_ERROR = 2
INTERRUPTED = 130

# For commands that hand everything behind their name to another program.
PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}


class CommandError(Exception):
    """A command cannot do what it was asked to; the message is the one line that says why."""


class Commands(TyperGroup):
    """The commands here and, where a name is not known, those of the application of that name."""

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _application_commands(cmd_name)


app = typer.Typer(
    cls=Commands,
    help="Courtyard: one self-hosted back end. Applications may add commands: courtyard APPLICATION --help.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config = typer.Typer(help="Show and check the settings, draw keys.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config, name="config")

Check = Annotated[bool, typer.Option("--check", help="Compare with the file in the repository; 1 if it differs.")]
Write = Annotated[bool, typer.Option("--write", help="Write the file in the repository.")]


def main() -> None:
    """Run the command line. What an operator can mend is a line on stderr and status 2, never a traceback."""
    try:
        app(prog_name="courtyard")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        lines = list(_operational(error))
        if not lines:
            raise
        for line in lines:
            typer.echo(f"courtyard: {line}", err=True)
        sys.exit(OPERATIONAL_ERROR)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0 for any.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. More need PostgreSQL and Redis.")
    ] = None,
) -> None:
    """Run the server. Options go before the settings."""
    from courtyard import serving  # noqa: PLC0415 - why, says the docstring of the module; so below

    raise typer.Exit(serving.serve(host, port, workers))


@app.command()
def doctor() -> None:
    """Say what is configured, reachable, out of date or unsafe."""
    from courtyard.doctor import examine  # noqa: PLC0415

    async def examine_all() -> bool:
        failed = False
        async for check in examine():
            typer.echo(str(check))
            failed = failed or check.level == "fail"
        return failed

    raise typer.Exit(1 if asyncio.run(examine_all()) else 0)


@app.command("create-admin")
def create_admin(
    email: Annotated[str, typer.Option(prompt="E-mail address", help="Address to log in with.")],
    name: Annotated[str, typer.Option(prompt="Name", help="Name that others see.")],
    workspace: Annotated[
        str,
        typer.Option(prompt="Workspace to make (slug)", help="Slug of a new workspace, which they will own."),
    ],
    *,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password from the first line of standard input."),
    ] = False,
) -> None:
    """Make an account that owns a new workspace. The password is asked for, never an argument."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    asyncio.run(_create_admin(email, name, password, workspace))
    typer.echo(f"{email} owns the workspace {workspace}.")


@app.command()
def routes() -> None:
    """List every route with the permission that it asks for."""
    from courtyard import site  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    handlers = [*site.ROUTES, *(route for part in parts(_settings()) for route in part.routes)]
    rows = sorted(
        (path, method, str(handler.opt["permission"]))
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
    )
    width = max(len(path) for path, _, _ in rows)
    for path, method, permission in rows:
        typer.echo(f"{method:<6}  {path:<{width}}  {permission}")


@app.command()
def openapi(*, check: Check = False, write: Write = False) -> None:
    """Print the OpenAPI document of the HTTP interface."""
    from courtyard.server import openapi_document  # noqa: PLC0415

    _emit(_json(openapi_document()), OPENAPI_FILE, "openapi", check=check, write=write)


@app.command()
def asyncapi(*, check: Check = False, write: Write = False) -> None:
    """Print the AsyncAPI document of the events."""
    from courtyard.server import asyncapi_document  # noqa: PLC0415

    _emit(_json(asyncapi_document()), ASYNCAPI_FILE, "asyncapi", check=check, write=write)


@app.command()
def permissions(*, check: Check = False, write: Write = False) -> None:
    """Print the reference page of permissions and roles."""
    from courtyard.server import permissions_page  # noqa: PLC0415

    _emit(permissions_page(), PERMISSIONS_PAGE, "permissions", check=check, write=write)


@app.command(context_settings=PASS_ON, add_help_option=False)
def migrate(context: typer.Context) -> None:
    """Bring databases up to date, or write a new migration."""
    from courtyard.kernel.database.cli import commands  # noqa: PLC0415

    typer.main.get_command(commands(_databases))(args=context.args, prog_name=context.command_path)


@app.command()
def demo(
    *,
    leave: Annotated[bool, typer.Option("--exit", help="Leave after the conversation.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8000,
) -> None:
    """Start a server on fresh data and let a visitor and a volunteer talk."""
    from courtyard.demo import run  # noqa: PLC0415

    raise typer.Exit(run(exit=leave, port=port))


@config.command("check")
def config_check() -> None:
    """Say what is wrong with the settings; 0 if a server may start with them."""
    settings = _settings()
    typer.echo(f"The settings are good: {settings.mode}, {'SQLite' if settings.sqlite_path else 'PostgreSQL'}.")


@config.command("print")
def config_print(*, redact: Annotated[bool, typer.Option("--redact/--no-redact", help="Hide secrets.")] = True) -> None:
    """Print the settings in force, in the form of courtyard.toml."""
    from courtyard.kernel.settings import complete, read_settings  # noqa: PLC0415
    from courtyard.kernel.settings_text import as_toml  # noqa: PLC0415

    # Also of settings that no server may start with: this is how one finds out where they come from.
    typer.echo(as_toml(complete(read_settings(), make_secrets=False), redact=redact), nl=False)


@config.command("keys")
def config_keys() -> None:
    """Draw keys at random, in the form of courtyard.toml. Nothing is stored."""
    from courtyard.kernel.settings_sources import new_key  # noqa: PLC0415
    from courtyard.kernel.settings_text import key_tables  # noqa: PLC0415

    typer.echo(key_tables((ring, new_key()) for ring in ("signing_keys", "encryption_keys")), nl=False)


@config.command("reference")
def config_reference(*, check: Check = False, write: Write = False) -> None:
    """Print the reference page of the settings."""
    from courtyard.kernel.settings_text import reference  # noqa: PLC0415

    _emit(reference(), SETTINGS_PAGE, "config reference", check=check, write=write)


def _settings() -> "Settings":
    from courtyard.kernel.settings import load_settings  # noqa: PLC0415

    return load_settings(make_secrets=False)


def _databases() -> "tuple[Placement, Sequence[Application]]":
    from courtyard.kernel.database import Database, SharedPlacement  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    settings = _settings()
    return SharedPlacement(Database(settings.database_url, settings.database)), parts(settings)


async def _create_admin(email: str, name: str, password: str, workspace: str) -> None:
    import msgspec  # noqa: PLC0415

    from courtyard import site  # noqa: PLC0415
    from courtyard.kernel.accounts import NewAccount, register  # noqa: PLC0415
    from courtyard.kernel.context import Context  # noqa: PLC0415
    from courtyard.kernel.runtime import Runtime  # noqa: PLC0415
    from courtyard.kernel.schema import Email, Name, Password, Slug  # noqa: PLC0415
    from courtyard.kernel.settings import load_settings  # noqa: PLC0415
    from courtyard.kernel.workspaces import DatabaseIdentity, NewWorkspace, found_workspace  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    given = {"--email": (email, Email), "--name": (name, Name), "--workspace": (workspace, Slug)}
    for option, (value, kind) in {**given, "the password": (password, Password)}.items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            raise CommandError(f"{option} is not valid: {get_args(kind)[1].description}") from None
    settings = load_settings()
    runtime = Runtime.create(settings, parts(settings), DatabaseIdentity())
    try:
        await site.prepare(runtime)
        context = Context(runtime, None, None, "create-admin")
        try:
            owner = await register(context, NewAccount(email=email, name=name, password=password))
            await found_workspace(context, NewWorkspace(slug=workspace, name=workspace), owner.id)
            await context.commit()
        finally:
            await context.rollback()
    finally:
        await runtime.close()


def _operational(error: Exception) -> Iterator[str]:
    """Return the lines for an operator; none if the error is a fault of the program."""
    from courtyard.kernel.application import UnknownApplication  # noqa: PLC0415
    from courtyard.kernel.errors import Problem  # noqa: PLC0415
    from courtyard.kernel.settings_sources import SettingsError  # noqa: PLC0415

    match error:
        case SettingsError():
            yield from error.faults
        case CommandError() | UnknownApplication():
            yield str(error)
        case Problem():
            yield f"{error.title}. {error.detail}".rstrip(". ")
        case OSError(strerror=str(reason)):
            yield f"{error.filename}: {reason}" if error.filename else reason
        case _:
            pass


def _application_commands(name: str) -> Any:  # noqa: ANN401 - Typer keeps the class of commands to itself
    from courtyard.kernel.application import installed  # noqa: PLC0415

    settings = _settings()
    if name not in settings.applications:
        return None
    (application,) = installed([name])
    return None if application.commands is None else typer.main.get_command(application.commands)


def _emit(text: str, path: Path, command: str, *, check: bool, write: bool) -> None:
    if write:
        if not path.parent.is_dir():
            raise CommandError(f"there is no folder {path.parent} here: run this at the top of the repository")
        path.write_text(text, encoding="utf-8")
    elif check:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            typer.echo(f"{path} differs from the code: courtyard {command} --write", err=True)
            raise typer.Exit(1)
    else:
        typer.echo(text, nl=False)


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
