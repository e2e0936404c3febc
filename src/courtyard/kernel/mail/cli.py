"""The commands of `courtyard mail`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import MIMEPart
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from courtyard.kernel.ids import new_id
from courtyard.kernel.languages import ENGLISH, LANGUAGES
from courtyard.kernel.mail import mail
from courtyard.kernel.mail.composition import compose
from courtyard.kernel.mail.mails import TEST
from courtyard.kernel.mail.rendering import render
from courtyard.kernel.mail.schemas import Message
from courtyard.kernel.mail.store import Waiting
from courtyard.kernel.mail.transports import Refused, Unavailable, files, outbox_of, read, transport_of
from courtyard.kernel.schema import Email
from courtyard.kernel.settings import Settings


def commands(settings_of: Callable[[], Settings]) -> typer.Typer:
    """Return the commands.

    Args:
        settings_of: reads the settings; is called when a command runs.
    """
    app = typer.Typer(name="mail", help="Read the outbox, try the settings of mail.", no_args_is_help=True)

    @app.command()
    def outbox(
        last: Annotated[bool, typer.Option("--last", help="Print the newest mail as text.")] = False,
        to: Annotated[str | None, typer.Option(help="Only mail to this address.")] = None,
    ) -> None:
        """List the mails of the outbox, the newest last; with --last print the text of the newest."""
        _show(outbox_of(settings_of()), to, last=last)

    @app.command()
    def test(
        address: Annotated[str, typer.Argument(help="Where to send it.")],
        language: Annotated[str, typer.Option(help=f"One of {', '.join(LANGUAGES)}.")] = ENGLISH,
    ) -> None:
        """Send one mail with the settings in force, and say what became of it."""
        if language not in LANGUAGES:
            raise typer.BadParameter(f"Courtyard speaks {', '.join(LANGUAGES)}", param_hint="--language")
        try:
            msgspec.convert(address, Email)
        except msgspec.ValidationError:
            raise typer.BadParameter("this is not an e-mail address", param_hint="ADDRESS") from None
        _try(settings_of(), address, language)

    return app


def _show(folder: Path, to: str | None, *, last: bool) -> None:
    found = [(path, read(path)) for path in files(folder)]
    if to is not None:
        found = [(path, message) for path, message in found if message["To"] == to]
    if not found:
        typer.echo(f"There is no mail {f'to {to} ' if to else ''}in {folder}.", err=True)
        raise typer.Exit(1)
    if not last:
        for path, message in found:
            typer.echo(f"{path.name}  {message['To']}  {message['Subject']}")
        return
    path, message = found[-1]
    for name in ("To", "Subject", "Date"):
        typer.echo(f"{name}: {message[name]}")
    text = message.get_body(("plain",))
    typer.echo(f"File: {path}\n\n{'' if text is None else _lines(text)}", nl=False)


def _lines(part: MIMEPart) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def _try(settings: Settings, address: str, language: str) -> None:
    try:
        answer = asyncio.run(_send(settings, address, language))
    except TimeoutError:
        answer, sent = f"no end after {settings.mail.smtp.timeout_seconds:g} seconds", False
    except (Refused, Unavailable) as error:
        answer, sent = str(error), False
    else:
        sent = True
    typer.echo(f"The mail was {'' if sent else 'not '}sent: {answer}", err=not sent)
    if not sent:
        raise typer.Exit(1)


async def _send(settings: Settings, address: str, language: str) -> str:
    now = datetime.now(UTC)
    written = render(settings, mail, Message(to=address, template=TEST, language=language))
    waiting = Waiting(new_id(), new_id(), TEST.name, language, address, written.subject, b"", now, now)
    async with asyncio.timeout(settings.mail.smtp.timeout_seconds):
        transport = transport_of(settings)
        try:
            return await transport.deliver(compose(settings.mail, waiting, written.content), address)
        finally:
            await transport.close()
