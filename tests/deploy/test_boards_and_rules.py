"""Prometheus and Grafana: every expression is one, names metrics that there are, and asks for labels that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from courtyard.kernel.telemetry import DECLARED
from courtyard.site import metrics_page
from tests.services import missing

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = DEPLOY / "grafana" / "dashboards" / "courtyard.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
# What Prometheus and the process bring along.
OF_PROCESS = {"courtyard_process_resident_memory_bytes", "courtyard_process_cpu_seconds_total"}
OF_SCRAPES = {"job", "instance", "le", "worker"}


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        missing("promtool", "not installed (make services)")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def board_expressions() -> Iterator[str]:
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def rule_expressions() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def test_there_is_something_to_check() -> None:
    assert metrics_page()
    assert len(list(board_expressions())) > 20
    assert len(list(rule_expressions())) >= 10


@pytest.mark.parametrize("expression", [*board_expressions(), *rule_expressions()])
def test_an_expression_names_what_there_is(expression: str) -> None:
    written = {one.written: one for one in DECLARED.values()}
    for one in DECLARED.values():
        if one.kind == "histogram":
            written |= {f"{one.name}_{part}": one for part in ("bucket", "count", "sum")}
    names = set(re.findall(r"\bcourtyard_\w+", expression)) - OF_PROCESS
    assert names <= set(written)
    known = set().union(*(written[name].labels for name in names)) | OF_SCRAPES
    in_braces = [part for inner in re.findall(r"\{([^}]*)\}", expression) for part in re.findall(r"(\w+)\s*=", inner)]
    grouped = [label.strip() for inner in re.findall(r"by \(([^)]*)\)", expression) for label in inner.split(",")]
    assert {*in_braces, *grouped} <= known


def test_each_alert_says_what_to_do_about_it() -> None:
    page = (DEPLOY.parent / "docs" / "howto" / "monitor.md").read_text()
    alerts = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == alerts


def test_each_alert_has_a_test() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus" / "tests.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


@pytest.mark.services
def test_prometheus_is_content() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", DEPLOY / "prometheus" / "tests.yml")
    promtool("check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yml")


@pytest.mark.services
def test_prometheus_understands_the_board(tmp_path: Path) -> None:
    expressions = [each.replace("$__rate_interval", "1m").replace("$job", ".*") for each in board_expressions()]
    rules: dict[str, Any] = {
        "groups": [
            {"name": "board", "rules": [{"record": f"a:{n}", "expr": each} for n, each in enumerate(expressions)]}
        ]
    }
    (tmp_path / "board.yml").write_text(yaml.safe_dump(rules))
    promtool("check", "rules", tmp_path / "board.yml")
