"""`courtyard demo`, run as somebody who has just installed it runs it."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from courtyard.demo import conversation, run, server
from courtyard.demo.failure import DemoFailed
from courtyard.demo.people import PASSWORD, Person, Seen, faults
from courtyard.demo.transcript import Transcript
from tests.conftest import ServerFactory
from tests.services import Kind

PROGRAM = [sys.executable, "-c", "from courtyard.cli import program; program()", "demo"]
SECONDS = 60


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the demo makes its own; what is left in it at the end was forgotten."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    for name in os.environ:
        if name.startswith("COURTYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    return folder


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the demo, and makes sure that it is gone with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*PROGRAM, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_both_see_everything_once_and_in_order(start: Start, temporary: Path) -> None:
    process = start("--exit")
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, printed
    assert printed.rstrip().endswith("Both saw all 10 messages and 3 other events, each once and in order."), printed
    left = re.findall(r"^ {3,5}(\d+) (.*)$", printed, re.MULTILINE)
    right = re.findall(r"^ {40,}(\d+) (.*)$", printed, re.MULTILINE)
    assert [int(number) for number, _ in left] == [int(number) for number, _ in right] == [*range(1, 14)]
    missed = [int(number) for number, line in left if line.endswith(" (missed)")]
    assert missed == [8, 9, 10]
    assert "(missed)" not in "".join(line for _, line in right)
    # They were written while the connection was cut, and reached the visitor only when she was back.
    cut, back = printed.index("The TCP connection of Vera is closed"), printed.index("Vera is back")
    assert cut < printed.index(" 8 Tomas") < printed.index("10 Tomas") < back < printed.index("(missed)")
    assert "\x1b" not in printed, "colours belong on a terminal"
    assert not [*temporary.iterdir()], "data was left behind"


@pytest.mark.slow
def test_the_server_stays_up_for_whoever_wants_to_look_around(start: Start, temporary: Path) -> None:
    process = start()
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C ends the server" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    (url,) = re.findall(r"^ +front page +(http://127\.0\.0\.1:\d+)/$", printed, re.MULTILINE)
    (explorer,) = re.findall(r"^ +API explorer +(\S+)$", printed, re.MULTILINE)
    (health,) = re.findall(r"^ +health +(\S+)$", printed, re.MULTILINE)
    for address in (f"{url}/", explorer, health):
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - of this machine
            assert answer.status == 200
    emails = re.findall(r"^ +(\S+@example\.org) ", printed, re.MULTILINE)
    assert len(emails) == 3
    assert PASSWORD in printed
    owner = log_in(url, emails[0])
    assert call(url, "/workspaces", token=owner)["items"][0]["slug"] == "demo"
    (demo_server,) = psutil.Process(process.pid).children()

    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, rest
    assert "its data removed" in rest
    assert not demo_server.is_running()
    assert not [*temporary.iterdir()], "data was left behind"


def call(url: str, path: str, body: object = None, token: str = "") -> Any:  # noqa: ANN401 - JSON
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{url}/api/v1{path}", data, headers)  # noqa: S310 - of this machine
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def log_in(url: str, email: str) -> str:
    token = call(url, "/sessions", {"email": email, "password": PASSWORD})["access_token"]
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize("reason", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_interrupts_it_leaves_nothing_behind(reason: signal.Signals, start: Start, temporary: Path) -> None:
    process = start()
    assert process.stdout is not None
    assert process.stdout.readline() == "Courtyard\n"
    (demo_server,) = psutil.Process(process.pid).children()
    process.send_signal(reason)
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, rest
    assert not demo_server.is_running()
    assert not [*temporary.iterdir()], "data was left behind"


def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [*PROGRAM, "--port", str(port)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "Address already in use" in line
    assert f"127.0.0.1 port {port}" in line
    assert "--port 8000" in line


def test_a_server_that_ends_is_reported_with_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    monkeypatch.setattr(server, "PROGRAM", "print('the disk is full'); raise SystemExit(7)")
    assert run(exit=False, port=0) == 1
    printed = capsys.readouterr().out
    assert "The demo failed: the server ended with status 7" in printed
    assert "the disk is full" in printed
    assert not [*temporary.iterdir()], "data was left behind"


def test_a_server_that_hangs_is_given_up_and_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('no', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(server, "PROGRAM", stubborn)
    monkeypatch.setattr(server, "READY_SECONDS", 1.0)
    monkeypatch.setattr(server, "STOP_SECONDS", 0.5)
    started = time.monotonic()
    assert run(exit=True, port=0) == 1
    assert time.monotonic() - started < 20
    assert "The demo failed: the server is not ready" in capsys.readouterr().out


@pytest.mark.slow
def test_somebody_who_misses_a_message_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    receive = Person._receive

    def lose_the_eighth(person: Person, name: str, content: dict[str, Any]) -> None:
        if not (person.name == "Vera" and content.get("number") == 8):
            receive(person, name, content)

    monkeypatch.setattr(Person, "_receive", lose_the_eighth)
    assert run(exit=True, port=0) == 1
    assert "The demo failed: Vera never saw number 8\n" in capsys.readouterr().out


@pytest.fixture
def database_kind() -> Kind:
    """The demo is about what needs nothing."""
    return "sqlite"


async def test_a_refusal_is_reported_in_the_words_of_the_server(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = await server_factory(accounts={"registration": "closed"})
    with pytest.raises(DemoFailed, match="POST /accounts is answered with 403 registration_closed"):
        await conversation.play(server.url, tmp_path, Transcript(io.StringIO()))


DONE = [("opened", ""), ("sent", "one"), ("sent", "two")]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3], []),
        ([1, 3], ["never saw number 2"]),
        ([], ["never saw number 1", "never saw number 2", "never saw number 3"]),
        ([1, 2, 2, 3], ["saw number 2 2 times"]),
        ([1, 3, 2], ["saw them in the order 1, 3, 2"]),
        ([1, 2, 3, 4], ["saw number 4, which nobody sent"]),
    ],
)
def test_what_was_seen_is_compared_with_what_was_done(numbers: list[int], expected: list[str]) -> None:
    texts = dict(enumerate(DONE, 1))
    seen = [Seen(number, name, UUID(int=0), text) for number in numbers for name, text in [texts.get(number, ("", ""))]]
    assert faults(DONE, seen) == expected


def test_another_text_under_the_same_number_is_a_fault() -> None:
    seen = [Seen(number, name, UUID(int=0), text) for number, (name, text) in enumerate(DONE, 1)]
    seen[1] = Seen(2, "sent", UUID(int=0), "something else")
    assert faults(DONE, seen) == ["saw something else as number 2: sent 'something else'"]
