"""The application of `docs/howto/write-an-application.md`, built from the blocks of that page, installed and used."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.mailbox import Mailbox
from tests.processes import PROGRAM
from tests.sockets import Socket

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/howto/write-an-application.md"
BLOCK = re.compile(r"^\*\*`([\w./-]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 60


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files of the page."""
    folder = tmp_path_factory.mktemp("courtyard-guestbook")
    blocks = BLOCK.findall(PAGE.read_text())
    for name, text in blocks:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def environment(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the package is installed, on data of its own."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=project, check=True, capture_output=True, timeout=SECONDS)
    (wheel,) = folder.glob("*.whl")
    # What an installer does with a wheel of pure Python: the metadata with the entry point is in it.
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURTYARD_")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "COURTYARD_APPLICATIONS": "chat,guestbook",
        "COURTYARD_DATA_DIR": str(folder / "data"),
        "COURTYARD_SECURITY__ARGON2_TIME_COST": "1",
        "COURTYARD_SECURITY__ARGON2_MEMORY_KIB": "64",
    }


def courtyard(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=Path(environment["COURTYARD_DATA_DIR"]).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def url(environment: dict[str, str]) -> Iterator[str]:
    """A server with the application, started as anybody starts one."""
    log = Path(environment["COURTYARD_DATA_DIR"]).with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--port", "0"],
            cwd=Path(environment["COURTYARD_DATA_DIR"]).parent,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(timeout=SECONDS)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until a server answers, and return where."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{found[0]}/health/ready", trust_env=False).is_success:
                    return found[0]
        time.sleep(0.05)
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")


class Member:
    """Somebody with an account, as a client of the server."""

    def __init__(self, url: str, name: str, mailbox: Mailbox) -> None:
        self.url = url
        self.mailbox = mailbox
        self.name = name
        self.email = f"{name}-{secrets.token_hex(4)}@example.org"
        self.token = ""
        self.http = httpx2.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, timeout=30)

    async def log_in(self) -> None:
        credentials = {"email": self.email, "password": "correct horse battery"}
        started = await self.ok("POST", "/accounts", {**credentials, "name": self.name})
        mail = await self.mailbox.wait_for(self.email)
        proof = {"by": "code", "challenge_id": started["challenge_id"], "code": mail.code}
        await self.ok("POST", "/accounts/confirm", proof)
        self.token = (await self.ok("POST", "/sessions", credentials))["access_token"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    async def ok(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        answer = await self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture
async def people(url: str, environment: dict[str, str]) -> AsyncIterator[tuple[Member, Member, Member]]:
    """An owner, a reader and a stranger."""
    mailbox = Mailbox(Path(environment["COURTYARD_DATA_DIR"]))
    members = Member(url, "owner", mailbox), Member(url, "reader", mailbox), Member(url, "stranger", mailbox)
    for member in members:
        await member.log_in()
    yield members
    for member in members:
        await member.http.aclose()


@pytest.fixture
async def workspace(people: tuple[Member, Member, Member]) -> str:
    """The slug of a workspace of theirs."""
    owner, reader, _ = people
    slug = f"w-{secrets.token_hex(4)}"
    await owner.ok("POST", "/workspaces", {"slug": slug, "name": "Guests"})
    await owner.ok("POST", f"/workspaces/{slug}/members", {"email": reader.email, "roles": ["guestbook.reader"]})
    return slug


def test_the_page_shows_a_whole_application(project: Path) -> None:
    files = {str(path.relative_to(project)) for path in project.rglob("*.*") if path.is_file()}
    assert {name.rpartition("/")[2] for name in files} >= {
        "pyproject.toml",
        "__init__.py",
        "models.py",
        "0001_entries.py",
        "permissions.py",
        "queries.py",
        "service.py",
        "routes.py",
        "sockets.py",
        "events.py",
    }


def test_its_code_passes_the_checks_of_this_repository(project: Path) -> None:
    ruff = str(Path(sys.executable).with_name("ruff"))
    rules = ["--ignore", "D103,INP001,N999"]
    command = [ruff, "check", "--config", str(ROOT / "pyproject.toml"), "--no-cache", *rules, str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout


def test_models_and_migrations_agree(environment: dict[str, str]) -> None:
    courtyard(environment, "migrate", "check")


def test_the_commands_know_it(environment: dict[str, str]) -> None:
    line = "POST    /api/v1/workspaces/{workspace:str}/guestbook/entries"
    (found,) = [route for route in courtyard(environment, "routes").splitlines() if route.startswith(line)]
    assert found.endswith(" guestbook.entry.write")


async def test_entries_are_written_and_read_by_pages(people: tuple[Member, Member, Member], workspace: str) -> None:
    owner, reader, _ = people
    path = f"/workspaces/{workspace}/guestbook/entries"
    written = [await owner.ok("POST", path, {"text": f"line {number}"}) for number in range(3)]
    first = await reader.ok("GET", f"{path}?limit=2")
    rest = await reader.ok("GET", f"{path}?limit=2&cursor={first['next']}")
    assert [*first["items"], *rest["items"]] == written[::-1]
    assert rest["next"] is None


async def test_its_permissions_hold(people: tuple[Member, Member, Member], workspace: str) -> None:
    _, reader, stranger = people
    path = f"/workspaces/{workspace}/guestbook/entries"
    for member, method in ((reader, "POST"), (stranger, "POST"), (stranger, "GET")):
        answer = await member.http.request(method, path, json={"text": "no"} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
    too_long = await people[0].http.post(path, json={"text": "x" * 10_001})
    assert (too_long.status_code, too_long.json()["errors"][0]["pointer"]) == (400, "/text")


async def test_entries_are_heard_over_a_socket(people: tuple[Member, Member, Member], workspace: str) -> None:
    owner, reader, stranger = people
    await owner.ok("POST", f"/workspaces/{workspace}/guestbook/entries", {"text": "before anybody listened"})
    sockets = {member.name: Socket(member.url) for member in people}
    try:
        for member in people:
            await sockets[member.name].connect(member.token)
        topic = {"workspace": workspace, "topic": "guestbook.entries", "after": 0}
        assert (await sockets[reader.name].ok("subscribe", **topic))["number"] == 1
        refused = await sockets[stranger.name].call("subscribe", topic)
        assert refused["problem"]["code"] == "forbidden"
        entry = await sockets[owner.name].ok("guestbook.entry.write", workspace=workspace, text="heard at once")
        first, second = await sockets[reader.name].wait_for("event", 2)
        assert (first["number"], first["name"]) == (1, "guestbook.entry.written")
        assert (second["number"], second["data"]) == (2, {"entry": entry})
    finally:
        for socket in sockets.values():
            await socket.close()
