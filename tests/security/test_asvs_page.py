"""`docs/explanation/security.md`: every requirement has its line, and every test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/security.md").read_text()
# Level 1 and 2 of OWASP ASVS 5.0, chapter.section → how many requirements, but those that do not apply.
REQUIREMENTS = {
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
    "9.1": 3, "9.2": 4,
    "10.1": 2, "10.2": 2, "10.5": 5,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip


def test_every_requirement_is_answered_once() -> None:
    answered = [number for line in re.findall(r"^\| ([0-9].*?) \|", PAGE, re.MULTILINE) for number in numbers_in(line)]
    expected = [f"{section}.{number}" for section, count in REQUIREMENTS.items() for number in range(1, count + 1)]
    assert sorted(answered) == sorted(expected)


def numbers_in(line: str) -> list[str]:
    return re.findall(r"\b[0-9]+\.[0-9]+\.[0-9]+\b", line)


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 60
    assert named <= there
