"""What can be set in a workspace, and the change of it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from courtyard.kernel.errors import FieldError
from courtyard.kernel.schema import WorkspaceSection, pointer_of
from courtyard.kernel.workspaces.errors import InvalidSettings

S = TypeVar("S", bound=WorkspaceSection)

MAX_SETTINGS_BYTES = 65_536


def merge(document: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON document with a merge patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def change_settings(
    sections: Mapping[str, type[WorkspaceSection]], stored: Mapping[str, Any], patch: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of a workspace with a merge patch applied; null takes a value back to its default.

    Args:
        sections: what can be set, by part.
        stored: what has been set so far. Parts that are not installed keep theirs.
        patch: the change.

    Raises:
        InvalidSettings: with a pointer to each fault.
    """
    unknown = sorted(set(patch) - set(sections))
    if unknown:
        raise InvalidSettings(
            errors=[FieldError("there is no such section", pointer=_pointer(name)) for name in unknown]
        )
    merged = {name: values for name, values in merge(stored, patch).items() if values != {}}
    faults = [fault for name in patch if (fault := _fault(name, sections[name], merged.get(name, {}))) is not None]
    if faults:
        raise InvalidSettings(errors=faults)
    if len(msgspec.json.encode(merged)) > MAX_SETTINGS_BYTES:
        raise InvalidSettings(f"The settings of a workspace have at most {MAX_SETTINGS_BYTES} bytes.")
    return merged


def _fault(name: str, kind: type[WorkspaceSection], values: object) -> FieldError | None:
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        message, pointer = str(error).partition(" - at ")[0], pointer_of(str(error))
        # What `__post_init__` finds names its field first, and msgspec names an unknown field in quotes.
        field = message.partition(": ")[0]
        if field in kind.__struct_fields__:
            pointer, message = f"/{field}", message.partition(": ")[2]
        elif message.startswith("Object contains unknown field"):
            pointer += _pointer(message.split("`")[1], base="")
        return FieldError(message, pointer=f"{_pointer(name)}{pointer}")
    return None


def _pointer(name: str, base: str = "/sections") -> str:
    return f"{base}/{name.replace('~', '~0').replace('/', '~1')}"


def read_settings(kind: type[S], values: Mapping[str, Any]) -> S:
    """Return a section of the settings, with defaults for what is not set or, since an upgrade, no longer valid."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        good = {name: value for name, value in values.items() if _fault("", kind, {name: value}) is None}
        return msgspec.convert(good, kind)
