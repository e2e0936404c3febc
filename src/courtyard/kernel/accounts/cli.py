"""`courtyard accounts`: what an operator does with accounts. Running servers see it within a second."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from courtyard.kernel.accounts.queries import get_account
from courtyard.kernel.accounts.queries import operators as queries
from courtyard.kernel.accounts.queries.operators import AccountState
from courtyard.kernel.accounts.service import accounts, sessions, totp
from courtyard.kernel.context import Context
from courtyard.kernel.schema import normalise_email

Open: TypeAlias = Callable[[str], AbstractAsyncContextManager[Context]]
Who = Annotated[str, typer.Argument(metavar="EMAIL|ID", help="Address or id of the account.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

commands = typer.Typer(
    help="See to accounts, as an operator.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@commands.command("list")
def list_accounts(
    context: typer.Context,
    search: Annotated[str, typer.Option(help="Part of an address or of a name.")] = "",
    visitors: Annotated[bool, typer.Option("--visitors", help="Anonymous visitors too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
) -> None:
    """List accounts, the newest first."""

    async def run(work: Context) -> None:
        for account in await queries.list_accounts(work, search, limit=limit, visitors=visitors):
            name = f"{account.email or '-'}  {_printable(account.name)}"
            typer.echo(f"{account.id}  {account.kind:<7}  {account.state:<11}  {name}")

    _run(context, run)


@commands.command()
def show(context: typer.Context, who: Who) -> None:
    """Show an account: its state, how it can prove itself, and how many sessions are open."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        proofs = await queries.get_proofs(work, account.id)
        open_sessions = await sessions.list_sessions(work, account.id)
        for name, value in {
            "id": account.id,
            "kind": account.kind,
            "e-mail": account.email or "-",
            "name": _printable(account.name),
            "state": account.state,
            "made": f"{account.created_at:%Y-%m-%d %H:%M} UTC",
            "password": "must be changed" if account.must_change_password else _yes(proofs.password),
            "authenticator apps": proofs.authenticator_apps,
            "passkeys": proofs.passkeys,
            "other providers": proofs.identities,
            "API keys": proofs.api_keys,
            "sessions": len(open_sessions),
        }.items():
            typer.echo(f"{name:<18} {value}")

    _run(context, run)


@commands.command()
def deactivate(context: typer.Context, who: Who) -> None:
    """Refuse an account everything; its sessions end. It comes back by `reactivate` alone."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        await accounts.disable(work, account.id, by="operator")
        typer.echo(f"{account.label} is deactivated.")

    _run(context, run)


@commands.command()
def reactivate(context: typer.Context, who: Who) -> None:
    """Let a deactivated account back in."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        await accounts.enable(work, account.id)
        typer.echo(f"{account.label} is active.")

    _run(context, run)


@commands.command()
def delete(context: typer.Context, who: Who, yes: Yes = False) -> None:
    """Delete an account for good. What it wrote stays, without a name."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        if not yes:
            typer.confirm(f"Delete {account.label} for good?", abort=True)
        await accounts.remove(work, account.id)
        typer.echo(f"{account.label} is deleted.")

    _run(context, run)


@commands.command("force-password-change")
def force_password_change(context: typer.Context, who: Who) -> None:
    """Let an account do nothing else before its password is changed."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        await accounts.force_password_change(work, account.id)
        typer.echo(f"{account.label} has to change the password.")

    _run(context, run)


@commands.command("remove-authenticator")
def remove_authenticator(context: typer.Context, who: Who, yes: Yes = False) -> None:
    """Remove the authenticator app of somebody who has lost it and the recovery codes; the owner is told by mail."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        if not yes:
            typer.confirm(f"Have you made sure that it is {account.label} who asks for this?", abort=True)
        await totp.drop(work, await get_account(work, account.id))
        typer.echo(f"{account.label} logs in without a code now.")

    _run(context, run)


@commands.command("sessions")
def list_sessions(context: typer.Context, who: Who) -> None:
    """List the open sessions of an account, the newest first."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        for session in await sessions.list_sessions(work, account.id):
            used = f"{session.used_at:%Y-%m-%d %H:%M}"
            proofs = ", ".join(session.methods) or "none"
            typer.echo(f"{session.id}  {used}  {session.address or '-':<18}  {proofs}  {_printable(session.device)}")

    _run(context, run)


@commands.command("end-sessions")
def end_sessions(context: typer.Context, who: Who) -> None:
    """End every session of an account: its tokens are refused and its sockets cut."""

    async def run(work: Context) -> None:
        account = await _find(work, who)
        await sessions.end_sessions(work, account.id)
        typer.echo(f"Every session of {account.label} has ended.")

    _run(context, run)


def _run(context: typer.Context, run: Callable[[Context], Coroutine[None, None, None]]) -> None:
    open_context: Open = context.obj

    async def within() -> None:
        async with open_context(f"accounts {context.info_name}") as work:
            await run(work)

    asyncio.run(within())


async def _find(work: Context, who: str) -> AccountState:
    try:
        return await queries.get_account_state(work, UUID(who))
    except ValueError:
        return await queries.get_account_state(work, normalise_email(who))


def _printable(text: str) -> str:
    """Return what somebody calls themselves without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _yes(value: object) -> str:
    return "yes" if value else "no"
