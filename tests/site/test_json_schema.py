from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from courtyard.site.json_schema import Schemas, not_null

T = TypeVar("T")


class Leaf(msgspec.Struct):
    """A leaf.

    Attributes:
        colour: what it looks like,
            in a word.
        fell_at: when it fell: in autumn; null before.
    """

    colour: Annotated[str, Meta(max_length=20)]
    fell_at: datetime | None
    size: float


class Tree(msgspec.Struct):
    """A tree, which may
    bear others.
    """

    leaves: list[Leaf]
    children: list["Tree"]
    grown_at: datetime


class Pile(msgspec.Struct, Generic[T]):
    """Many things."""

    things: list[T]


def test_a_struct_is_a_component() -> None:
    schemas = Schemas()
    assert schemas.of(Tree) == {"$ref": "#/components/schemas/Tree"}
    assert list(schemas.components) == ["Leaf", "Tree"]
    tree = schemas.components["Tree"]
    assert tree["description"] == "A tree, which may bear others."
    assert tree["properties"]["children"]["items"] == {"$ref": "#/components/schemas/Tree"}
    assert tree["properties"]["grown_at"] == {"type": "string", "format": "date-time"}


def test_attributes_are_told() -> None:
    schemas = Schemas()
    schemas.of(Leaf)
    leaf = schemas.components["Leaf"]
    assert leaf["description"] == "A leaf."
    assert leaf["properties"]["colour"] == {
        "type": "string",
        "maxLength": 20,
        "description": "What it looks like, in a word.",
    }
    assert leaf["properties"]["fell_at"] == {
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
        "description": "When it fell: in autumn; null before.",
    }
    assert leaf["properties"]["size"] == {"type": "number"}


def test_other_types_stand_where_they_are_used() -> None:
    schemas = Schemas()
    assert schemas.of(UUID) == {"type": "string", "format": "uuid"}
    assert schemas.of(list[Leaf]) == {"type": "array", "items": {"$ref": "#/components/schemas/Leaf"}}
    assert schemas.of(None) == {"type": "null"}
    assert list(schemas.components) == ["Leaf"]


def test_generic_structs_are_named_by_what_they_hold() -> None:
    schemas = Schemas()
    assert schemas.of(Pile[Leaf]) == {"$ref": "#/components/schemas/LeafPile"}
    assert schemas.of(Pile[Tree]) == {"$ref": "#/components/schemas/TreePile"}
    assert list(schemas.components) == ["Leaf", "LeafPile", "Tree", "TreePile"]
    assert schemas.components["LeafPile"]["title"] == "LeafPile"


def test_two_structs_of_one_name_are_told_apart() -> None:
    other = msgspec.defstruct("Leaf", [("page", int)], module="somewhere.library.schemas")
    schemas = Schemas()
    assert schemas.of(Leaf) == {"$ref": "#/components/schemas/Leaf"}
    assert schemas.of(list[other]) == {  # type: ignore[valid-type]
        "type": "array",
        "items": {"$ref": "#/components/schemas/LibraryLeaf"},
    }
    assert schemas.of(Leaf) == {"$ref": "#/components/schemas/Leaf"}
    assert list(schemas.components["LibraryLeaf"]["properties"]) == ["page"]


def test_what_is_left_out_is_no_null() -> None:
    schemas = Schemas()
    assert not_null(schemas.of(Annotated[int, Meta(ge=1)] | None)) == {"type": "integer", "minimum": 1}
    assert not_null(schemas.of(int)) == {"type": "integer"}
    assert not_null(schemas.of(int | str | None))["anyOf"]
