"""A process that is killed while it sends (`kill -9`): what was committed is delivered, by it or by another."""

import asyncio
import os
import random
import re
import sys
from pathlib import Path

import pytest

from tests.faults.load import DEADLINE_SECONDS, Server
from tests.faults.mailer import TOGETHER
from tests.kernel.mail.conftest import MailRecord, Post
from tests.kernel.tasks.conftest import House
from tests.processes import Process
from tests.running import MovableClock
from tests.services import Databases, Kind

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ROUNDS = 6
LEASE_SECONDS = 1


def committed(output: Path) -> set[str]:
    # The last line may have been cut off by the kill; then nobody has been told of that mail.
    return set(re.findall(r"^([0-9a-f-]{36})\n", output.read_text(), re.MULTILINE))


async def test_nothing_that_was_committed_is_lost(
    database_kind: Kind, databases: Databases, tmp_path: Path, clock: MovableClock
) -> None:
    url = await databases.new(database_kind)
    unwanted = ("COURTYARD_", "PYTHONDONTWRITEBYTECODE")
    settings = {
        "COURTYARD_DATA_DIR": str(tmp_path / "data"),
        "COURTYARD_DATABASE__URL": url,
        "COURTYARD_TASKS__SWEEP_SECONDS": "0.2",
        "COURTYARD_TASKS__LEASE_SECONDS": str(LEASE_SECONDS),
        "COURTYARD_MAIL__OUTBOX_FILES": "100000",
        "COURTYARD_TELEMETRY__LOG_LEVEL": "WARNING",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment |= settings | {"PYTHONPATH": str(ROOT)}
    mailer = Process([sys.executable, "-m", "tests.faults.mailer"], tmp_path / "mailer.out", environment)
    for round_number in range(ROUNDS):
        before = len(committed(mailer.output)) if mailer.output.exists() else 0
        await mailer.start()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(committed(mailer.output)) < before + TOGETHER:
                assert mailer.runs, mailer.output.read_text()
                await asyncio.sleep(0.01)
        # Somewhere between the commit of many and the delivery of the last of them.
        await asyncio.sleep(random.uniform(0, 0.02))
        await mailer.kill()
        assert "Traceback" not in mailer.output.read_text(), f"in round {round_number}"

    reader = Post(House(tmp_path / "data", url, clock))
    told = committed(mailer.output)
    left = [row for row in await reader.rows() if row.state != "sent"]
    assert left, "each kill came when there was nothing to do"
    # Another process, started by an operator, finds what they left.
    server = Server(tmp_path, "server", {name.removeprefix("COURTYARD_"): value for name, value in settings.items()})
    await server.start()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            rows = await reader.rows()
            while not all(row.state == "sent" for row in rows):
                await asyncio.sleep(0.05)
                rows = await reader.rows()
    finally:
        await server.close()
        await reader.house.stop()
    delivered = {path.stem.partition("-")[2] for path in (tmp_path / "data/outbox").glob("*.eml")}
    assert told <= delivered
    assert {str(row.id) for row in rows} == delivered
    assert all(is_clean(row) for row in rows)
    assert server.faults == []


def is_clean(row: MailRecord) -> bool:
    return row.content is None and row.settled_at is not None
