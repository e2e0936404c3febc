"""`courtyard doctor` about what stands beside the server: each line says what is wrong and what to do."""

import socket
from pathlib import Path
from typing import Protocol

import pytest

from courtyard.doctor import Check, examine
from tests.kernel.mail.sink import PASSWORD, USERNAME, Certificate, open_sink
from tests.kernel.tasks.crews import own_vhost

SECRET = "hunter2"


class Set(Protocol):
    """Sets variables of the environment, named without `COURTYARD_`."""

    def __call__(self, **settings: object) -> None: ...


@pytest.fixture(autouse=True)
def everywhere(place: Path) -> Path:
    """Every test is in a folder of its own."""
    return place


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Set:
    def to(**settings: object) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"COURTYARD_{name}", str(value))

    return to


@pytest.fixture
def nobody() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


async def said_of(subject: str) -> Check:
    """Return the only line about a subject."""
    (check,) = [check async for check in examine() if check.subject == subject]
    assert SECRET not in str(check)
    return check


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
async def test_a_broker_that_is_away(scheme: str, configure: Set, nobody: str) -> None:
    configure(TASKS__RUNNER="celery", TASKS__BROKER_URL=f"{scheme}://people:{SECRET}@{nobody}/1")
    check = await said_of("broker")
    assert check.level == "fail"
    assert check.finding.startswith(f"{scheme}://people:***@{nobody}/1 does not answer: ")
    assert check.mend == "start it, or correct tasks.broker_url; tasks wait in the database until then"


@pytest.mark.services
async def test_a_broker_that_is_there(configure: Set) -> None:
    async with own_vhost() as broker:
        configure(TASKS__RUNNER="celery", TASKS__BROKER_URL=broker)
        check = await said_of("broker")
        assert (check.level, check.finding.split()[0], check.mend) == ("ok", "RabbitMQ", "")


@pytest.mark.parametrize(
    ("runner", "where"), [("embedded", "beside the requests"), ("worker", "by `courtyard worker`")]
)
async def test_no_broker_where_none_is_needed(runner: str, where: str, configure: Set) -> None:
    configure(TASKS__RUNNER=runner)
    assert await said_of("broker") == Check(
        "ok", "broker", f"none is needed: tasks are run {where}, out of the database"
    )


async def test_a_bucket_that_is_away(configure: Set, nobody: str) -> None:
    configure(
        FILES__STORAGE__KIND="s3",
        FILES__STORAGE__BUCKET="letters",
        FILES__STORAGE__REGION="eu",
        FILES__STORAGE__ENDPOINT=f"http://{nobody}",
        FILES__STORAGE__ACCESS_KEY_ID="people",
        FILES__STORAGE__SECRET_ACCESS_KEY=SECRET,
    )
    check = await said_of("storage")
    assert check.level == "fail"
    assert check.finding.startswith(f"s3, letters at http://{nobody} does not keep what is stored: ")
    assert check.mend == "correct files.storage, or the rights on the bucket"


async def test_a_folder_that_is_none(configure: Set, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    configure(FILES__STORAGE__PATH=folder)
    assert (await said_of("storage")).finding == f"{folder} is made at the first upload"
    folder.write_text("a file")
    check = await said_of("storage")
    assert (check.level, check.mend) == ("fail", "make it writable")
    folder.unlink()
    folder.mkdir()
    check = await said_of("storage")
    assert (check.level, check.finding.partition(" keeps ")[0]) == ("ok", str(folder))
    # Nothing of the look stays.
    assert not any(path.is_file() for path in folder.rglob("*"))


async def test_a_mail_server(configure: Set, nobody: str) -> None:
    host, port = nobody.split(":")
    configure(MAIL__TRANSPORT="smtp", MAIL__SMTP__HOST=host, MAIL__SMTP__PORT=port, MAIL__SMTP__SECURITY="none")
    check = await said_of("mail")
    assert (check.level, check.mend) == ("fail", "start it, or correct mail.smtp; mail waits until then")
    assert check.finding.startswith(f"{nobody} does not answer: ")
    async with open_sink(login=True) as sink:
        configure(MAIL__SMTP__PORT=sink.port, MAIL__SMTP__USERNAME=USERNAME, MAIL__SMTP__PASSWORD=SECRET)
        check = await said_of("mail")
        assert (check.level, check.mend) == ("fail", "correct mail.smtp.username and mail.smtp.password")
        assert " refuses the login: 535 " in check.finding
        configure(MAIL__SMTP__PASSWORD=PASSWORD)
        check = await said_of("mail")
        assert (check.level, f"127.0.0.1:{sink.port} takes mail from here (none), " in check.finding) == ("ok", True)
    assert sink.taken == []


async def test_a_mail_server_whose_certificate_nobody_trusts(configure: Set, tmp_path: Path) -> None:
    async with open_sink(certificate=Certificate.make(tmp_path), implicit_tls=True) as sink:
        configure(MAIL__TRANSPORT="smtp", MAIL__SMTP__HOST="localhost", MAIL__SMTP__PORT=sink.port)
        configure(MAIL__SMTP__SECURITY="tls")
        check = await said_of("mail")
    assert check.level == "fail"
    assert check.mend.startswith("correct mail.smtp.security or mail.smtp.host")
