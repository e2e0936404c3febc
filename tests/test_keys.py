"""`courtyard keys`, and a running server that takes the keys over."""

import json
import re
import stat
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from courtyard.kernel.key_watch import KeyWatch
from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import SettingsError, load_settings, read_settings
from courtyard.kernel.settings_sources import new_key, read_secrets, rotate_secrets
from tests.commands import Run
from tests.processes import PROGRAM

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def key(name: str, **dates: datetime) -> dict[str, Any]:
    return {**new_key(), "id": name, **dates}


def stored(place: Path) -> dict[str, Any]:
    secrets = read_secrets(place / "courtyard-data")
    assert secrets is not None
    return secrets


@pytest.fixture(autouse=True)
def everywhere(place: Path) -> Path:
    """Every test is in a folder of its own."""
    return place


class TestSettings:
    """Dates of keys in the settings."""

    def test_dates_are_moments_of_toml(self, place: Path) -> None:
        new, old = new_key()["secret"], new_key()["secret"]
        (place / "courtyard.toml").write_text(
            f"[[security.signing_keys]]\nid = 'new'\nsecret = '{new}'\nnot_before = 2026-11-21T18:00:00+02:00\n"
            f"[[security.signing_keys]]\nid = 'old'\nsecret = '{old}'\nretire_at = 2026-11-21T17:00:00Z\n"
        )
        first, second = read_settings().security.signing_ring
        assert (first.not_before, first.retire_at) == (datetime(2026, 11, 21, 16, tzinfo=UTC), None)
        assert (second.not_before, second.retire_at) == (None, datetime(2026, 11, 21, 17, tzinfo=UTC))

    @pytest.mark.parametrize(
        ("ring", "keys", "fault"),
        [
            ("signing_keys", [key("a", retire_at=NOW)], "every key has a retire_at"),
            ("encryption_keys", [key("a"), key("b", retire_at=NOW)], "has no retire_at"),
            ("signing_keys", [key("a", not_before=NOW.replace(tzinfo=None))], "timezone"),
        ],
    )
    def test_dates_that_would_leave_nothing_are_refused(
        self,
        ring: str,
        keys: list[dict[str, Any]],
        fault: str,
    ) -> None:
        with pytest.raises(SettingsError, match=fault):
            read_settings(security={ring: keys})

    def test_sessions_in_redis_want_redis(self) -> None:
        with pytest.raises(SettingsError, match="needs redis"):
            load_settings(accounts={"session_store": "redis"})
        load_settings(accounts={"session_store": "redis"}, redis={"url": "redis://localhost"})


class TestRotation:
    """The generated keys in the data directory."""

    def test_a_new_key_is_put_first_and_the_old_one_is_given_an_end(self, run: Run, place: Path) -> None:
        load_settings()
        (old,) = stored(place)["signing_keys"]
        result = run("keys", "rotate")
        assert result.status == 0
        new, dated = stored(place)["signing_keys"]
        assert dated["secret"] == old["secret"]
        assert timedelta(seconds=5) < new["not_before"] - NOW
        assert dated["retire_at"] - new["not_before"] == HOUR
        assert "retire_at" not in new
        assert new["id"] in result.out
        assert stat.S_IMODE((place / "courtyard-data/secrets.toml").stat().st_mode) == 0o600

    def test_nothing_shows_a_secret(self, run: Run, place: Path) -> None:
        load_settings()
        out = "".join(run(*words).out for words in (("keys", "rotate"), ("keys", "list"), ("keys", "rotate")))
        for ring in stored(place).values():
            for each in ring:
                assert each["id"] in out
                assert each["secret"] not in out

    def test_the_list_says_which_key_is_used(self, run: Run, place: Path) -> None:
        assert "made at the first start" in run("keys", "list").out
        load_settings()
        run("keys", "rotate")
        new, old = stored(place)["signing_keys"]
        out = run("keys", "list").out
        assert re.search(rf"{old['id']} +in use", out)
        assert re.search(rf"{new['id']} +believed", out)

    def test_an_end_is_never_before_that_of_what_was_signed(self, run: Run, place: Path) -> None:
        load_settings()
        before = stored(place)
        result = run("keys", "rotate", "--overlap", "900s")
        assert result.status == 2
        assert "at least 901s" in result.err
        assert stored(place) == before
        assert run("keys", "rotate", "--overlap", "901s").status == 0

    @pytest.mark.parametrize("words", [["--overlap", "soon"], ["--leaked", "--overlap", "1h"], ["--ring", "golden"]])
    def test_what_makes_no_sense_is_refused(self, words: list[str], run: Run, place: Path) -> None:
        load_settings()
        before = stored(place)
        assert run("keys", "rotate", *words).status == 2
        assert stored(place) == before

    def test_a_key_in_wrong_hands_ends_at_once(self, run: Run, place: Path) -> None:
        load_settings()
        run("keys", "rotate", "--leaked")
        new, old = stored(place)["signing_keys"]
        assert old["retire_at"] <= datetime.now(UTC)
        assert new["not_before"] <= datetime.now(UTC)
        run("keys", "rotate")
        # What has ended is taken out.
        assert old["id"] not in {each["id"] for each in stored(place)["signing_keys"]}

    def test_keys_that_encrypt_stay(self, run: Run, place: Path) -> None:
        load_settings()
        (old,) = stored(place)["encryption_keys"]
        run("keys", "rotate", "--ring", "encryption")
        new, kept = stored(place)["encryption_keys"]
        assert kept == old
        assert new["not_before"] > NOW
        load_settings()

    def test_rotations_at_once_come_one_after_the_other(self, place: Path) -> None:
        load_settings()
        program = [*PROGRAM, "keys", "rotate"]
        started = [subprocess.Popen(program, stdout=subprocess.DEVNULL) for _ in range(4)]
        assert [process.wait(60) for process in started] == [0] * 4
        ring = stored(place)["signing_keys"]
        assert len({each["id"] for each in ring}) == 5
        assert [each["id"] for each in ring if "retire_at" not in each] == [ring[0]["id"]]
        load_settings()

    def test_without_a_file_there_is_nothing_to_rotate(self, run: Run, place: Path) -> None:
        result = run("keys", "rotate")
        assert result.status == 2
        assert "start a server first" in result.err
        assert not (place / "courtyard-data").exists()
        with pytest.raises(SettingsError, match=r"cannot be changed|there is no"):
            rotate_secrets(place / "courtyard-data", "signing_keys", key("a"), NOW, NOW)

    def test_for_a_file_of_ones_own_it_says_what_to_write(self, run: Run, place: Path) -> None:
        old = new_key()
        text = f'[[security.signing_keys]]\nid = "{old["id"]}"\nsecret = "{old["secret"]}"\n'
        (place / "courtyard.toml").write_text(text)
        out = run("keys", "rotate").out
        assert old["secret"] not in out
        assert "In courtyard.toml" in out
        table = out[out.index("\n[[") : out.index("and in the table")]
        end = re.search(r"^retire_at = \S+$", out, re.MULTILINE)
        assert end is not None
        # As it says: the new table before the other, and the line in the other.
        (place / "courtyard.toml").write_text(table + text + end[0] + "\n")
        new, dated = read_settings().security.signing_ring
        assert dated.id == old["id"]
        assert new.not_before is not None
        assert dated.retire_at == new.not_before + HOUR
        assert tomllib.loads(table)["security"]["signing_keys"][0]["id"] == new.id

    def test_for_the_environment_it_says_what_to_set(
        self,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        old = new_key()
        monkeypatch.setenv("COURTYARD_SECURITY__SIGNING_KEYS", f"{old['id']}:{old['secret']}")
        out = run("keys", "rotate").out
        assert old["secret"] not in out
        found = re.search(r"^COURTYARD_SECURITY__SIGNING_KEYS='(.*)'$", out, re.MULTILINE)
        assert found is not None
        value = json.loads(found[1])
        value[1]["secret"] = old["secret"]
        monkeypatch.setenv("COURTYARD_SECURITY__SIGNING_KEYS", json.dumps(value))
        new, dated = read_settings().security.signing_ring
        assert dated.id == old["id"]
        assert new.not_before is not None
        assert dated.retire_at == new.not_before + HOUR


class TestWatch:
    """A server that runs while the file changes."""

    @pytest.fixture
    def rings(self) -> tuple[KeyWatch, Ring, Ring]:
        settings = load_settings()
        security = settings.security
        signing, encryption = Ring(security.signing_ring), Ring(security.encryption_ring)
        return KeyWatch(settings, signing, encryption), signing, encryption

    async def test_new_keys_are_taken_over(self, rings: tuple[KeyWatch, Ring, Ring], run: Run) -> None:
        watch, signing, encryption = rings
        await watch.look()
        before, kept = signing.keys, encryption.keys
        assert run("keys", "rotate").status == 0
        await watch.look()
        assert [each.id for each in signing.keys[1:]] == [each.id for each in before]
        assert signing.keys[1].retire_at is not None
        assert signing.current() == signing.keys[1]
        assert encryption.keys is kept

    async def test_a_file_that_cannot_be_used_changes_nothing(
        self,
        rings: tuple[KeyWatch, Ring, Ring],
        place: Path,
    ) -> None:
        watch, signing, _ = rings
        before = signing.keys
        file = place / "courtyard-data/secrets.toml"
        text = file.read_text()
        for broken in ("x", "signing_keys = []", text.replace("secret", "secrets")):
            file.write_text(broken)
            with capture_logs() as logs:
                await watch.look()
            assert [entry["event"] for entry in logs] == ["keys.unusable"]
            assert signing.keys is before
        file.unlink()
        await watch.look()
        assert signing.keys is before

    async def test_keys_that_are_configured_are_left_alone(self, place: Path) -> None:
        load_settings()
        settings = load_settings(security={"signing_keys": [new_key()], "encryption_keys": [new_key()]})
        signing = Ring(settings.security.signing_ring)
        watch, before = KeyWatch(settings, signing, Ring(settings.security.encryption_ring)), signing.keys
        rotate_secrets(place / "courtyard-data", "signing_keys", key("new"), NOW, NOW)
        await watch.look()
        assert signing.keys is before
