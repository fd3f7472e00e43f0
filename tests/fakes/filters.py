"""The filter's rooms: objects, the pointer, the scan of all identifiers, and the rebuild under way."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import Parameters, has_bit, indexes
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.services.ports import Lost, Versioned
from chalicelib.services.provider.state import FilterVersion, PeerHead, Pointer, RebuildJob, StoredObject
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Row, Tables, Token


class MemoryFilterObjects(Fake):
    port = "filter_objects"

    def __init__(self, faults: Faults, tables: Tables, gp: str) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.gp = gp
        self._digests: dict[str, str] = {}

    @fallible
    def put(self, name: str, data: bytes) -> StoredObject:
        digest = hashlib.sha256(data).hexdigest()
        require(self._digests.setdefault(name, digest) == digest, "an immutable object changes")
        self.tables.objects[name] = data
        return StoredObject(name, len(data), digest)

    @fallible
    def get(self, name: str) -> bytes:
        if name not in self.tables.objects:
            raise LookupError("there is no such object")
        return self.tables.objects[name]

    @fallible
    def link(self, name: str) -> str:
        return f"https://objects.{self.gp}.example/{name}"

    @fallible
    def delete(self, name: str) -> None:
        self.tables.objects.pop(name, None)


class MemoryPeerFilters(Fake):
    port = "peer_filters"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def may_hold(self, head: PeerHead, positions: Sequence[int]) -> bool:
        return all(self._has(head, position) for position in positions)

    def _has(self, head: PeerHead, position: int) -> bool:
        return any(self._is_in(stored, head.parameters, position) for stored in (head.base, *head.deltas))

    def _is_in(self, stored: StoredObject, parameters: Parameters, position: int) -> bool:
        """Read an object in either form: a raw filter is known by its size, and an empty base has nothing."""
        if stored.size == 0:
            return False
        data = self.tables.objects[stored.name]
        if len(data) == parameters.raw_size:
            return has_bit(data, position)
        return position in gapcoded.decode(data)[1]


class MemoryFilterPointer(Fake):
    port = "filter_pointer"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self._row = Row(Pointer())
        self._newest = 0

    @fallible
    def load(self) -> Versioned[Pointer]:
        return Versioned(self._row.value, Token("pointer", self._row.version))

    @fallible
    def replace(self, before: Versioned[Pointer], after: Pointer) -> None:
        require(isinstance(before.token, Token), "a token that no read gave out")
        if before.token != Token("pointer", self._row.version):
            raise Lost
        for state in ("building", "current"):
            alike = [version for version in after.versions if version.state == state]
            require(len(alike) <= 1, f"two versions are {state}")
        for version in after.versions:
            known = self._row.value.find(version.version)
            require(known is not None or version.version > self._newest, "a version that is not new begins")
            if known is not None:
                check_step(known, version)
            self._check_objects(version)
        self._newest = max([self._newest, *(version.version for version in after.versions)])
        self._row = self._row.next(after)

    def _check_objects(self, version: FilterVersion) -> None:
        """Require that what the pointer names was staged before, for readers follow it at once."""
        named = [stored for stored in (version.raw, version.rice) if stored is not None]
        for stored in (*named, *(delta.stored for delta in version.deltas)):
            data = self.tables.objects.get(stored.name)
            require(data is not None, "the pointer names an object that does not exist")
            if data is not None:
                told = (stored.size, stored.sha256)
                require(told == (len(data), hashlib.sha256(data).hexdigest()), "the pointer misnames an object")


STEPS = {
    ("building", "building"),
    ("building", "current"),
    ("current", "current"),
    ("current", "retiring"),
    ("retiring", "retiring"),
}


def check_step(before: FilterVersion, after: FilterVersion) -> None:
    """Require that a version only goes forward, and that its deltas are one unbroken run up to its head."""
    require((before.state, after.state) in STEPS, f"no way leads from {before.state} to {after.state}")
    require(before.parameters == after.parameters, "a filter version changed its parameters")
    require(before.cut_at == after.cut_at, "a filter version changed its cut")
    require(before.seq <= after.seq <= before.seq + 1, "a version's sequence skips or falls")
    require((before.at < after.at) or before.seq == after.seq, "a version's time does not strictly increase")
    require(before.bits_set <= after.bits_set or before.state == "building", "a published version lost bits")
    for earlier, later in zip(after.deltas, after.deltas[1:], strict=False):
        require(later.from_seq == earlier.to_seq + 1, "the deltas have a gap")
    if after.deltas:
        require(after.deltas[-1].to_seq == after.seq, "the last delta is not the head's")


class MemoryScans(Fake):
    port = "scans"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def positions(self, segment: int, segments: int, parameters: Parameters) -> Iterator[tuple[int, ...]]:
        require(0 <= segment < segments, "a segment that does not exist")
        held = [
            sii
            for sii, row in self.tables.records.items()
            if row.value.active and not sii.is_test_number
            if hashlib.sha256(sii.uri.encode()).digest()[0] % segments == segment
        ]
        return iter([indexes(parameters, sii) for sii in held])

    @fallible
    def outdated(self, segment: int, segments: int) -> Iterator[Sii]:
        require(0 <= segment < segments, "a segment that does not exist")
        return iter(())  # Rows in memory have the name of their identifier, which no key replaces.

    @fallible
    def count(self) -> int:
        return len(self.tables.records)


class MemoryRebuildJobs(Fake):
    port = "rebuild_jobs"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self._rows: dict[int, RebuildJob] = {}

    @fallible
    def load(self, version: int) -> RebuildJob | None:
        return self._rows.get(version)

    @fallible
    def create(self, job: RebuildJob) -> None:
        require(job.segments > 0 and not job.done, "a new job has work before it")
        self._rows.setdefault(job.version, job)

    @fallible
    def finish_segment(self, version: int, segment: int, positions: StoredObject, keys: int) -> None:
        job = self._rows.get(version)
        if job is not None:
            require(0 <= segment < job.segments, "a segment that does not exist")
            others = [done for done in job.done if done[0] != segment]
            done = tuple(sorted([*others, (segment, positions, keys)], key=lambda finished: finished[0]))
            self._rows[version] = dataclasses.replace(job, done=done)

    @fallible
    def delete(self, version: int) -> None:
        self._rows.pop(version, None)
