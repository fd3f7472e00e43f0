"""What a group's members support, counted so that no commit has to ask each (RFC 9420 §§7.2, 11.1, 13.3).

A value is supported by all if as many members name it as there are. The table is bounded: a leaf may name
values without end. Once it has overflowed, a value that is not in it is uncounted, and `unsupported` has to
look at every leaf.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from chalicelib.protocol.mls.extensions import DEFAULT_EXTENSIONS
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import DEFAULT_PROPOSALS
from chalicelib.protocol.tls import Reader, opaque, uint8, uint16, uint32

EXTENSION, PROPOSAL, CREDENTIAL, CREDENTIAL_IN_USE = 1, 2, 3, 4
"""What is counted: three fields of capabilities, and the types of the members' own credentials."""

TABLE_SIZE = 512

Value = tuple[int, int]

_DEFAULT = frozenset(
    {(EXTENSION, number) for number in DEFAULT_EXTENSIONS} | {(PROPOSAL, number) for number in DEFAULT_PROPOSALS}
)


def _named(leaf: LeafNode) -> Iterator[Value]:
    capabilities = leaf.capabilities
    for kind, numbers in (
        (EXTENSION, capabilities.extensions),
        (PROPOSAL, capabilities.proposals),
        (CREDENTIAL, capabilities.credentials),
    ):
        for number in set(numbers):
            yield kind, number
    yield CREDENTIAL_IN_USE, leaf.credential.credential_type


@dataclasses.dataclass(frozen=True)
class Support:
    """How many of `members` leaves name each value."""

    members: int
    counts: dict[Value, int]
    overflowed: bool = False

    @classmethod
    def of(cls, leaves: Iterable[LeafNode]) -> Self:
        """Count the members of a whole tree."""
        return cls(0, {}).changed((None, leaf) for leaf in leaves)

    def changed(self, leaves: Iterable[tuple[LeafNode | None, LeafNode | None]]) -> Self:
        """Return the counts after leaves were replaced, given as pairs of old and new."""
        members, delta = self.members, Counter[Value]()
        for old, new in leaves:
            if old is not None:
                members -= 1
                delta.subtract(_named(old))
            if new is not None:
                members += 1
                delta.update(_named(new))
        counts, overflowed = dict(self.counts), self.overflowed
        for value, difference in delta.items():
            if value in counts:
                counts[value] += difference
                if not counts[value] and not overflowed:
                    del counts[value]
            elif difference == 0 or (overflowed and value[0] != CREDENTIAL_IN_USE):
                continue
            elif len(counts) < TABLE_SIZE or value[0] == CREDENTIAL_IN_USE:
                counts[value] = difference
            else:
                overflowed = True
        return dataclasses.replace(self, members=members, counts=counts, overflowed=overflowed)

    def unsupported(self, values: Iterable[Value], leaves: Callable[[], Iterable[LeafNode]]) -> frozenset[Value]:
        """Return values that some member does not support, or none if all members support them all.

        `leaves` is asked once, and only if a value is uncounted; the first leaf that lacks one ends the search.
        """
        asked = frozenset(values) - _DEFAULT
        uncounted = frozenset(value for value in asked if self.overflowed and value not in self.counts)
        lacking = frozenset(value for value in asked - uncounted if self.counts.get(value, 0) != self.members)
        if lacking or not uncounted:
            return lacking
        return next(filter(None, (uncounted.difference(_named(leaf)) for leaf in leaves())), lacking)

    def by_all(self, value: Value, leaves: Callable[[], Iterable[LeafNode]]) -> bool:
        """Say whether every member supports a value."""
        return not self.unsupported([value], leaves)

    def credential_types_in_use(self) -> list[int]:
        """Return the types of the members' credentials."""
        return [number for (kind, number), count in self.counts.items() if kind == CREDENTIAL_IN_USE and count]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        members = reader.uint32()
        overflowed = reader.uint8() == 1
        entries = reader.vector(lambda entry: ((entry.uint8(), entry.uint16()), entry.uint32()))
        return cls(members, dict(entries), overflowed)

    def encode(self) -> bytes:
        """Return the stored form."""
        entries = b"".join(
            uint8(kind) + uint16(number) + uint32(count) for (kind, number), count in self.counts.items()
        )
        return uint32(self.members) + uint8(self.overflowed) + opaque(entries)
