"""Settings for people: as a configuration file without its secrets, and as the reference page of the docs."""

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from courtyard.kernel.settings import Key, Section, Settings
from courtyard.kernel.settings_sources import ENV_PREFIX, key_table, moment

HIDDEN = "(hidden)"
REFERENCE_HEAD = """\
# Settings

Made from the code by `courtyard config reference --write`; do not edit it by hand.

A setting can be given in four places. The first one that has it wins:

1. the environment: `COURTYARD_` and the name in capitals, with two underscores between the table and the key.
   An empty variable counts as not set. Lists are written with commas between, or as JSON;
2. the file `.env` in the working directory, in the same form;
3. `courtyard.toml` in the working directory, or the file that `COURTYARD_CONFIG` names;
4. the default.

A name that is not listed here is refused, so that a misspelt setting does not pass unseen. `courtyard config
check` says what is wrong, `courtyard config print` what is in force, `courtyard config keys` draws keys, and
`courtyard doctor` looks at the whole installation.

Keys are written as a table in the file (`[[security.signing_keys]]` with `id` and `secret`), and as
`id:secret` in the environment. A key may have dates, in UTC: `not_before` (`2026-11-21T16:00:00Z`), from when on it
signs or encrypts, and, where it signs, `retire_at`, from when on what it signed counts no more. Of the keys whose time
has come the newest is used, of keys without dates the first. `courtyard keys` says which that is and how to change it:
[Rotate keys](../howto/rotate-keys.md).

In production mode the server does not start with keys that it generated itself, with secrets that are
examples or too short, with a default password in an address, or with a public address that is not https.
"""


def as_toml(settings: Settings, *, redact: bool = True) -> str:
    """Return the settings in force as a configuration file; what is not set is commented out.

    With `redact`, keys, tokens and the passwords within addresses are hidden.
    """
    return "\n\n".join(_tables("", settings, redact=redact)) + "\n"


def _tables(path: str, values: BaseModel, *, redact: bool) -> Iterator[str]:
    """Return the table of a section, then those of the sections in it, as TOML wants them."""
    plain = [f"[{path}]"] if path else []
    inner: list[str] = []
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        place = f"{path}.{name}" if path else name
        if isinstance(value, Section) and not isinstance(value, Key):
            inner += _tables(place, value, redact=redact)
        elif isinstance(value, dict) and _section(field) is not None:
            for each, section in value.items():
                inner += _tables(f"{place}.{each}", section, redact=redact)
        else:
            plain.append(_line(name, value, redact=redact))
    yield "\n".join(plain)
    yield from inner


def reference() -> str:
    """Return the reference page: a table for each section, made from the classes of the settings."""
    return "\n".join([REFERENCE_HEAD, *_chapters("", Settings)])


def _chapters(path: str, section: type[BaseModel]) -> Iterator[str]:
    """Return the chapter of a section, then those of the sections in it."""
    head = f"## `[{path}]`\n\n{section.__doc__}" if path else "## Top level"
    fields = section.model_fields.items()
    yield f"{head}\n\n" + _table(path, [(name, field) for name, field in fields if _section(field) is None])
    for name, field in fields:
        if (inner := _section(field)) is not None:
            several = ".NAME" if get_origin(field.annotation) is dict else ""
            yield from _chapters((f"{path}.{name}" if path else name) + several, inner)


def without_password(url: str) -> str:
    """Return an address in a form that may be printed: without password and options."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    if "@" in parts.path + parts.query + parts.fragment:
        # A password with a `/`, `?` or `#` that was not encoded: nobody knows what is which.
        return HIDDEN
    secret = ":***" if parts.password else ""
    user = f"{parts.username or ''}{secret}@" if parts.username or secret else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    options = "?…" if parts.query else ""
    return f"{parts.scheme}://{user}{host}{port}{parts.path}{options}"


def _line(name: str, value: object, *, redact: bool) -> str:
    if value is None:
        return f"# {name} is not set"
    return f"{name} = {_toml(value, redact=redact)}"


def _toml(value: object, *, redact: bool) -> str:
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case SecretStr():
            return _quoted(_shown(value.get_secret_value()) if redact else value.get_secret_value())
        case dict():
            items = ", ".join(f"{_quoted(name)} = {_toml(item, redact=redact)}" for name, item in value.items())
            return f"{{ {items} }}" if items else "{}"
        case tuple():
            return f"[{', '.join(_toml(item, redact=redact) for item in value)}]"
        case Key():
            secret = HIDDEN if redact else value.secret.get_secret_value()
            dates = {"not_before": value.not_before, "retire_at": value.retire_at}
            parts = [f"id = {_quoted(value.id)}", f"secret = {_quoted(secret)}"]
            parts += [f"{name} = {moment(date)}" for name, date in dates.items() if date is not None]
            return f"{{ {', '.join(parts)} }}"
        case _:
            return _quoted(str(value))


def _shown(secret: str) -> str:
    return without_password(secret) if "://" in secret else HIDDEN


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    if get_origin(kind) is dict:
        kind = get_args(kind)[1]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _table(section: str, fields: list[tuple[str, FieldInfo]]) -> str:
    rows = ["| key | environment | type | default | meaning |", "|---|---|---|---|---|"]
    for name, field in fields:
        variable = ENV_PREFIX + (f"{section}.{name}" if section else name).replace(".", "__").upper()
        cells = (f"`{name}`", f"`{variable}`", _type(field), _default(field), field.description or "")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _type(field: FieldInfo) -> str:
    least, most = (_bound(field, name) for name in ("ge", "le"))
    bounds = f", {least} to {most}" if least is not None and most is not None else ""
    return _type_name(field.annotation) + bounds


def _bound(field: FieldInfo, name: str) -> str | None:
    return next((f"{value:,}" for item in field.metadata if (value := getattr(item, name, None)) is not None), None)


def _type_name(annotation: Any) -> str:  # noqa: ANN401 - annotations have no type of their own
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(_type_name(item) for item in arguments if item is not NoneType)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"table of {_type_name(arguments[1])}"
    names = {str: "text", SecretStr: "secret text", bool: "true or false", int: "integer", float: "number"}
    return names.get(annotation) or str(annotation.__name__).lower()


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "must be set"
    return "not set" if value is None else f"`{_toml(value, redact=False)}`"


def key_tables(rings: Iterator[tuple[str, dict[str, str]]]) -> str:
    """Return keys as the tables that hold them in `courtyard.toml`."""
    return "\n".join(key_table(f"security.{ring}", key) for ring, key in rings)
