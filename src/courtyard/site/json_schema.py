"""JSON schemas (2020-12) of types, for both documents, from the very annotations that check what comes in."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, get_args, get_origin

import msgspec
from msgspec.inspect import DateTimeType, StructType, UnionType, type_info

Schema: TypeAlias = dict[str, Any]

REFERENCE = "#/components/schemas/"
NULL = {"type": "null"}
_ATTRIBUTES = "\n\nAttributes:\n"


class Schemas:
    """Makes schemas. Each Struct becomes a component under its name, everything else stands where it is used."""

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._components: dict[str, Schema] = {}

    @property
    def components(self) -> dict[str, Schema]:
        """The schemas of all Structs so far, by name."""
        return dict(sorted(self._components.items()))

    def of(self, kind: Any) -> Schema:  # noqa: ANN401 - any type that msgspec knows
        """Return the schema of a type; for a Struct, a reference to its component."""
        structs = {struct.cls: struct for struct in _structs(type_info(kind))}
        (schema, *references), made = msgspec.json.schema_components([kind, *structs], ref_template="{name}")
        new = [cls for cls in structs if cls not in self._names]
        for cls in new:
            self._names[cls] = self._free_name(cls)
        ours = {reference["$ref"]: self._names[cls] for cls, reference in zip(structs, references, strict=True)}
        theirs = {name: local for local, name in ours.items()}
        for cls in new:
            name = self._names[cls]
            component = _renamed(made[theirs[name]], ours)
            _tell_times(structs[cls], component)
            _tell_meanings(cls, component)
            self._components[name] = {**component, "title": name}
        named: Schema = _renamed(schema, ours)
        return named

    def _free_name(self, cls: Any) -> str:  # noqa: ANN401 - a class, or a generic one with its arguments
        name, path = _name(cls), (get_origin(cls) or cls).__module__.title().split(".")
        # Where two applications have one word for different things, the second says whose it is.
        names = (name, f"{path[-2:][0]}{name}", f"{''.join(path)}{name}")
        return next(free for free in names if free not in self._names.values())


def not_null(schema: Schema) -> Schema:
    """Return a schema without its null, for what is left out instead, such as a parameter of a query."""
    options = [option for option in schema.get("anyOf", ()) if option != NULL]
    return options[0] if len(options) == 1 else schema


def _structs(kind: Any, seen: set[int] | None = None) -> Iterator[StructType]:  # noqa: ANN401 - a node of msgspec's
    """Yield every Struct that a type is made of."""
    seen = set() if seen is None else seen
    if isinstance(kind, tuple):
        for item in kind:
            yield from _structs(item, seen)
    elif isinstance(kind, msgspec.Struct) and id(kind) not in seen:
        seen.add(id(kind))
        if isinstance(kind, StructType):
            yield kind
        for name in kind.__struct_fields__:
            yield from _structs(getattr(kind, name), seen)


def _name(cls: Any) -> str:  # noqa: ANN401 - a class, or a generic one with its arguments
    """Return `Message` for a Struct, `MessagePage` for `Page[Message]`."""
    origin = get_origin(cls)
    return "".join(map(_name, get_args(cls))) + origin.__name__ if origin else str(cls.__name__)


def _renamed(part: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - any part of a JSON document
    if isinstance(part, dict):
        return {
            key: REFERENCE + names[value] if key == "$ref" else _renamed(value, names) for key, value in part.items()
        }
    return [_renamed(item, names) for item in part] if isinstance(part, list | tuple) else part


def _tell_times(struct: StructType, component: Schema) -> None:
    """Say which texts are times: msgspec does so only for times that have a constraint."""
    for field in struct.fields:
        kinds = field.type.types if isinstance(field.type, UnionType) else (field.type,)
        if any(isinstance(kind, DateTimeType) for kind in kinds):
            schema = component["properties"][field.encode_name]
            for option in schema.get("anyOf", (schema,)):
                if option == {"type": "string"}:
                    option["format"] = "date-time"


def _tell_meanings(cls: Any, component: Schema) -> None:  # noqa: ANN401 - as `_name`
    """Take the docstring of a Struct apart: what it is, and what its attributes mean, those that it inherits too."""
    origin = get_origin(cls) or cls
    # The Struct itself comes last: what it says counts.
    for each in reversed(origin.__mro__):
        description, _, attributes = (inspect.getdoc(each) or "").partition(_ATTRIBUTES)
        if issubclass(each, msgspec.Struct):
            component["description"] = " ".join(description.split())
            _tell_attributes(attributes, component)


def _tell_attributes(attributes: str, component: Schema) -> None:
    name = ""
    for line in attributes.splitlines():
        word, _, meaning = line.strip().partition(": ")
        is_new = line.startswith("    ") and not line.startswith("     ") and word.isidentifier()
        if is_new and word in component["properties"]:
            name = word
            component["properties"][name] |= {"description": meaning[:1].upper() + meaning[1:]}
        elif name and line.strip():
            component["properties"][name]["description"] += f" {line.strip()}"
