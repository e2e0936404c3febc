"""The mails of the server, which writes them into a folder as long as it has no mail server."""

import asyncio
import re
from email import message_from_bytes, policy
from pathlib import Path

from courtyard.demo.failure import DemoFailed

SECONDS = 10.0
LOOK_SECONDS = 0.02
CODE = re.compile(r"^\s+([0-9]{6})\r?$", re.MULTILINE)


class Outbox:
    """Reads the folder.

    Args:
        folder: of a file for each mail.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def code_for(self, address: str) -> str:
        """Wait for the mail to an address, and return the code in it.

        Raises:
            DemoFailed: none comes.
        """
        deadline = asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < deadline:
            for path in self._folder.glob("[!.]*.eml"):
                mail = message_from_bytes(path.read_bytes(), policy=policy.default)
                text = mail.get_body(("plain",))
                found = CODE.search(text.get_content()) if text is not None and mail["To"] == address else None
                if found is not None:
                    return found[1]
            await asyncio.sleep(LOOK_SECONDS)
        raise DemoFailed(f"no mail with a code has come to {address}")
