"""From the pending log to deltas: how an addition reaches every live version of our filter (draft §9).

    read the pointer → read all pending entries → stage one delta a version → swap the pointer → drop the entries

A mapping that makes an identifier present writes a pending entry in its own transaction, so an addition cannot
be forgotten. A pass may die anywhere: before the swap nothing has happened but an object nobody names; between
the swap and the dropping, the next pass reads entries that flip nothing and drops them. The swap fails if
another pass or a rebuild came first, and the pass starts over from the new pointer; so each position stands in
exactly one delta of a version, and a version that appears while a pass is under way is not left out.
"""

import dataclasses
import hashlib

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.federation_api import Head
from chalicelib.protocol.glados.filters import indexes
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.signed import sign
from chalicelib.protocol.timestamps import format_time
from chalicelib.services.accounts.ports import SigningKeys
from chalicelib.services.ports import Alarms, Clock, Lost
from chalicelib.services.provider.ports import FilterObjects, FilterPointer, PeerFilters, PendingLog
from chalicelib.services.provider.state import FilterVersion, PeerHead, Pointer, StoredDelta, StoredObject

MOST_TRIES = 10
MOST_DELTAS = 64  # A version's older half is merged into one delta when it has more.


@dataclasses.dataclass(frozen=True, slots=True)
class Sequencer:
    """Extends the live versions by what the pending log says."""

    pointer: FilterPointer
    pending: PendingLog
    objects: FilterObjects
    bits: PeerFilters
    keys: SigningKeys
    alarms: Alarms
    clock: Clock
    gp: str

    def run(self) -> bool:
        """Work off everything pending; return whether any version has changed. Repeating it is harmless."""
        for _ in range(MOST_TRIES):
            stored = self.pointer.load()
            if not stored.value.versions:
                return False  # The first rebuild scans what is there; entries wait for its version.
            entries = self.pending.read()
            if not entries:
                return False
            additions = [entry.appears for entry in entries if entry.appears is not None]
            extended = [self._extend(version, additions) for version in stored.value.versions]
            if additions:
                # Swapped even if no bit flips: that no new version came between is what the swap checks.
                try:
                    self.pointer.replace(stored, Pointer(tuple(extended)))
                except Lost:
                    continue
            # From here the additions stand in deltas; dropping the entries only spares the next pass the work.
            self.pending.discard(entries)
            return tuple(extended) != stored.value.versions
        self.alarms.raise_("sequencer-starved", self.gp)
        return False

    def _extend(self, version: FilterVersion, additions: list[Sii]) -> FilterVersion:
        wanted = {position for sii in additions for position in indexes(version.parameters, sii)}
        fresh = sorted(position for position in wanted if not self._has(version, position))
        if not fresh:
            return version
        seq, at = version.seq + 1, max(self.clock(), version.at + 1)
        data = gapcoded.encode(version.parameters.n, fresh)
        staged = self.objects.put(delta_name(version.version, seq, seq, data), data)
        chained = hashlib.sha256(bytes.fromhex(version.digest) + bytes.fromhex(staged.sha256)).hexdigest()
        extended = dataclasses.replace(
            version,
            seq=seq,
            at=at,
            digest=chained,
            bits_set=version.bits_set + len(fresh),
            deltas=(*version.deltas, StoredDelta(seq, seq, at, len(fresh), staged)),
        )
        return signed_head(self._compacted(extended), self.keys, self.gp)

    def _has(self, version: FilterVersion, position: int) -> bool:
        return self.bits.may_hold(as_head(version, self.gp), (position,))

    def _compacted(self, version: FilterVersion) -> FilterVersion:
        """Merge the older half of many deltas into one, which holds the same positions."""
        if len(version.deltas) <= MOST_DELTAS:
            return version
        old, kept = version.deltas[: MOST_DELTAS // 2], version.deltas[MOST_DELTAS // 2 :]
        positions = [position for delta in old for position in gapcoded.decode(self.objects.get(delta.stored.name))[1]]
        data = gapcoded.encode(version.parameters.n, positions)
        first, last = old[0].from_seq, old[-1].to_seq
        merged = self.objects.put(delta_name(version.version, first, last, data), data)
        return dataclasses.replace(
            version, deltas=(StoredDelta(first, last, old[-1].at, len(set(positions)), merged), *kept)
        )


def delta_name(version: int, first: int, last: int, data: bytes) -> str:
    """Return the name of one of our delta objects: its contents are part of it, so it never changes."""
    return f"own/{version}/delta-{first}-{last}-{hashlib.sha256(data).hexdigest()}"


def signed_head(version: FilterVersion, keys: SigningKeys, gp: str) -> FilterVersion:
    """Return the version with its head signed; one that is building is told to nobody and has none."""
    if version.state == "building":
        return version
    head = Head(
        gp=gp,
        version=version.version,
        seq=version.seq,
        at=format_time(version.at),
        bits_set=version.bits_set,
        digest=version.digest,
        state=version.state,
    )
    claims = {"iss": gp, "iat": version.at // 1000, **{name: getattr(head, name) for name in head.__struct_fields__}}
    token = sign(keys.signing_key("glados-head+jwt"), "glados-head+jwt", claims)
    return dataclasses.replace(version, head=token)


def as_head(version: FilterVersion, gp: str) -> PeerHead:
    """Return one of our own versions in the form that position tests take."""
    base = version.raw or StoredObject("", 0, "")
    return PeerHead(
        gp=gp,
        version=version.version,
        seq=version.seq,
        at=version.at,
        parameters=version.parameters,
        base=base,
        deltas=tuple(delta.stored for delta in version.deltas),
        bits_set=version.bits_set,
        base_bits=version.base_bits,
        checked_at=version.at,
    )
