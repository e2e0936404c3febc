"""The image and the compose file, as far as they can be tried where no image can be had."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
OURS = {"flower", "migrate", "server", "worker", "scheduler"}


@pytest.mark.slow
def test_what_the_image_installs_runs_and_leaves_nothing_behind_that_only_builds(tmp_path: Path) -> None:
    target = tmp_path / "courtyard"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "deploy/install.sh", str(target)], cwd=ROOT, check=True, env=environment)
    listed = subprocess.run(
        [target / "bin" / "pip", "freeze", "--all"], capture_output=True, text=True, check=True
    ).stdout
    installed = {line.partition("=")[0].partition(" ")[0].lower().replace("_", "-") for line in listed.splitlines()}
    wanted = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "full.txt").read_text(), re.MULTILINE))
    assert {"courtyard", "sentry-sdk", "opentelemetry-sdk"} <= installed
    assert installed - wanted <= {"courtyard", "pip"}
    # From anywhere else, so that it is not the sources that are found.
    answer = subprocess.run(
        [target / "bin" / "courtyard", "config", "check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("The settings are good")


def test_the_image_runs_as_nobody_in_particular_and_has_no_compiler() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001"]
    assert "build-essential" not in last
    assert "HEALTHCHECK" in last
    # What is copied into the image is the environment alone.
    assert re.findall(r"^COPY (.+)$", last, re.MULTILINE) == ["--from=build /opt/courtyard /opt/courtyard"]


def test_what_is_copied_is_let_through() -> None:
    let_through = set(re.findall(r"^!(.+)$", (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    assert {each for some in copied for each in some} == let_through
    assert all((ROOT / each).exists() for each in let_through)


def test_everything_of_the_compose_file_has_a_version_and_no_default_password() -> None:
    assert {"postgres", "redis", "rabbitmq", "flower", "nginx", "prometheus", "grafana", "mailpit"} <= set(
        COMPOSE["services"]
    )
    for name, service in COMPOSE["services"].items():
        assert ":" in service["image"], name
        assert name in OURS or not service["image"].endswith(":latest"), name
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    for variable in re.findall(r"\$\{(\w*(?:PASSWORD|TOKEN|KEYS)\w*)(.*?)\}", text):
        assert variable[1].startswith(":?"), variable
    example = (ROOT / "deploy" / "example.env").read_text()
    needed = {variable for variable, _ in re.findall(r"\$\{(\w+)(:\?)", text)}
    assert needed <= set(re.findall(r"^(\w+)=", example, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_run_with_as_little_as_possible(name: str) -> None:
    service = COMPOSE["services"][name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_settings_of_the_compose_file_are_settings(tmp_path: Path) -> None:
    keys = '[{"id": "a", "secret": "%s"}]' % ("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY" + "=")
    values = {"PUBLIC_URL": "https://help.example.org", "SIGNING_KEYS": keys, "ENCRYPTION_KEYS": keys}

    def value_of(variable: re.Match[str]) -> str:
        return values.get(variable[1], variable[2] or "Zm9vYmFy8qLw0Xk2")

    given = {
        name: re.sub(r"\$\{(\w+)(?::-(.*?)|:\?.*?)\}", value_of, str(value))
        for name, value in COMPOSE["services"]["server"]["environment"].items()
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COURTYARD_")}
    checked = subprocess.run(
        [sys.executable, "-c", "from courtyard.cli import program; program()", "config", "check"],
        env={**environment, **given},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    # The keys of this test are no good; whatever else is set is.
    faults = [line for line in checked.stderr.splitlines() if "_keys" not in line]
    assert faults == []
