"""Courtyard itself, set up through its own command and its own API as an operator and people would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.contest import BenchmarkError
from benchmarks.databases import CONVERSATIONS, MESSAGES_EACH, TEXT
from benchmarks.http_load import fetch, request
from benchmarks.process import Live, Room, Seat, free_port, serving

COMMAND: Final = Path(sys.executable).with_name("courtyard")
API: Final = "/api/v1"
WORKSPACE: Final = "bench"
PASSWORD: Final = "a long and plain passphrase"
LIMITS: Final = (
    "accounts.enter_by_address",
    "accounts.login_by_address",
    "accounts.register_by_address",
    "http.requests_by_account",
    "http.requests_by_address",
)
# The sockets of the one room are shared out among this many accounts.
VOLUNTEERS: Final = 8
MAIL_SECONDS: Final = 10.0
CODE: Final = re.compile(r"^\s+([0-9]{6})\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Courtyard:
    """An installation with data in it, which can be started any number of times."""

    directory: Path
    environment: Mapping[str, str]
    seats: tuple[Seat, ...] = ()
    room: Room | None = None

    @classmethod
    def prepared(cls, directory: Path, *, database: str | None) -> Courtyard:
        """Make an installation: one workspace, its volunteers, and conversations of visitors with messages.

        Args:
            directory: for its data directory and its log; made here.
            database: address of an empty PostgreSQL database, or None for SQLite in the data directory.
        """
        directory.mkdir(parents=True)
        # Everything else as it is shipped, the access log included: nothing is switched off to look better.
        environment = {
            "COURTYARD_DATA_DIR": str(directory / "data"),
            "COURTYARD_TELEMETRY__LOG_FORMAT": "json",
            "COURTYARD_SECURITY__ACCESS_TOKEN_SECONDS": "86400",
            # All load comes from one address and few accounts: everything is counted, and the amounts are greater.
            "COURTYARD_LIMITS__POLICIES": ",".join(f"{name}=100000000/minute" for name in LIMITS),
        }
        if database is not None:
            environment["COURTYARD_DATABASE__URL"] = database
        empty = cls(directory, environment)
        if database is not None:
            empty.run("migrate", "up")
        with empty.running() as live:
            return _fill(empty, live.process.port)

    @contextmanager
    def running(self) -> Iterator[Live]:
        """Run `courtyard serve` until the block is left."""
        port = free_port()
        with serving(
            [str(COMMAND), "serve", "--port", str(port)],
            port=port,
            log=self.directory / "courtyard.log",
            ready="/health/ready",
            environment=self.environment,
            directory=self.directory,
        ) as process:
            yield Live(process, self.seats, self.room) if self.room else Live(process)

    def run(self, *arguments: str) -> None:
        """Run a command of Courtyard's to its end.

        Raises:
            BenchmarkError: it failed; with what it said.
        """
        ended = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise BenchmarkError(f"courtyard {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")


def _fill(installation: Courtyard, port: int) -> Courtyard:
    def send(method: str, path: str, body: dict[str, Any], token: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = msgspec.json.decode(
            fetch(port, request(method, f"{API}{path}", token=token, body=msgspec.json.encode(body)))
        )
        return answer

    def post(path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        return send("POST", path, body, token)

    def enter(name: str) -> str:
        email = f"{name}@example.org"
        started = post("/accounts", {"email": email, "password": PASSWORD, "name": name})
        proof = {"by": "code", "challenge_id": started["challenge_id"], "code": _code_for(installation, email)}
        post("/accounts/confirm", proof)
        return str(post("/sessions", {"email": email, "password": PASSWORD})["access_token"])

    owner = enter("owner")
    post("/workspaces", {"slug": WORKSPACE, "name": "Benchmarks"}, owner)
    inside = f"/workspaces/{WORKSPACE}"
    volunteers = []
    for number in range(VOLUNTEERS):
        volunteers.append(enter(f"volunteer{number}"))
        member = {"email": f"volunteer{number}@example.org", "roles": ["chat.volunteer"]}
        post(f"{inside}/members", member, owner)

    seats = []
    conversation_id = ""
    for number in range(CONVERSATIONS):
        visitor = str(post("/sessions/anonymous", {"name": f"visitor {number}"})["access_token"])
        opened = post(f"{inside}/chat/conversations", {"message": {"text": TEXT}}, visitor)
        conversation_id = opened["id"]
        messages = f"{inside}/chat/conversations/{conversation_id}/messages"
        for _ in range(MESSAGES_EACH - 1):
            post(messages, {"text": TEXT}, visitor)
        seats.append(Seat(f"{API}{messages}", visitor))
    # Staff may write in conversations that they are in.
    room = f"{inside}/chat/conversations/{conversation_id}"
    send("PATCH", f"{inside}/settings", {"sections": {"chat": {"capacity": VOLUNTEERS}}}, owner)
    post(f"{room}/claim", {}, volunteers[0])
    for volunteer in volunteers[1:]:
        post(f"{room}/join", {}, volunteer)
    return replace(installation, seats=tuple(seats), room=Room(WORKSPACE, conversation_id, tuple(volunteers)))


def _code_for(installation: Courtyard, email: str) -> str:
    """Wait for the mail with the code, which the server writes into a folder, and return the code."""
    deadline = time.monotonic() + MAIL_SECONDS
    while time.monotonic() < deadline:
        for path in (installation.directory / "data" / "outbox").glob("[!.]*.eml"):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            text = mail.get_body(("plain",))
            found = CODE.search(text.get_content()) if text is not None and mail["To"] == email else None
            if found is not None:
                return found[1]
        time.sleep(0.02)
    raise BenchmarkError(f"no mail with a code has come to {email}")
