"""Values as DynamoDB writes them, and back; plain Python on our side."""

from typing import Any

import msgspec

from chalicelib.protocol.timestamps import SECOND

Value = str | int | bytes | bool | frozenset[str]
Item = dict[str, Value]


class Attribute(msgspec.Struct, frozen=True):
    """A value as DynamoDB writes it: exactly one of these is set."""

    S: str | None = None
    N: str | None = None
    B: bytes | None = None
    BOOL: bool | None = None
    SS: list[str] | None = None


def value_to_wire(value: Value) -> dict[str, Any]:
    """Write a value in DynamoDB's notation."""
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case frozenset():
            return {"SS": sorted(value)}


def to_wire(item: Item) -> dict[str, dict[str, Any]]:
    """Write an item in DynamoDB's notation."""
    return {name: value_to_wire(value) for name, value in item.items()}


def from_wire(wire: dict[str, dict[str, Any]]) -> Item:
    """Read an item as botocore returns it."""
    return from_attributes({name: Attribute(**value) for name, value in wire.items()})


def from_attributes(attributes: dict[str, Attribute]) -> Item:
    """Read an item as it is decoded."""
    return {name: _from_attribute(attribute) for name, attribute in attributes.items()}


def _from_attribute(attribute: Attribute) -> Value:
    if attribute.B is not None:
        return attribute.B
    if attribute.S is not None:
        return attribute.S
    if attribute.N is not None:
        return int(attribute.N)
    if attribute.BOOL is not None:
        return attribute.BOOL
    return frozenset(attribute.SS or ())


def gone_at(moment: int) -> int:
    """Return the attribute `gone_at` of a row that may go at a time in milliseconds: DynamoDB reads it in seconds."""
    return moment // SECOND + 1
