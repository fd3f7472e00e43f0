"""What the one object of a sealed group holds: all that other groups keep as objects and rows of their own.

    struct { uint64 epoch; opaque root[24]; opaque joiners[24]; uint64 until; } Past;
    struct { opaque ref[24]; opaque content<V>; } Object;
    struct {
        opaque root[24];                    // of the current state, among the objects
        opaque inbox_key[32];               // the private half: what was sealed to the group opens with it
        Past past<V>;                       // the epochs that may still be joined by a Welcome
        Object objects<V>;                  // all that these roots lead to
    } Safe;

It is a store of objects like any other, so a state is read from it and judged as everywhere. How many objects there
are and which of them a request changes is what nobody shall see.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Self

from chalicelib.protocol.delivery.group_state import Change, GroupState, decode_state
from chalicelib.protocol.delivery.reachable import reachable
from chalicelib.protocol.delivery.sealed import public_key
from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.chunks import ATTEMPT_SIZE, REF_SIZE, Ref
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, uint64
from chalicelib.services.delivery.state import PastEpoch

INBOX_KEY_SIZE = 32

MOST_PAST = 8
"""How many epochs can be joined by their Welcomes; a sealed group forgets older ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Safe:
    """The contents of a sealed group's object."""

    root: Ref
    inbox_key: bytes = dataclasses.field(repr=False)
    past: tuple[PastEpoch, ...] = ()
    objects: Mapping[Ref, bytes] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return the safe with this content."""
        return decode(cls.read, content, STORED_ELEMENTS)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        root, inbox_key = _read_ref(reader), reader.take(INBOX_KEY_SIZE)
        past = reader.vector(lambda one: PastEpoch(one.uint64(), _read_ref(one), _read_ref(one), one.uint64()))
        return cls(root, inbox_key, past, dict(reader.vector(lambda one: (_read_ref(one), one.opaque()))))

    def encode(self) -> bytes:
        """Return the stored form."""
        past = [uint64(one.epoch) + one.root + one.joiners + uint64(one.until) for one in self.past]
        objects = [ref + opaque(self.objects[ref]) for ref in sorted(self.objects)]
        return self.root + self.inbox_key + opaque(b"".join(past)) + opaque(b"".join(objects))

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return the objects with these references."""
        return {ref: self.objects[ref] for ref in refs}

    @property
    def inbox(self) -> bytes:
        """Return the public half of the inbox key."""
        return public_key(self.inbox_key)

    def epoch(self, epoch: int, now: int) -> PastEpoch | None:
        """Return an epoch that may still be joined by its Welcomes."""
        return next((one for one in self.past if one.epoch == epoch and one.until > now), None)

    def after(self, change: Change, past: PastEpoch | None, more: Mapping[Ref, bytes], now: int) -> Self:
        """Return the safe with a change: its objects and a new past epoch, without what can be forgotten."""
        epochs = [one for one in (*self.past, past) if one is not None and one.until > now][-MOST_PAST:]
        there = dataclasses.replace(self, objects={**self.objects, **change.objects, **more})
        kept = {change.root, *reachable(change.state), *(one.joiners for one in epochs)}
        for root in {one.root for one in epochs} - {change.root}:
            kept |= {root, *reachable(there.state(root))}
        return dataclasses.replace(
            there, root=change.root, past=tuple(epochs), objects={ref: there.objects[ref] for ref in kept}
        )

    def state(self, root: Ref) -> GroupState:
        """Return what a root says, without the rules of its group."""
        return decode_state(self.objects[root], lambda _: Policy(), Attempt(self, bytes(ATTEMPT_SIZE)))


def _read_ref(reader: Reader) -> Ref:
    return Ref(reader.take(REF_SIZE))
