"""A program that sends mails, many at a time, and says after each commit which ones: to be killed."""

import asyncio
import sys

from courtyard.kernel.context import Context
from courtyard.kernel.mail import send
from courtyard.kernel.settings import load_settings
from courtyard.kernel.telemetry import configure_logs
from courtyard.server import Server
from tests.kernel.mail.conftest import login_mail

TOGETHER = 20
# As quickly as they are delivered, more or less.
PAUSE_SECONDS = 0.1


async def main() -> None:
    """Send until the end."""
    settings = load_settings()
    configure_logs(settings)
    server = Server(settings)
    await server.start()
    while True:
        context = Context(server.runtime, None, None, "mailer")
        mail_ids = [await send(context, login_mail()) for _ in range(TOGETHER)]
        await context.commit()
        sys.stdout.writelines(f"{mail_id}\n" for mail_id in mail_ids)
        sys.stdout.flush()
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
