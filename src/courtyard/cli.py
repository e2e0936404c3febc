"""The `courtyard` command.

What is slow to import is imported by the command that needs it: `courtyard --help` loads nothing of the
kernel.
"""

import asyncio
import atexit
import contextlib
import getpass
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer
from typer.core import TyperGroup
from typing_extensions import override

if TYPE_CHECKING:
    from courtyard.kernel.application import Application
    from courtyard.kernel.context import Context
    from courtyard.kernel.database import Placement
    from courtyard.kernel.runtime import Runtime
    from courtyard.kernel.settings import Settings
    from courtyard.kernel.trail import Described
    from courtyard.kernel.workspaces import Explanation

T = TypeVar("T")

SETTINGS_PAGE = Path("docs/reference/settings.md")
OPENAPI_FILE = Path("docs/reference/openapi.json")
ASYNCAPI_FILE = Path("docs/reference/asyncapi.json")
PERMISSIONS_PAGE = Path("docs/reference/permissions.md")
LIMITS_PAGE = Path("docs/reference/limits.md")
METRICS_PAGE = Path("docs/reference/metrics.md")
AUDIT_NAMES_PAGE = Path("docs/reference/audit-names.md")
OPERATIONAL_ERROR = 2
INTERRUPTED = 130

# For commands that hand everything behind their name to another program.
PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}


class CommandError(Exception):
    """A command cannot do what it was asked to; the message is the one line that says why."""


class Commands(TyperGroup):
    """The commands here and, where a name is not known, those of the part of the house of that name."""

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        ctx.obj = _working
        return super().get_command(ctx, cmd_name) or _part_commands(cmd_name)


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


def program() -> None:
    """Run the command line as a process of its own, which ends with it.

    Once everything that is to be done at the end is done, the interpreter is not taken apart: threads of obstore's Rust
    would go on meanwhile, and one that hands over what it has just read ends the process by SIGABRT (PyO3 issue 6084;
    Python 3.14 lets such threads hang instead).
    """
    status: list[Any] = [1]  # what an exception that nobody caught ends with
    # The first to be registered is the last to be called.
    atexit.register(_leave, status)
    try:
        main()
    except SystemExit as end:
        status[0] = end.code
        raise
    status[0] = 0


def _leave(status: list[Any]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status[0] if isinstance(status[0], int) else int(status[0] is not None))


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
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="Only tasks of this queue; may be given again.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=1_000, help="Tasks at once.")] = None,
    *,
    schedules: Annotated[bool, typer.Option("--schedules", help="Look after the schedules too.")] = False,
) -> None:
    """Run background tasks, where `tasks.runner` says that the servers do not."""
    from courtyard import working  # noqa: PLC0415

    _worker_settings()
    try:
        working.work(queues=queue or None, concurrency=concurrency, runs_schedules=schedules)
    except ValueError as error:
        raise CommandError(str(error)) from None


@app.command()
def scheduler() -> None:
    """Ask for the tasks whose time has come. Any number of these may run."""
    from courtyard import working  # noqa: PLC0415

    _worker_settings()
    working.work(queues=None, concurrency=None, runs_tasks=False, runs_schedules=True)


@app.command(context_settings=PASS_ON, add_help_option=False)
def flower(context: typer.Context) -> None:
    """Run Flower, the monitor of Celery, with its own options, such as --port=5555."""
    from courtyard import working  # noqa: PLC0415

    working.watch(context.args)


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
def why(
    email: Annotated[str, typer.Argument(help="Address of the account.")],
    permission: Annotated[str, typer.Argument(help="Such as chat.message.send.")],
    workspace: Annotated[str, typer.Option(help="Slug of the workspace.")],
    thing: Annotated[str | None, typer.Option(help="KIND:ID of one thing, such as chat.conversation:0193….")] = None,
) -> None:
    """Say whether somebody may do something in a workspace, and why. The status is 0 for yes and 1 for no."""
    explanation = asyncio.run(_explain(email, permission, workspace, thing))
    typer.echo(f"{email} {'may' if explanation.allowed else 'may not'} {permission} in {workspace}")
    for reason in explanation.reasons:
        said = {
            "role": reason.role,
            "on": None if reason.scope_type is None else f"{reason.scope_type}:{reason.scope_id}",
            "given by": reason.granted_by_name,
            "since": reason.since,
            "until": reason.expires_at,
        }
        words = [f"{word} {value}" for word, value in said.items() if value is not None]
        typer.echo(f"  {reason.code.replace('_', ' ')}{': ' if words else ''}{', '.join(words)}")
    raise typer.Exit(0 if explanation.allowed else 1)


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


@app.command()
def limits(*, check: Check = False, write: Write = False) -> None:
    """Print the reference page of rate limits and quotas."""
    from courtyard.server import limits_page  # noqa: PLC0415

    _emit(limits_page(), LIMITS_PAGE, "limits", check=check, write=write)


@app.command()
def metrics(*, check: Check = False, write: Write = False) -> None:
    """Print the reference page of the metrics."""
    from courtyard.server import metrics_page  # noqa: PLC0415

    _emit(metrics_page(), METRICS_PAGE, "metrics", check=check, write=write)


@app.command(context_settings=PASS_ON, add_help_option=False)
def quotas(context: typer.Context) -> None:
    """Show and set how much of something a workspace may have."""
    from courtyard.kernel.quotas import commands  # noqa: PLC0415

    typer.main.get_command(commands(_in_workspace))(args=context.args, prog_name=context.command_path)


@app.command("audit-names")
def audit_names(*, check: Check = False, write: Write = False) -> None:
    """Print the reference page of the names in the audit log."""
    from courtyard.server import audit_names_page  # noqa: PLC0415

    _emit(audit_names_page(), AUDIT_NAMES_PAGE, "audit-names", check=check, write=write)


@app.command(context_settings=PASS_ON, add_help_option=False)
def audit(context: typer.Context) -> None:
    """Read, verify and shorten the audit log."""
    from courtyard.kernel.audit.cli import commands  # noqa: PLC0415

    typer.main.get_command(commands(_opened))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def migrate(context: typer.Context) -> None:
    """Bring databases up to date, or write a new migration."""
    from courtyard.kernel.database.cli import commands  # noqa: PLC0415

    typer.main.get_command(commands(_databases))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def backup(context: typer.Context) -> None:
    """Make backups, look at them, and restore."""
    from courtyard.kernel.backup.cli import commands  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    def configured() -> "tuple[Settings, list[Application]]":
        settings = _settings()
        return settings, parts(settings)

    typer.main.get_command(commands(configured))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def mail(context: typer.Context) -> None:
    """Read the mails of the outbox, or send one to try the settings."""
    from courtyard.kernel.mail.cli import commands  # noqa: PLC0415

    typer.main.get_command(commands(_settings))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def tasks(context: typer.Context) -> None:
    """See background work, cancel it, have it done again."""
    from courtyard.kernel.tasks.cli import commands  # noqa: PLC0415

    typer.main.get_command(commands(_working))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def schedules(context: typer.Context) -> None:
    """See what is done again and again, and have it done now."""
    from courtyard.kernel.tasks.cli import schedule_commands  # noqa: PLC0415

    typer.main.get_command(schedule_commands(_working))(args=context.args, prog_name=context.command_path)


@app.command(context_settings=PASS_ON, add_help_option=False)
def keys(context: typer.Context) -> None:
    """List keys, and let new ones take over."""
    from courtyard.keys import commands  # noqa: PLC0415

    typer.main.get_command(commands)(args=context.args, prog_name=context.command_path)


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
    from courtyard.kernel.runtime import limit_faults  # noqa: PLC0415
    from courtyard.kernel.settings_sources import SettingsError  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    settings = _settings()
    if faults := limit_faults(settings, parts(settings)):
        raise SettingsError(*faults)
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


def _worker_settings() -> None:
    if _settings().tasks.runner == "embedded":
        raise CommandError("tasks.runner is embedded: the servers run the tasks; set it to worker")


def _settings() -> "Settings":
    from courtyard.kernel.settings import load_settings  # noqa: PLC0415

    return load_settings(make_secrets=False)


def _databases() -> "tuple[Placement, Sequence[Application]]":
    from courtyard.kernel.clock import SystemClock  # noqa: PLC0415
    from courtyard.kernel.crypto import KeyRing  # noqa: PLC0415
    from courtyard.kernel.database import Database  # noqa: PLC0415
    from courtyard.kernel.rings import Ring  # noqa: PLC0415
    from courtyard.kernel.shards import ShardedPlacement  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    settings = _settings()
    declared, keys = parts(settings), KeyRing(Ring(settings.security.encryption_ring, SystemClock()))
    return ShardedPlacement(Database(settings.database_url, settings.database), settings, declared, keys), declared


@contextlib.asynccontextmanager
async def _opened(*, make_secrets: bool = False) -> "AsyncIterator[Runtime]":
    """Open what is configured, with databases that are up to date, and close it again."""
    from courtyard import site  # noqa: PLC0415
    from courtyard.kernel.runtime import Runtime  # noqa: PLC0415
    from courtyard.kernel.settings import load_settings  # noqa: PLC0415
    from courtyard.kernel.workspaces import DatabaseIdentity  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    settings = load_settings(make_secrets=make_secrets)
    runtime = Runtime.create(settings, parts(settings), DatabaseIdentity())
    try:
        await site.prepare(runtime)
        yield runtime
    finally:
        await runtime.close()


async def _create_admin(email: str, name: str, password: str, workspace: str) -> None:
    import msgspec  # noqa: PLC0415

    from courtyard.kernel.accounts import NewAccount, create_person  # noqa: PLC0415
    from courtyard.kernel.schema import Email, Name, Password, Slug  # noqa: PLC0415
    from courtyard.kernel.workspaces import NewWorkspace, found_workspace  # noqa: PLC0415

    given = {"--email": (email, Email), "--name": (name, Name), "--workspace": (workspace, Slug)}
    for option, (value, kind) in {**given, "the password": (password, Password)}.items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            raise CommandError(f"{option} is not valid: {get_args(kind)[1].description}") from None
    async with _working("create-admin") as context:
        owner = await create_person(context, NewAccount(email=email, name=name, password=password))
        await found_workspace(context, NewWorkspace(slug=workspace, name=workspace), owner.id)


@contextlib.asynccontextmanager
async def _working(command: str, workspace: str | None = None) -> "AsyncIterator[Context]":
    """Open a context for a command, in a workspace or outside of any, which is committed at its end."""
    from courtyard.kernel.context import Context  # noqa: PLC0415
    from courtyard.kernel.errors import NotFound  # noqa: PLC0415
    from courtyard.kernel.trail import Origin  # noqa: PLC0415

    async with _opened(make_secrets=True) as runtime:
        try:
            access = None if workspace is None else await runtime.identity.access(runtime, None, workspace)
        except NotFound:
            raise CommandError(f"there is no workspace {workspace}") from None
        context = Context(runtime, None, access, command, Origin("cli", _described(command)))
        try:
            yield context
            await context.commit()
        finally:
            await context.rollback()


def _described(command: str) -> "Callable[[], Described]":
    """Return what the audit log is told of a command: which one, and who of this machine gave it."""
    from courtyard.kernel.trail import Described  # noqa: PLC0415

    def described() -> Described:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            # A number without a name, as in many containers.
            user = str(os.getuid())
        return Described(arguments={"command": command, "user": user})

    return described


def _in_workspace(workspace: str, action: "Callable[[Context], Awaitable[T]]") -> "T":
    return asyncio.run(_carry_out(workspace, action))


async def _carry_out(workspace: str, action: "Callable[[Context], Awaitable[T]]") -> "T":
    async with _working("command", workspace) as context:
        return await action(context)


async def _explain(email: str, permission: str, workspace: str, thing: str | None) -> "Explanation":
    from uuid import UUID  # noqa: PLC0415

    from courtyard.kernel.accounts import find_account_id  # noqa: PLC0415
    from courtyard.kernel.schema import normalise_email  # noqa: PLC0415
    from courtyard.kernel.workspaces import explain  # noqa: PLC0415

    scope = None
    if thing is not None:
        kind, _, thing_id = thing.partition(":")
        try:
            scope = (kind, UUID(thing_id))
        except ValueError:
            raise CommandError("--thing is KIND:ID, such as chat.conversation:0193…") from None

    async def look(context: "Context") -> "Explanation":
        account_id = await find_account_id(context, normalise_email(email))
        if account_id is None:
            raise CommandError(f"nobody has the address {email}")
        return await explain(context, account_id, permission, scope)

    return await _carry_out(workspace, look)


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


def _part_commands(name: str) -> Any:  # noqa: ANN401 - Typer keeps the class of commands to itself
    from courtyard.kernel.application import installed  # noqa: PLC0415
    from courtyard.server import KERNEL  # noqa: PLC0415

    parts = installed([name]) if name in _settings().applications else [part for part in KERNEL if part.name == name]
    commands = parts[0].commands if parts else None
    if commands is None:
        return None
    found: Any = typer.main.get_command(commands if isinstance(commands, typer.Typer) else commands())
    if name == "workspaces":
        # What moves them stands above them.
        from courtyard.kernel.relocation.cli import commands as relocation  # noqa: PLC0415

        for command, part in relocation().items():
            found.add_command(part, command)
    return found


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
