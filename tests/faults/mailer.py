"""A program that sends one mail after the other, and says after each commit which one: to be killed."""

import asyncio
import sys

from courtyard.kernel.context import Context
from courtyard.kernel.mail import send
from courtyard.kernel.settings import load_settings
from courtyard.kernel.telemetry import configure_logs
from courtyard.server import Server
from tests.kernel.mail.conftest import login_mail

PAUSE_SECONDS = 0.005


async def main() -> None:
    """Send until the end."""
    settings = load_settings()
    configure_logs(settings)
    server = Server(settings)
    await server.start()
    while True:
        context = Context(server.runtime, None, None, "mailer")
        mail_id = await send(context, login_mail())
        await context.commit()
        sys.stdout.write(f"{mail_id}\n")
        sys.stdout.flush()
        # As quickly as they are delivered, more or less.
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
