"""Where settings are written down: the environment, `.env`, `courtyard.toml` and the generated secrets.

Each reader returns plain nested dictionaries; what they mean, and whether a key is known, is for `settings`
to say.
"""

import contextlib
import fcntl
import os
import secrets
import stat
import tomllib
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

ENV_PREFIX = "COURTYARD_"
CONFIG_VARIABLE = "COURTYARD_CONFIG"
# Names under the prefix that are not settings: the file's place, and what only the test suite and benchmarks
# read.
RESERVED_PREFIXES = (CONFIG_VARIABLE, "COURTYARD_TEST_", "COURTYARD_BENCH_")
DOTENV_FILE = ".env"
DEFAULT_CONFIG_FILE = "courtyard.toml"
SECRETS_FILE = "secrets.toml"
KEY_BYTES = 32
GENERATED_PREFIX = "generated-"

Tree = dict[str, Any]


class SettingsError(Exception):
    """The settings cannot be used. `faults` holds one line for each reason, none of which quotes a secret."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def new_key(*, generated: bool = False) -> dict[str, str]:
    """Return a fresh key as it stands in a configuration file: an `id` and 32 random bytes in base64url."""
    prefix = GENERATED_PREFIX if generated else "key-"
    secret = urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()
    return {"id": prefix + secrets.token_hex(4), "secret": secret}


def config_file() -> Path | None:
    """Return the configuration file to read, or None where there is none.

    Raises:
        SettingsError: `COURTYARD_CONFIG` names a file that is not there.
    """
    named = os.environ.get(CONFIG_VARIABLE) or read_dotenv_text().get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_CONFIG_FILE)
    if path.is_file():
        return path
    if named:
        raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is not a file")
    return None


def read_all() -> list[tuple[str, Tree]]:
    """Return the name and content of each source, the one that wins first.

    Raises:
        SettingsError: a source cannot be read.
    """
    path = config_file()
    trees = [("the environment", _nested(os.environ)), (DOTENV_FILE, _nested(read_dotenv_text()))]
    return trees if path is None else [*trees, (str(path), read_toml(path))]


def holds(tree: Tree, location: Sequence[int | str]) -> bool:
    """Say whether a source sets the place that a fault was found at; a list counts as one value."""
    place: object = tree
    for part in location:
        if not isinstance(place, dict):
            return True
        if part not in place:
            return False
        place = place[part]
    return True


def read_dotenv_text() -> dict[str, str]:
    """Return every variable of `.env` that has a value, as written: `$` in a password stays what it is."""
    if not Path(DOTENV_FILE).is_file():
        return {}
    try:
        values = dotenv_values(DOTENV_FILE, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{DOTENV_FILE} cannot be read: {_reason(error)}") from error
    return {name: value for name, value in values.items() if value is not None}


def read_toml(path: Path) -> Tree:
    """Return the content of a TOML file.

    Raises:
        SettingsError: it cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {_reason(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def read_secrets(data_dir: Path) -> Tree | None:
    """Return the generated secrets of a data directory, or None where there are none yet.

    Raises:
        SettingsError: other users of the machine could read the file, or it cannot be read.
    """
    path = data_dir / SECRETS_FILE
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {_reason(error)}") from error
    if mode & 0o077:
        raise SettingsError(
            f"{path} has mode {mode:04o}, so others can read it: chmod 600 {path}, then replace its keys"
        )
    return read_toml(path)


def make_secrets(data_dir: Path) -> Tree:
    """Return the generated secrets of a data directory, which are made now if there are none yet.

    Processes that start at once agree: one makes the file while the others wait for the lock, and every one
    returns what the file says. A crash in the middle leaves no half-written file behind under its name.
    """
    path = data_dir / SECRETS_FILE
    try:
        make_data_dir(data_dir)
        with _locked(data_dir):
            if (present := read_secrets(data_dir)) is not None:
                return present
            drawn = {ring: [new_key(generated=True)] for ring in ("signing_keys", "encryption_keys")}
            _write_new(path, _secrets_text(drawn))
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {_reason(error)}") from error
    made = read_secrets(data_dir)
    if made is None:
        raise SettingsError(f"{path} was taken away while Courtyard started")
    return made


def rotate_secrets(
    data_dir: Path, ring: str, key: Mapping[str, Any], retire_at: datetime | None, now: datetime
) -> Tree:
    """Put a new key into the generated secrets, and return what they say then.

    Whoever reads the file sees the old content or the new one, and of two rotations at once one comes after the other.

    Args:
        data_dir: where the secrets are.
        ring: `signing_keys` or `encryption_keys`.
        key: the new key, with its dates.
        retire_at: the end of all others, but for those that end sooner; None to let them go on for ever.
        now: the time; what has ended by then is taken out.

    Raises:
        SettingsError: there are no generated secrets, or they cannot be changed.
    """
    path = data_dir / SECRETS_FILE
    try:
        with _locked(data_dir):
            stored = read_secrets(data_dir)
            if stored is None:
                raise SettingsError(f"there is no {path} yet: start a server first")
            left = [each for each in stored.get(ring, ()) if "retire_at" not in each or each["retire_at"] > now]
            if retire_at is not None:
                left = [{**each, "retire_at": min(retire_at, each.get("retire_at", retire_at))} for each in left]
            changed = {**stored, ring: [key, *left]}
            _write_new(path, _secrets_text(changed))
    except OSError as error:
        raise SettingsError(f"{path} cannot be changed: {_reason(error)}") from error
    return changed


def secrets_stamp(data_dir: Path) -> tuple[int, ...] | None:
    """Return what is another whenever the generated secrets are; None where there are none."""
    try:
        found = (data_dir / SECRETS_FILE).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def key_table(name: str, key: Mapping[str, Any]) -> str:
    """Return a key as a table of TOML."""
    dates = [f"{each} = {moment(key[each])}" for each in ("not_before", "retire_at") if key.get(each) is not None]
    return "\n".join([f"[[{name}]]", f'id = "{key["id"]}"', f'secret = "{key["secret"]}"', *dates]) + "\n"


def moment(value: datetime) -> str:
    """Return a moment as it is written in TOML and in JSON: in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_data_dir(data_dir: Path) -> None:
    """Make the data directory for this user alone (mode 0700); one that is there is left as it is."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    data_dir.mkdir(mode=0o700, exist_ok=True)


def _nested(variables: Mapping[str, str]) -> Tree:
    """Turn `COURTYARD_SERVER__PORT=1` into `{"server": {"port": "1"}}`."""
    tree: Tree = {}
    for name, value in variables.items():
        if not name.startswith(ENV_PREFIX) or name.startswith(RESERVED_PREFIXES) or not value.strip():
            continue
        *sections, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        place: object = tree
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or isinstance(place.get(key), dict):
            raise SettingsError(f"{name} cannot be set beside another variable that is a part or the whole of it")
        place[key] = value
    return tree


def _secrets_text(rings: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    head = (
        "# Made by Courtyard. Who has these keys can sign in as anyone and read encrypted columns; without them those\n"
        "# are lost. `courtyard keys` rotates them. Production wants keys of your own: `courtyard config keys`.\n"
    )
    return "\n".join([head, *(key_table(ring, key) for ring, keys in rings.items() for key in keys)])


def _write_new(path: Path, text: str) -> None:
    """Write a private file so that it appears under its name whole or not at all. The caller has the lock."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)  # left behind by a process that was killed here
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)  # an odd umask must not take the owner's own right away
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's advisory lock and, at the end, bring its entries to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
