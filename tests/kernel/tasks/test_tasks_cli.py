"""`courtyard tasks`, `courtyard schedules` and the commands that run workers, as an operator gives them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.kernel.tasks import probe
from tests.kernel.tasks.crews import Crew, make_crew
from tests.processes import PROGRAM
from tests.services import Databases

SECONDS = 60


@pytest.fixture
async def crew(databases: Databases, tmp_path: Path) -> Crew:
    """An installation on SQLite, in which nobody runs anything."""
    made = await make_crew(databases, tmp_path, "sqlite", "worker")
    await made.house.stop()
    return made


def courtyard(crew: Crew, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [*PROGRAM, *words],
        env=crew.environment,
        cwd=crew.folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
async def test_an_operator_sees_cancels_and_replays(crew: Crew) -> None:
    task_id = str(await crew.house.enqueue(probe.leave, "by hand"))
    assert f"{task_id}  " in (listed := courtyard(crew, "tasks", "list", "--state", "waiting"))
    assert "waiting    probe.leave  attempt 0" in listed
    assert json.loads(courtyard(crew, "tasks", "show", task_id))["payload"] == {"key": "by hand"}
    assert courtyard(crew, "tasks", "cancel", task_id) == "probe.leave is cancelled.\n"
    assert "The task has ended" in courtyard(crew, "tasks", "cancel", task_id, status=2)
    assert courtyard(crew, "tasks", "replay", task_id) == "probe.leave waits again.\n"
    assert [row.state for row in await crew.house.rows()] == ["waiting"]


@pytest.mark.slow
async def test_an_operator_runs_a_schedule(crew: Crew) -> None:
    assert "tasks.prune" in (listed := courtyard(crew, "schedules", "list"))
    assert "17 * * * * UTC" in listed
    courtyard(crew, "schedules", "run", "tasks.prune")
    assert [row.name for row in await crew.house.rows()] == ["tasks.prune"]
    assert "There is no schedule nothing" in courtyard(crew, "schedules", "run", "nothing", status=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (["worker"], {"RUNNER": "embedded"}, "the servers run the tasks"),
        (["scheduler"], {"RUNNER": "embedded"}, "the servers run the tasks"),
        (["worker", "--queue", "nowhere"], {}, "no task is on nowhere; the queues are apart, default"),
        (["worker"], {"RUNNER": "celery"}, "tasks.runner is celery, which needs tasks.broker_url"),
        (["worker"], {"RUNNER": "celery", "BROKER_URL": "sqs://"}, "tasks.broker_url"),
    ],
)
async def test_a_worker_that_cannot_work_says_why(
    crew: Crew, words: list[str], changes: dict[str, str], said: str
) -> None:
    crew.environment |= {f"COURTYARD_TASKS__{name}": value for name, value in changes.items()}
    assert said in courtyard(crew, *words, status=2)
