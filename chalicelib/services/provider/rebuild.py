"""Building a fresh filter from the mappings themselves (draft §9): how removals ever leave it.

    swap in a building version → settle → scan all mappings by segments → assemble → sign off → publish → retire

From the moment the building version stands in the pointer, the sequencer writes a delta for it; what was
sequenced before that is in the tables when the scan begins. So base ∪ deltas misses nothing, whenever the scan
reads. Each step is decided by one conditional write and is taken up again by the next run of the schedule.
"""

import array
import contextlib
import dataclasses
import hashlib
import math
import sys

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.federation_api import Manifest, ObjectRef
from chalicelib.protocol.glados.filters import HEADROOM, Parameters, choose_n, count_bits, has_bit, set_bits
from chalicelib.protocol.glados.mappings import Change
from chalicelib.protocol.signed import sign
from chalicelib.protocol.timestamps import DAY, HOUR, format_time
from chalicelib.services.accounts.ports import SigningKeys
from chalicelib.services.ports import Alarms, Clock, Lost, Versioned
from chalicelib.services.provider.ports import FilterObjects, FilterPointer, Hints, RebuildJobs, Scans, Store
from chalicelib.services.provider.sequencer import signed_head
from chalicelib.services.provider.state import FilterVersion, Pointer, RebuildJob, StoredObject
from chalicelib.services.provider.writes import ReplaceRecords, Stale

MOST_TRIES = 10
KEYS_A_SEGMENT = 200_000
GRACE = 6 * HOUR  # How long subscribers may take to move on from a version.
SAMPLE = 1_000


class SignOffFailed(Exception):
    """An assembled filter is not what its mappings predict; it is not published."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuild:
    """Runs rebuilds, step by step."""

    pointer: FilterPointer
    store: Store
    jobs: RebuildJobs
    scans: Scans
    objects: FilterObjects
    keys: SigningKeys
    hints: Hints
    alarms: Alarms
    clock: Clock
    gp: str
    refresh: int = DAY
    settle: int = 60_000

    def step(self, *, now_please: bool = False) -> None:
        """Begin a rebuild that is due (or asked for), push on one under way, and retire what has ended."""
        self._retire()
        stored = self.pointer.load()
        building = stored.value.in_state("building")
        if building is None:
            if now_please or self._is_due(stored.value):
                self._begin(stored)
            return
        job = self.jobs.load(building.version)
        if job is None:  # We died between the swap and the job's row.
            self.jobs.create(self._job(building, stored.value))
        elif self.clock() >= job.not_before:
            finished = {segment for segment, _, _ in job.done}
            for segment in range(job.segments):
                if segment not in finished:
                    self.hints.scan(building.version, segment)
            if len(finished) == job.segments:
                self.publish(building.version)

    def scan(self, version: int, segment: int) -> None:
        """Write one segment's positions to an object; the last one publishes. Repeating a segment is harmless."""
        building = self.pointer.load().value.in_state("building")
        job = self.jobs.load(version)
        if building is None or building.version != version or job is None or self.clock() < job.not_before:
            return
        if segment not in {done for done, _, _ in job.done}:
            self._move_outdated(segment, job.segments)
            positions, keys = array.array("Q"), 0
            for found in self.scans.positions(segment, job.segments, building.parameters):
                positions.extend(found)
                keys += 1
            data = _to_bytes(positions)
            name = f"own/{version}/segment-{segment}-{hashlib.sha256(data).hexdigest()}"
            self.jobs.finish_segment(version, segment, self.objects.put(name, data), keys)
            job = self.jobs.load(version)
        if job is not None and len(job.done) == job.segments:
            self.publish(version)

    def _move_outdated(self, segment: int, segments: int) -> None:
        """Write the rows under an old index key anew, which names them under the one in use."""
        for sii in self.scans.outdated(segment, segments):
            stored, now = self.store.records(sii), self.clock()
            same = Change(stored.records, notices=(), users=(), appears=False)
            with contextlib.suppress(Stale):  # Whoever was quicker has moved it.
                self.store.commit(ReplaceRecords(sii, stored, same, now))

    def publish(self, version: int) -> None:
        """Assemble a version whose segments are all written, and make it the current one."""
        job = self.jobs.load(version)
        if job is None or len(job.done) != job.segments:
            return
        for _ in range(MOST_TRIES):
            stored = self.pointer.load()
            building = stored.value.in_state("building")
            if building is None or building.version != version:
                return  # Another run has published it.
            published = self._assemble(building, job)
            others = tuple(self._demote(known) for known in stored.value.versions if known is not building)
            try:
                self.pointer.replace(stored, Pointer((*others, published)))
            except Lost:
                continue  # The sequencer added to it meanwhile: assemble again with its delta.
            # From here peers see the new version; the rest is tidying.
            self.jobs.delete(version)
            for _, segment, _ in job.done:
                self.objects.delete(segment.name)
            return
        self.alarms.raise_("rebuild-starved", self.gp)

    def _is_due(self, pointer: Pointer) -> bool:
        current = pointer.in_state("current")
        if current is None:
            return True
        overfull = current.bits_set > 2 << (current.parameters.n - HEADROOM)
        return overfull or self.clock() - current.cut_at >= self.refresh

    def _begin(self, stored: Versioned[Pointer]) -> None:
        now = self.clock()
        version = max([now, *(known.version + 1 for known in stored.value.versions)])
        current = stored.value.in_state("current")
        # The tables' own count may be hours old; what was scanned last, and added since, is known better.
        known = 0 if current is None else current.keys + current.bits_set - current.base_bits
        parameters = Parameters(choose_n(max(self.scans.count(), known)))
        building = FilterVersion(version, "building", parameters, cut_at=now, at=now)
        after = Pointer((*stored.value.versions, building))
        try:
            self.pointer.replace(stored, after)
        except Lost:
            return  # Somebody else began, or a pass came between; the next run looks again.
        job = self._job(building, after)
        self.jobs.create(job)
        if job.not_before <= now:
            for segment in range(job.segments):
                self.hints.scan(version, segment)

    def _job(self, building: FilterVersion, pointer: Pointer) -> RebuildJob:
        """Return the job of a building version. The very first version has nothing to settle after."""
        settle = self.settle if pointer.in_state("current") else 0
        segments = max(1, math.ceil(self.scans.count() / KEYS_A_SEGMENT))
        return RebuildJob(building.version, building.cut_at + settle, segments)

    def _assemble(self, building: FilterVersion, job: RebuildJob) -> FilterVersion:
        raw = bytearray(building.parameters.raw_size)
        keys = sum(count for _, _, count in job.done)
        sampled: list[int] = []
        for _, segment, _ in job.done:
            positions = _from_bytes(self.objects.get(segment.name))
            set_bits(raw, positions)
            sampled += positions[:: max(1, len(positions) * len(job.done) // SAMPLE)]
        base_bits = count_bits(raw)
        _sign_off(raw, building.parameters, keys, base_bits, sampled)
        added = {position for delta in building.deltas for position in self._positions(delta.stored)}
        whole = base_bits + sum(not has_bit(raw, position) for position in added)
        stored_raw = self._put(building.version, "raw", bytes(raw))
        rice = gapcoded.encode(building.parameters.n, _positions_of(raw))
        published = dataclasses.replace(
            building,
            state="current",
            bits_set=whole,
            base_bits=base_bits,
            keys=keys,
            raw=stored_raw,
            rice=self._put(building.version, "rice", rice),
        )
        signed = dataclasses.replace(published, manifest=self._manifest(published))
        return signed_head(signed, self.keys, self.gp)

    def _manifest(self, version: FilterVersion) -> str:
        if version.raw is None or version.rice is None:
            raise AssertionError("a version is published with its objects")
        manifest = Manifest(
            gp=self.gp,
            version=version.version,
            created_at=format_time(version.cut_at),
            n=version.parameters.n,
            k=version.parameters.k,
            salt=encode_base64url(version.parameters.salt),
            hash="sha-256",
            keys=version.keys,
            bits_set=version.base_bits,
            raw=ObjectRef(bytes=version.raw.size, sha256=version.raw.sha256),
            rice=ObjectRef(bytes=version.rice.size, sha256=version.rice.sha256),
            expires_at=format_time(version.cut_at + 2 * self.refresh),
        )
        plain = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
        plain["raw"], plain["rice"] = _plain(manifest.raw), _plain(manifest.rice)
        claims = {"iss": self.gp, "iat": self.clock() // 1000, **plain}
        return sign(self.keys.signing_key("glados-filter+jwt"), "glados-filter+jwt", claims)

    def _demote(self, version: FilterVersion) -> FilterVersion:
        if version.state != "current":
            return version
        ends_at = self.clock() + GRACE
        retiring = dataclasses.replace(version, state="retiring", ends_at=ends_at, at=max(self.clock(), version.at + 1))
        return signed_head(retiring, self.keys, self.gp)

    def _retire(self) -> None:
        """Drop retiring versions whose grace is over, then their objects."""
        stored = self.pointer.load()
        now = self.clock()
        ended = [known for known in stored.value.versions if known.ends_at is not None and known.ends_at <= now]
        if not ended:
            return
        kept = tuple(known for known in stored.value.versions if known not in ended)
        try:
            self.pointer.replace(stored, Pointer(kept))
        except Lost:
            return  # The next run retires them.
        for version in ended:
            named = [version.raw, version.rice, *(delta.stored for delta in version.deltas)]
            for stored_object in named:
                if stored_object is not None:
                    self.objects.delete(stored_object.name)

    def _put(self, version: int, form: str, data: bytes) -> StoredObject:
        return self.objects.put(f"own/{version}/{form}-{hashlib.sha256(data).hexdigest()}", data)

    def _positions(self, stored: StoredObject) -> list[int]:
        return gapcoded.decode(self.objects.get(stored.name))[1]


def _sign_off(raw: bytearray, parameters: Parameters, keys: int, bits_set: int, sampled: list[int]) -> None:
    """Refuse a filter that lacks a sampled member, or is filled otherwise than its number of keys predicts."""
    if not all(has_bit(raw, position) for position in sampled):
        raise SignOffFailed("a sampled mapping is not in the filter")
    size = 1 << parameters.n
    expected = size * -math.expm1(-keys * parameters.k / size)
    if abs(bits_set - expected) > 6 * math.sqrt(expected + 1) + 1:
        raise SignOffFailed(f"{bits_set} bits are set where about {expected:.0f} were expected")


def _positions_of(raw: bytearray) -> list[int]:
    """Return the positions set in a raw filter, skipping its long runs of zeros quickly."""
    found: list[int] = []
    for start in range(0, len(raw), 4096):
        page = raw[start : start + 4096]
        if not any(page):
            continue
        for offset, byte in enumerate(page):
            while byte:
                low = byte & -byte
                found.append((start + offset) * 8 + low.bit_length() - 1)
                byte ^= low  # noqa: PLW2901 (the bits are peeled off one by one)
    return found


def _plain(ref: ObjectRef) -> dict[str, object]:
    return {"bytes": ref.bytes, "sha256": ref.sha256}


def _to_bytes(positions: "array.array[int]") -> bytes:
    if sys.byteorder == "big":
        positions.byteswap()
    return positions.tobytes()


def _from_bytes(data: bytes) -> "array.array[int]":
    positions = array.array("Q")
    positions.frombytes(data)
    if sys.byteorder == "big":
        positions.byteswap()
    return positions
