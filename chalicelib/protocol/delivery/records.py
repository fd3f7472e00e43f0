"""Delivery records: for each member the queue that its messages go to, in chunks of 64 leaves beside the tree's.

They are kept apart from the ratchet tree because they change at other times: a new queue changes no tree, and a commit
changes one record. A chunk is immutable and named as the tree's are (`protocol.mls.chunks`).

    struct {
        uint8 position; ClientQueueConfig config; uint64 joined_epoch; uint64 active_at; uint8 quarantined;
    } Entry;
    Entry chunk<V>;                          // those of 64 aligned leaves that are filled, in order
    struct { opaque ds_domain<V>; uint32 members; } Domain;
    opaque ref[24] directory<V>;             // of each chunk; zeros where it has no entry
    Domain domains<V>;                       // how many members have their queues at each, by name

The count of domains stands with the directory because every change of either goes through here, and because all of the
group is what it bounds: each domain is delivered to by itself, with a request for each row.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.parts import Domain, read_domain, text
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.chunks import REF_SIZE, Ref, load, reference
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, uint8, uint32, uint64

LEAVES = 64
NOTHING = Ref(bytes(REF_SIZE))


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """Where a member's messages go; `active_at` is when it last committed or came, in milliseconds.

    A quarantined member gets no messages and its requests are refused, because nobody covered its removal in time.
    """

    config: ClientQueueConfig
    joined_epoch: int
    active_at: int
    quarantined: bool = False

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        config = ClientQueueConfig.read(reader)
        return cls(config, reader.uint64(), reader.uint64(), reader.uint8() == 1)

    def encode(self) -> bytes:
        """Return the stored form."""
        times = uint64(self.joined_epoch) + uint64(self.active_at)
        return self.config.encode() + times + uint8(self.quarantined)


Chunk = Mapping[int, DeliveryRecord]


@dataclasses.dataclass(frozen=True)
class Records:
    """All delivery records of an epoch, and how many members have their queues at each domain.

    `loaded` remembers what was read, and is no part of the value.
    """

    attempt: Attempt
    directory: tuple[Ref, ...] = ()
    domains: Mapping[Domain, int] = dataclasses.field(default_factory=dict)
    loaded: dict[Ref, Chunk] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def read(cls, reader: Reader, attempt: Attempt) -> Self:
        """Read the stored directory, and the domains."""
        content = reader.opaque()
        if len(content) % REF_SIZE:
            raise DecodeError("a directory of delivery records ends inside a reference")
        directory = tuple(Ref(content[at : at + REF_SIZE]) for at in range(0, len(content), REF_SIZE))
        return cls(attempt, directory, dict(reader.vector(lambda one: (read_domain(one), one.uint32()))))

    def encode(self) -> bytes:
        """Return the stored directory, and the domains."""
        domains = [text(domain) + uint32(self.domains[domain]) for domain in sorted(self.domains)]
        return opaque(b"".join(self.directory)) + opaque(b"".join(domains))

    @property
    def extent(self) -> int:
        """Return how many leaves the chunks cover; nobody beyond has a record."""
        return len(self.directory) * LEAVES

    def get(self, leaf_index: int) -> DeliveryRecord | None:
        """Return a member's record, or None for a leaf that has none."""
        return self._chunk(leaf_index // LEAVES).get(leaf_index % LEAVES)

    def between(self, first: int, last: int) -> Iterator[tuple[int, DeliveryRecord]]:
        """Give the records of the leaves from `first` up to, and without, `last`, loading them together."""
        self.prefetch(range(first, last, LEAVES))
        for number in range(first // LEAVES, -(-last // LEAVES)):
            for position, record in self._chunk(number).items():
                if first <= number * LEAVES + position < last:
                    yield number * LEAVES + position, record

    def all(self) -> Iterator[tuple[int, DeliveryRecord]]:
        """Give every record: the whole directory is read."""
        return self.between(0, self.extent)

    def prefetch(self, leaves: Iterable[int]) -> None:
        """Load together the chunks of some leaves."""
        missing = self.missing(leaves)
        if missing:
            self.keep(load(self.attempt.store, missing))

    def missing(self, leaves: Iterable[int]) -> list[Ref]:
        """Return which chunks have to be loaded for some leaves."""
        wanted = {self._ref(leaf_index // LEAVES) for leaf_index in leaves}
        return list(wanted - {NOTHING} - self.loaded.keys())

    def keep(self, chunks: Mapping[Ref, bytes]) -> None:
        """Take in chunks that were missing, loaded together with something else."""
        self.loaded.update({ref: _read_chunk(content) for ref, content in chunks.items()})

    def changed(self, changes: Mapping[int, DeliveryRecord | None]) -> tuple[Self, Mapping[Ref, bytes]]:
        """Return the records with some set or taken away, and the chunks to be written for them."""
        self.prefetch(changes)
        directory, written = list(self.directory), {}
        loaded, domains = dict(self.loaded), Counter(self.domains)
        domains.subtract(known.config.ds_domain for leaf_index in changes if (known := self.get(leaf_index)))
        domains.update(record.config.ds_domain for record in changes.values() if record is not None)
        for number in sorted({leaf_index // LEAVES for leaf_index in changes}):
            entries = dict(self._chunk(number))
            for leaf_index, record in changes.items():
                if leaf_index // LEAVES == number:
                    if record is None:
                        entries.pop(leaf_index % LEAVES, None)
                    else:
                        entries[leaf_index % LEAVES] = record
            entries = dict(sorted(entries.items()))
            directory += [NOTHING] * (number + 1 - len(directory))
            content = _encode_chunk(entries)
            directory[number] = reference(self.attempt.name, content) if entries else NOTHING
            if entries:
                written[directory[number]] = content
                loaded[directory[number]] = entries
        while directory and directory[-1] == NOTHING:
            directory.pop()
        there = {domain: members for domain, members in domains.items() if members}
        return dataclasses.replace(self, directory=tuple(directory), domains=there, loaded=loaded), written

    def _ref(self, number: int) -> Ref:
        return self.directory[number] if number < len(self.directory) else NOTHING

    def _chunk(self, number: int) -> Chunk:
        ref = self._ref(number)
        if ref == NOTHING:
            return {}
        if ref not in self.loaded:
            self.loaded[ref] = _read_chunk(load(self.attempt.store, [ref])[ref])
        return self.loaded[ref]


def _encode_chunk(entries: Chunk) -> bytes:
    return opaque(b"".join(uint8(position) + entries[position].encode() for position in entries))


def _read_chunk(content: bytes) -> Chunk:
    return dict(
        decode(
            lambda reader: reader.vector(lambda entry: (entry.uint8(), DeliveryRecord.read(entry))),
            content,
            STORED_ELEMENTS,
        )
    )
